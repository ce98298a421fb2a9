"""The engine's one lock: who holds it may touch the queue, the ledger and the gate.

Never held across I/O, a wait or a user's callback.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Guard:
    """A re-entrant lock that knows when it is entered twice by one thread.

    That happens when the garbage collector, running inside a guarded section, calls a destructor that
    logs. State is half-updated then, so such work is deferred: it runs when the lock has been let go.
    """

    __slots__ = ("_deferred", "_depth", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._deferred: deque[Callable[[], object]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        outermost = not self._depth
        self._lock.release()
        if outermost and self._deferred:
            self._run_deferred()

    @property
    def nested(self) -> bool:
        """Whether the holder interrupted itself. Ask while holding it."""
        return self._depth > 1

    def defer(self, work: Callable[[], object]) -> None:
        """Run `work` as soon as the interrupted section of this thread is over. Call while nested."""
        self._deferred.append(work)

    def _run_deferred(self) -> None:
        while self._deferred:
            try:
                work = self._deferred.popleft()
            except IndexError:
                return  # another thread took it
            work()
