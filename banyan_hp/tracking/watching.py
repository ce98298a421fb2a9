"""Following what comes out bit by bit, for a span that ends when it does, exactly once.

It ends when the last chunk was taken, when it is closed before, when it raises, when the garbage collector
takes it unfinished, or when the interpreter ends.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any

from .chunks import Chunks
from .guarding import Contained
from .span import CLOSED_EARLY, Span

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
        self.span.watch.lap()
        self._last = self.span.watch.clock()
        with Contained(self.span.sink, "a chunk of a stream could not be read"):
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
        span.watch.stop(at)
        _followed.discard(self)
        if span.finished:
            return
        if span.response is None:
            with Contained(span.sink, "a stream could not be put together"):
                span.response = self._chunks.reading()
        span.finish(error, ended)


@atexit.register
def _at_exit() -> None:
    """Log what is still open. The engines drain after this: theirs was registered before, by their import."""
    for watch in list(_followed):
        watch.abandoned(AT_EXIT)
