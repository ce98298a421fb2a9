"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading

from banyan_hp.engine.sync import Clock, WakeUp

LONGEST_STEP = 3600.0


class FakeClock(Clock):
    """Time for tests. Waiting takes no time at all: it moves the clock instead.

    Both times advance together. An endless wait moves the clock by `LONGEST_STEP`, so that it stays finite.
    Safe to use from several threads.
    """

    def __init__(self, *, monotonic: float = 1_000.0, wall: float = 1_767_225_600.0) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._wall = wall
        self.waits: list[float] = []

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def wall(self) -> float:
        with self._lock:
            return self._wall

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time does not run backwards")
        with self._lock:
            self._monotonic += seconds
            self._wall += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody adjusts the wall clock; the monotonic one takes no notice."""
        with self._lock:
            self._wall = seconds

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        with self._lock:
            self.waits.append(seconds)
        if wake_up.wait(0):
            return True
        self.advance(min(max(seconds, 0.0), LONGEST_STEP))
        return False
