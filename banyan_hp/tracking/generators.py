"""Recording generators: what they yield, are sent and return passes as it comes.

The span is the current one only while the generator's own code runs: between two items the caller runs, in
the same context. It ends exactly once: when the last chunk was taken, when the generator is closed before,
raises, or is garbage-collected unfinished, or when the interpreter ends.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from typing import Any, ParamSpec, TypeVar

from ..engine.process.exit import before_exit
from ..foreign import is_cancellation
from .reading.chunks import Chunks
from .sink import Contained
from .span import CLOSED_EARLY, Span

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")

COLLECTED = "garbage-collected"
AT_EXIT = "process ended"

_followed: set[StreamRecorder] = set()


class StreamRecorder:
    """Collects the chunks of one stream for its span, and ends it. Holds no reference to the stream."""

    __slots__ = ("_chunks", "_last", "_pid", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._pid = os.getpid()
        self._chunks = Chunks()
        self._last: float | None = None  # when the last one came

    def chunk(self, chunk: Any) -> None:
        """Take the next chunk."""
        if self.span.finished:
            return
        self.span._stopwatch.lap()
        self._last = self.span._stopwatch.clock()
        with Contained(self.span._sink, "a chunk of a stream could not be read"):
            self._chunks.add(chunk)

    def exhausted(self) -> None:
        """End the span: the stream is exhausted."""
        self._end(None, None)

    def failed(self, error: BaseException) -> None:
        """End the span: taking the next chunk raised. Who cancels a stream has closed it."""
        if is_cancellation(error):
            self.closed()
        else:
            self._end(error, None)

    def closed(self) -> None:
        """End the span: the stream was closed early."""
        self._end(None, CLOSED_EARLY, self._last)

    def follow(self, stream: object) -> None:
        """End the span with `stream`, at the latest."""
        _followed.add(self)
        weakref.finalize(stream, self.abandoned, COLLECTED).atexit = False  # as `_at_exit` does it in time

    def abandoned(self, how: str) -> None:
        """End the span: the stream is gone, `how` says why."""
        if self._pid == os.getpid():  # a forked child must not log its parent's streams again
            self._end(None, how, self._last)

    def _end(self, error: BaseException | None, ended: str | None, at: float | None = None) -> None:
        """`at`: when the last chunk came, where the application did not wait for another."""
        span = self.span
        span._stopwatch.stop(at)
        _followed.discard(self)
        if span.finished:
            return
        if span.response is None:
            with Contained(span._sink, "a stream could not be put together"):
                span.response = self._chunks.reading()
        span._finish(error, ended)


def _at_exit() -> None:
    """Log what is still open; the engines drain after this."""
    for recorder in list(_followed):
        recorder.abandoned(AT_EXIT)


before_exit(_at_exit)


def drive(generator: Generator[Y, S, R], recorder: StreamRecorder) -> Generator[Y, S, R]:
    """`generator`, as if by `yield from`."""
    resume: Any = generator.__next__
    sent: tuple[Any, ...] = ()
    while True:
        token = recorder.span._activate()
        try:
            item = resume(*sent)
        except StopIteration as stop:
            recorder.exhausted()
            result: R = stop.value
            return result
        except BaseException as error:
            recorder.failed(error)
            raise
        finally:
            recorder.span._deactivate(token)
        recorder.chunk(item)
        try:
            resume, sent = generator.send, ((yield item),)
        except GeneratorExit:
            _close(generator, recorder)
            raise
        except BaseException as error:  # noqa: BLE001 - what was thrown in goes on to the generator
            resume, sent = generator.throw, (error,)


def _close(generator: Generator[Y, S, R], recorder: StreamRecorder) -> None:
    token = recorder.span._activate()
    try:
        generator.close()
    except BaseException as error:
        recorder.failed(error)
        raise
    finally:
        recorder.span._deactivate(token)
    recorder.closed()


def async_driver(
    begin: Callable[P, tuple[AsyncGenerator[Y, S], StreamRecorder]],
) -> Callable[P, AsyncGenerator[Y, S]]:
    """An async generator function that drives what `begin` returns, like `drive`."""

    async def driven(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, S]:
        generator, recorder = begin(*args, **kwargs)
        recorder.follow(generator)  # nothing else notices one that is dropped without a running loop
        resume: Any = generator.__anext__
        sent: tuple[Any, ...] = ()
        while True:
            token = recorder.span._activate()
            try:
                item = await resume(*sent)
            except StopAsyncIteration:
                recorder.exhausted()
                return
            except BaseException as error:
                recorder.failed(error)
                raise
            finally:
                recorder.span._deactivate(token)
            recorder.chunk(item)
            try:
                resume, sent = generator.asend, ((yield item),)
            except GeneratorExit:
                await _aclose(generator, recorder)
                raise
            except BaseException as error:  # noqa: BLE001 - what was thrown in goes on to the generator
                resume, sent = generator.athrow, (error,)

    return driven


async def _aclose(generator: AsyncGenerator[Y, S], recorder: StreamRecorder) -> None:
    token = recorder.span._activate()
    try:
        await generator.aclose()
    except BaseException as error:
        recorder.failed(error)
        raise
    finally:
        recorder.span._deactivate(token)
    recorder.closed()


@async_driver
def drive_async(
    generator: AsyncGenerator[Y, S], recorder: StreamRecorder
) -> tuple[AsyncGenerator[Y, S], StreamRecorder]:
    """`generator`, like `drive`."""
    return generator, recorder


def generator_of(items: Iterable[Y]) -> Generator[Y, None, None]:
    """Any iterable as a generator."""
    yield from items


async def async_generator_of(items: AsyncIterable[Y]) -> AsyncGenerator[Y, None]:
    """Any async iterable as an async generator."""
    async for item in items:
        yield item
