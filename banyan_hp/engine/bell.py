"""A wake-up between threads that can't be missed."""

from __future__ import annotations

import threading

LONGEST_WAIT = 3600.0


class Bell:
    """One thread waits, any thread rings; a ring before the wait makes the wait return at once.

    A raw lock used as a binary semaphore. `threading.Event` and `Condition` take a lock inside `set` and
    `notify`, which deadlocks when the garbage collector or a signal handler rings in the middle of a wait;
    releasing a raw lock takes none.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            return  # it has rung already, and nobody has heard it yet

    def wait(self, seconds: float) -> bool:
        if seconds <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(seconds, LONGEST_WAIT))
