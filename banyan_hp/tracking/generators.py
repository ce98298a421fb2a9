"""Driving generators for a span: what they yield, are sent and return passes as it comes.

The span is the current one only while the generator's own code runs: between two items the caller runs, in
the same context.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from typing import Any, ParamSpec, TypeVar

from .reading.chunks import Chunks
from .sink import Contained
from .span import CLOSED_EARLY, Span

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")

COLLECTED = "garbage-collected"
AT_EXIT = "process ended"

_followed: set[Watch] = set()


class Watch:
    """Takes down the chunks of one stream for its span. Holds no reference to the stream."""

    __slots__ = ("_chunks", "_last", "_pid", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._pid = os.getpid()
        self._chunks = Chunks()
        self._last: float | None = None  # when the last one came

    def chunk(self, chunk: Any) -> None:
        """One more has come."""
        if self.span.finished:
            return
        self.span._stopwatch.lap()
        self._last = self.span._stopwatch.clock()
        with Contained(self.span._sink, "a chunk of a stream could not be read"):
            self._chunks.add(chunk)

    def exhausted(self) -> None:
        """There are no more."""
        self._end(None, None)

    def failed(self, error: BaseException) -> None:
        """Taking the next one raised."""
        self._end(error, None)

    def closed(self) -> None:
        """Nobody wants more."""
        self._end(None, CLOSED_EARLY, self._last)

    def follow(self, stream: object) -> None:
        """See to it that the span ends with `stream`, at the latest."""
        _followed.add(self)
        weakref.finalize(stream, self.abandoned, COLLECTED).atexit = False  # as `_at_exit` does it in time

    def abandoned(self, how: str) -> None:
        """Nobody can take any more."""
        if self._pid == os.getpid():  # a forked child must not log its parent's streams again
            self._end(None, how, self._last)

    def _end(self, error: BaseException | None, ended: str | None, at: float | None = None) -> None:
        """`at`: when it had come to what it came to, where nobody waited for more."""
        span = self.span
        span._stopwatch.stop(at)
        _followed.discard(self)
        if span.finished:
            return
        if span.response is None:
            with Contained(span._sink, "a stream could not be put together"):
                span.response = self._chunks.reading()
        span._finish(error, ended)


@atexit.register
def _at_exit() -> None:
    """Log what is still open. The engines drain after this: theirs was registered before, by their import."""
    for watch in list(_followed):
        watch.abandoned(AT_EXIT)


def drive(generator: Generator[Y, S, R], watch: Watch) -> Generator[Y, S, R]:
    """`generator`, as if by `yield from`."""
    resume: Any = generator.__next__
    sent: tuple[Any, ...] = ()
    while True:
        token = watch.span._activate()
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
            watch.span._deactivate(token)
        watch.chunk(item)
        try:
            resume, sent = generator.send, ((yield item),)
        except GeneratorExit:
            _close(generator, watch)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever was thrown in is for the generator to take
            resume, sent = generator.throw, (error,)


def _close(generator: Generator[Y, S, R], watch: Watch) -> None:
    token = watch.span._activate()
    try:
        generator.close()
    except BaseException as error:
        watch.failed(error)
        raise
    finally:
        watch.span._deactivate(token)
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
            token = watch.span._activate()
            try:
                item = await resume(*sent)
            except StopAsyncIteration:
                watch.exhausted()
                return
            except BaseException as error:
                watch.failed(error)
                raise
            finally:
                watch.span._deactivate(token)
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
    token = watch.span._activate()
    try:
        await generator.aclose()
    except BaseException as error:
        watch.failed(error)
        raise
    finally:
        watch.span._deactivate(token)
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
