"""Driving generators for a span: what they yield, are sent and return passes as it comes.

The span is the current one only while the generator's own code runs: between two items the caller runs, in
the same context.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from typing import Any, ParamSpec, TypeVar

from .watching import Watch

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")


def drive(generator: Generator[Y, S, R], watch: Watch) -> Generator[Y, S, R]:
    """`generator`, as if by `yield from`."""
    resume: Any = generator.__next__
    sent: tuple[Any, ...] = ()
    while True:
        token = watch.span.activate()
        try:
            item = resume(*sent)
        except StopIteration as stop:
            watch.exhausted()
            result: R = stop.value
            return result
        except BaseException as error:
            watch.failed(error)
            raise
        finally:
            watch.span.deactivate(token)
        watch.chunk(item)
        try:
            resume, sent = generator.send, ((yield item),)
        except GeneratorExit:
            _close(generator, watch)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever was thrown in is for the generator to take
            resume, sent = generator.throw, (error,)


def _close(generator: Generator[Y, S, R], watch: Watch) -> None:
    token = watch.span.activate()
    try:
        generator.close()
    except BaseException as error:
        watch.failed(error)
        raise
    finally:
        watch.span.deactivate(token)
    watch.closed()


def async_driver(
    begin: Callable[P, tuple[AsyncGenerator[Y, S], Watch]],
) -> Callable[P, AsyncGenerator[Y, S]]:
    """An async generator function that does for what `begin` returns what `drive` does."""

    async def driven(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, S]:
        generator, watch = begin(*args, **kwargs)
        watch.follow(generator)  # dropped without a running loop, nothing else tells
        resume: Any = generator.__anext__
        sent: tuple[Any, ...] = ()
        while True:
            token = watch.span.activate()
            try:
                item = await resume(*sent)
            except StopAsyncIteration:
                watch.exhausted()
                return
            except BaseException as error:
                watch.failed(error)
                raise
            finally:
                watch.span.deactivate(token)
            watch.chunk(item)
            try:
                resume, sent = generator.asend, ((yield item),)
            except GeneratorExit:
                await _aclose(generator, watch)
                raise
            except BaseException as error:  # noqa: BLE001 - what was thrown in is for the generator to take
                resume, sent = generator.athrow, (error,)

    return driven


async def _aclose(generator: AsyncGenerator[Y, S], watch: Watch) -> None:
    token = watch.span.activate()
    try:
        await generator.aclose()
    except BaseException as error:
        watch.failed(error)
        raise
    finally:
        watch.span.deactivate(token)
    watch.closed()


@async_driver
def drive_async(generator: AsyncGenerator[Y, S], watch: Watch) -> tuple[AsyncGenerator[Y, S], Watch]:
    """`generator`, as `drive` does it."""
    return generator, watch


def generator_of(items: Iterable[Y]) -> Generator[Y, None, None]:
    """Any iterable as a generator."""
    yield from items


async def async_generator_of(items: AsyncIterable[Y]) -> AsyncGenerator[Y, None]:
    """Any async iterable as an async generator."""
    async for item in items:
        yield item
