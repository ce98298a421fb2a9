"""How far a replay is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TextIO

_BAR = 30
_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells of `total` records how many are done.

    Args:
        total: how many there are; more may turn up.
        stream: where it is told.
        clock: seconds, for the rate.
    """

    def __init__(self, total: int, stream: TextIO, clock: Callable[[], float] = monotonic) -> None:
        self._total = total
        self._stream = stream
        self._clock = clock
        self._began = self._told_at = clock()
        self._bar = stream.isatty()

    def show(self, done: int) -> None:
        """Tell, if it is time to."""
        if self._bar:
            self._stream.write(f"\r{self._drawn(done)} {self._said(done)}\x1b[K")
            self._stream.flush()
        elif self._clock() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = self._clock()
            self._write_line(done)

    def end(self, done: int) -> None:
        """Tell the last figure and leave the line."""
        if self._bar:
            self.show(done)
            self._stream.write("\n")
        else:
            self._write_line(done)
        self._stream.flush()

    def _write_line(self, done: int) -> None:
        self._stream.write(f"  {self._said(done)}\n")
        self._stream.flush()

    def _said(self, done: int) -> str:
        total = max(done, self._total)
        seconds = self._clock() - self._began
        rate = f", {done / seconds:,.0f}/s" if seconds > 0 else ""
        return f"{done:,} of {total:,}{rate}"

    def _drawn(self, done: int) -> str:
        full = _BAR * done // max(done, self._total, 1)
        return f"  [{'#' * full}{' ' * (_BAR - full)}]"
