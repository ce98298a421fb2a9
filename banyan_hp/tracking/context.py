"""Metadata for everything that is logged inside of a block or a function, by whichever client."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from ..active_span import API
from ..errors import ConfigurationError
from ..foreign import as_dict
from .scopes import Scope, current, inside, is_pinned, metadata_here
from .traces import TRACEPARENT, add_ids, trace_of, with_checked

__all__ = ["context"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# Set while a provider's own code runs on behalf of a recorded call, which must not be recorded twice.
recorded: ContextVar[bool] = ContextVar("banyan_hp_recorded", default=False)


class Context:
    """Returned by `context()`: for one `with`, or as a decorator."""

    __slots__ = ("_metadata", "_scope")

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self._scope: Scope | None = None

    def __enter__(self) -> None:
        if self._scope is not None:
            raise RuntimeError("what context() returns is for one `with`: call context() again")
        self._scope = inside(self._metadata)
        self._scope.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.leave()

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function or generator function."""
        return cast(F, _decorated(function, self._metadata))


def context(**metadata: Any) -> Context:
    """Metadata for everything logged inside, by whichever client.

    `with banyan.context(user_id="u1", session_id="s1"):` adds both to the metadata of each record logged in
    it: by `log_prompt`, `log`, `log_step`, interactions, traced functions and wrapped clients. What a call
    gives itself wins; an inner `context` adds to the outer one and wins over it. For HuggingPlace a
    `user_id` and a `session_id` also become the fields of that name. A `traceparent`, the header of the W3C's
    Trace Context that a request came with, becomes `trace_id` and `span_id`, unless a span of OpenTelemetry's
    is active where the record is logged: then they are that one's. Also a decorator: of a function, a
    coroutine function or a generator function. `get_prompt` and `experiment` without sticky values take
    `user_id` and `session_id` from it.

    Valid in the coroutine or thread that opened it and in the tasks made inside. A plain thread starts
    without it; hand it over with `contextvars.copy_context()`, one copy for each call:
    `pool.submit(contextvars.copy_context().run, work, argument)`.

    In a generator it is valid while the generator's own code runs, not for the code that iterates over it.
    Tasks and threads that such a generator starts go without it: open a `context` in them.
    """
    return Context(with_checked(metadata) if TRACEPARENT in metadata else metadata)


def _decorated(function: Callable[..., Any], metadata: Mapping[str, Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            "context() can't decorate an async generator function: open a `with context(...)` inside of it"
        )
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def in_context_async(*args: Any, **kwargs: Any) -> Any:
            with Context(metadata):
                return await function(*args, **kwargs)

        return in_context_async
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def in_context_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with Context(metadata):
                return (yield from function(*args, **kwargs))

        return in_context_generator

    @wraps(function)
    def in_context(*args: Any, **kwargs: Any) -> Any:
        with Context(metadata):
            return function(*args, **kwargs)

    return in_context


def restore(variable: ContextVar[T], token: Token[T]) -> None:
    """Undo a `set`; in another context (that of a generator closed elsewhere) there is nothing to undo."""
    try:
        variable.reset(token)
    except ValueError:
        return


def something_here() -> bool:
    """Whether `with_ambient` may have something to add: the quick question at each log call."""
    return bool(metadata_here()) or _may_be_traced()


def _may_be_traced() -> bool:
    return API in sys.modules and not is_pinned()


def with_ambient(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """`metadata`, with what `context` has set here beneath it, and the ids of the trace that this is in."""
    return on_top_of(metadata_here(), metadata)


def on_top_of(around: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The same of what surrounds this, which was read once: of a request it is worked out each time."""
    ids = trace_of(current(), around)
    if not around and ids is None:
        return metadata
    own = {} if metadata is None else as_dict(metadata)
    merged = {**around, **own}
    if TRACEPARENT in around and TRACEPARENT not in own:
        del merged[TRACEPARENT]
    if ids is not None:
        add_ids(merged, ids)
    return merged


def options_with_ambient(options: dict[str, Any]) -> dict[str, Any]:
    """A HuggingPlace record, with what `context` has set here beneath it."""
    own, around = options.get("metadata"), metadata_here()
    if not (around or _may_be_traced()) or not (own is None or isinstance(own, Mapping)):
        return options
    top = {name: around[name] for name in ("user_id", "session_id") if name in around}
    merged = on_top_of(around, own)
    return {**top, **options} if merged is None else {**top, **options, "metadata": merged}
