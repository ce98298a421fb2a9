"""Following the body of a response while the application reads it.

The body of an `httpx` response is its public attribute `stream`. A tap takes its place: it passes each piece
on as it comes and keeps a reference to it, nothing more. Whatever reads the response (a `Stream`, its
helpers, `iter_lines`, `parse`) stays what it is. The tap's class is made of the class that `httpx` (or
`httpx2`, or whatever is made like them) requires of bodies, which is found on the body itself: nothing is
imported.

The end of a body is its span's end: when it is exhausted, fails, is closed, is dropped, or when the process
ends. The span's time ends with the last piece received; the application's time to read is measured apart.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from typing import Any

from ..engine.process.exit import before_exit
from ..foreign import is_cancellation
from .generators import AT_EXIT, COLLECTED
from .reading.fields import as_text, field
from .reading.received import Body, Received
from .sink import Contained
from .span import CLOSED_EARLY, Span

MOST_BYTES = 8 * 2**20
MOST_TAIL_BYTES = 2**20
BASES = {False: "SyncByteStream", True: "AsyncByteStream"}

_open: set[BodyRecorder] = set()


class BodyRecorder:
    """Collects the pieces of one body for its span, and ends it."""

    __slots__ = (
        "_body",
        "_encoding",
        "_head",
        "_left",
        "_pid",
        "_read",
        "_tail",
        "_tail_size",
        "last",
        "span",
        "streamed",
    )

    def __init__(
        self,
        span: Span,
        encoding: str,
        *,
        streamed: bool,
        most: int | None = None,
        body: Callable[..., Received] | None = None,
    ) -> None:
        self.span = span
        self._body = body
        self.streamed = streamed
        self.last: float | None = None  # when the last piece came
        self._encoding = encoding
        self._pid = os.getpid()
        self._read = 0.0
        self._head: list[bytes] = []
        self._left = MOST_BYTES if most is None else most
        self._tail: deque[bytes] | None = None
        self._tail_size = 0

    def piece(self, piece: bytes) -> None:
        """Keep the next piece."""
        self.last = self.span._stopwatch.clock()
        self._left -= len(piece)
        if self._left >= 0:
            self._head.append(piece)
        else:
            self._keep_the_end(piece)

    def _keep_the_end(self, piece: bytes) -> None:
        tail = self._tail
        if tail is None:
            tail = self._tail = deque()
        tail.append(piece)
        self._tail_size += len(piece)
        while self._tail_size > MOST_TAIL_BYTES and len(tail) > 1:
            self._tail_size -= len(tail.popleft())

    def read(self) -> None:
        """Note that the application has read the last piece and asks for the next."""
        if self.last is not None:
            self._read += self.span._stopwatch.clock() - self.last

    def failed(self, error: BaseException) -> None:
        """End the span: waiting for the next piece raised. Who cancels a stream has closed it."""
        if self.streamed and is_cancellation(error):
            self.end(CLOSED_EARLY, waiting=True)
        else:
            self.end(error=error)

    def end(
        self, how: str | None = None, error: BaseException | None = None, *, waiting: bool = False
    ) -> None:
        """End the span, once. `how` says how the body ended, if not naturally.

        `waiting`: the application had asked for the next piece.

        A forked child must not log its parent's streams again when it drops and closes them at its exit.
        """
        _open.discard(self)
        span = self.span
        if span.finished or (how is not None and self._pid != os.getpid()):
            return
        with Contained(span._sink, "a response could not be recorded"):
            self._measure(failed=error is not None, waiting=waiting or how is None)
            pieces = [*self._head, *(self._tail or ())]
            gap = None if self._tail is None else len(self._head)
            make = self._body or Body
            span.response = make(pieces, self._encoding, gap=gap, streamed=self.streamed)
        span._finish(error, how)

    def _measure(self, *, failed: bool, waiting: bool) -> None:
        watch, last = self.span._stopwatch, self.last
        watch.stop(None if failed else last)
        if not self.streamed or last is None:
            return
        if not waiting:
            self.read()
        self.span._read_seconds = self._read


def _at_exit() -> None:
    """Log what is still open; the engines drain after this."""
    for recorder in list(_open):
        recorder.end(AT_EXIT)


before_exit(_at_exit)


def tap(
    response: Any,
    span: Span,
    *,
    streamed: bool,
    most: int | None = None,
    body: Callable[..., Received] | None = None,
) -> bool:
    """Have `span` end with the body of `response`; False where the body can't be tapped.

    `most` bytes are kept of its beginning, by default `MOST_BYTES`; `body` makes what the span received.
    """
    stream = field(response, "stream")
    kind: Any = type(stream)
    make = _tap_of(kind)
    if make is None:
        return False
    encoding = as_text(field(field(response, "headers"), "content-encoding"))
    recorder = BodyRecorder(span, encoding, streamed=streamed, most=most, body=body)
    response.stream = make(stream, recorder)
    _open.add(recorder)
    return True


@lru_cache(maxsize=64)
def _tap_of(body: type) -> Any:
    """The class of taps for such bodies; None if these are not bodies of `httpx`."""
    sync, is_async = (
        next((base for base in body.__mro__ if base.__name__ == name), None) for name in BASES.values()
    )
    if sync is None and is_async is None:
        return None
    bases = [mixin for base, mixin in ((sync, _SyncTap), (is_async, _AsyncTap)) if base is not None]
    required = [base for base in (sync, is_async) if base is not None]
    return type(body.__name__, (*bases, *required), {"__module__": __name__})


class _Tap:
    def __init__(self, body: Any, recorder: BodyRecorder) -> None:
        self._body = body
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        """Other attributes of the body, such as `elapsed`."""
        if name in ("_body", "_recorder"):
            raise AttributeError(name)
        return getattr(self._body, name)

    def __del__(self) -> None:
        recorder = self.__dict__.get("_recorder")
        if recorder is not None:
            recorder.end(COLLECTED)


class _SyncTap(_Tap):
    def __iter__(self) -> Iterator[bytes]:
        recorder = self._recorder
        piece = recorder.piece
        watch = recorder.span._stopwatch
        try:
            for each in self._body:
                if recorder.last is None and recorder.streamed:
                    watch.lap()
                piece(each)
                yield each
                recorder.read()
        except GeneratorExit:  # `close` of the body says how it ended
            raise
        except BaseException as error:
            recorder.end(error=error)
            raise
        recorder.end()

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._recorder.end(_how_closed())


class _AsyncTap(_Tap):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        recorder = self._recorder
        piece = recorder.piece
        watch = recorder.span._stopwatch
        pieces = self._body.__aiter__()
        try:
            async for each in pieces:
                if recorder.last is None and recorder.streamed:
                    watch.lap()
                piece(each)
                yield each
                recorder.read()
        except GeneratorExit:
            raise
        except BaseException as error:
            recorder.failed(error)
            raise
        finally:
            if hasattr(pieces, "aclose"):  # in the task that read it, not in one that the loop makes later
                await pieces.aclose()
        recorder.end()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._recorder.end(_how_closed())


def _how_closed() -> str:
    """Closed by the application, or by the end of a generator that was dropped."""
    return COLLECTED if sys.exc_info()[0] is GeneratorExit else CLOSED_EARLY
