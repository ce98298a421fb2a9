"""A stopwatch. Monotonic, in seconds; the units of the wire formats are `sinks.py`'s business."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Clock = Callable[[], float]


class Stopwatch:
    """Runs from its making (or the last `restart`) until `stop`; `lap` notes the first of something."""

    __slots__ = ("_lap", "_started", "_stopped", "clock")

    def __init__(self, clock: Clock = perf_counter) -> None:
        self.clock = clock
        self._stopped: float | None = None
        self._lap: float | None = None
        self._started = clock()

    def restart(self) -> None:
        """From zero again."""
        self._stopped = None
        self._lap = None
        self._started = self.clock()

    def lap(self) -> None:
        """Note the time, if that was not done before."""
        if self._lap is None:
            self._lap = self.clock()

    def stop(self, at: float | None = None) -> None:
        """Note the end, if that was not done before: now, or `at` a time of the clock that has passed."""
        if self._stopped is None:
            self._stopped = self.clock() if at is None else at

    def __reduce__(self) -> tuple[Callable[..., Stopwatch], tuple[float, float | None]]:
        """Stopped: the clock means nothing in another process."""
        return _stopped_at, (self.elapsed, self.first)

    @property
    def elapsed(self) -> float:
        """Seconds until `stop`, or until now."""
        return (self.clock() if self._stopped is None else self._stopped) - self._started

    @property
    def first(self) -> float | None:
        """Seconds until the first `lap`; None if there was none."""
        return None if self._lap is None else self._lap - self._started


def _stopped_at(elapsed: float, first: float | None) -> Stopwatch:
    watch = Stopwatch()
    watch._started, watch._stopped, watch._lap = 0.0, elapsed, first
    return watch
