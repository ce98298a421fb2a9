"""Watching a provider's stream without getting between it and its user.

The stream stays the object that it was and of its class; it is given a subclass of that class whose
iteration and `close` are followed, so that everything its own helpers do (`text_stream`,
`get_final_message`, `until_done`) is followed, too. Only public methods are touched. What can't be given a
class (a plain generator) is passed through a generator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from .generators import async_generator_of, drive, drive_async, generator_of
from .span import Span
from .watching import Watch

T = TypeVar("T")

WATCH = "_banyan_hp_watch"


def is_stream(value: object) -> bool:
    """Whether it is to be iterated over, once."""
    return hasattr(type(value), "__next__") or hasattr(type(value), "__anext__")


def watched(stream: Any, span: Span) -> Any:
    """`stream`, which ends `span` when it ends."""
    watch = Watch(span)
    if not given_class(stream, _watching, {WATCH: watch}):
        stream = _passed_through(stream, watch)
    watch.follow(stream)
    return stream


def given_class(value: Any, make: Callable[[type], type], attributes: dict[str, object]) -> bool:
    """Give `value` the subclass that `make` makes of its class; False where it can't be given one."""
    try:
        vars(value).update(attributes)
        value.__class__ = make(type(value))
    except TypeError:
        return False
    return True


def _passed_through(stream: Any, watch: Watch) -> Any:
    if isinstance(stream, AsyncIterator):
        return drive_async(async_generator_of(stream), watch)
    return drive(generator_of(stream), watch)


@lru_cache(maxsize=64)
def _watching(cls: type) -> type:
    """A subclass of `cls` that tells its `Watch` what happens; named like it."""
    makers: dict[str, Callable[[Any], Any]] = {
        "__next__": _next,
        "__anext__": _anext,
        "close": _close,
        "aclose": _close,
    }
    followed = {name: make(getattr(cls, name)) for name, make in makers.items() if hasattr(cls, name)}
    itself = {name: _itself for name in ("__iter__", "__aiter__") if hasattr(cls, name)}
    return subclass(cls, {**followed, **itself})


def subclass(cls: type, members: dict[str, Any]) -> type:
    """A subclass that looks like `cls`."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), {**names, **members})


def _itself(self: T) -> T:
    return self


def _next(inherited: Callable[[Any], Any]) -> Callable[[Iterator[Any]], Any]:
    def following(self: Iterator[Any]) -> Any:
        watch: Watch = vars(self)[WATCH]
        try:
            chunk = inherited(self)
        except StopIteration:
            watch.exhausted()
            raise
        except BaseException as error:
            watch.failed(error)
            raise
        watch.chunk(chunk)
        return chunk

    return following


def _anext(inherited: Callable[[Any], Any]) -> Callable[[AsyncIterator[Any]], Any]:
    async def following(self: AsyncIterator[Any]) -> Any:
        watch: Watch = vars(self)[WATCH]
        try:
            chunk = await inherited(self)
        except StopAsyncIteration:
            watch.exhausted()
            raise
        except BaseException as error:
            watch.failed(error)
            raise
        watch.chunk(chunk)
        return chunk

    return following


def _close(inherited: Callable[..., Any]) -> Callable[..., Any]:
    async def aclose(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await inherited(self, *arguments, **options)
        finally:
            vars(self)[WATCH].closed()

    def close(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return inherited(self, *arguments, **options)
        finally:
            vars(self)[WATCH].closed()

    return aclose if iscoroutinefunction(inherited) else close
