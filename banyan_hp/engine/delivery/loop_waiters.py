"""Coroutines that wait for records, by event loop.

Imports asyncio: the engine imports this module when a coroutine waits for the first time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary, ref

from ..policy.circuit_breaker import CircuitBreaker
from ..records.record import Record
from ..sync import Lock, ReleasingOnError
from .waiters import Waiting


class LoopWaiters:
    """The waiters of one process, one for each event loop; a coroutine waits `patience` seconds at most."""

    def __init__(self, waiting: Waiting, breaker: CircuitBreaker, patience: float) -> None:
        self._waiting = waiting
        self._breaker = breaker
        self._patience = patience
        self._lock = Lock()  # guards additions to _loops
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaiter] = WeakKeyDictionary()
        self._latest: LoopWaiter | None = None

    def here(self) -> LoopWaiter:
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest.loop() is loop:
            return latest
        with ReleasingOnError((self._lock,)), self._lock:
            waiter = self._loops.get(loop)
            if waiter is None:
                waiter = LoopWaiter(self._waiting, self._breaker, self._patience, loop)
                self._loops[loop] = waiter
            self._latest = waiter
        return waiter


# One record's: what resolves it, the breaker's trips when the wait began, and its deadline. A plain tuple:
# thousands are made in one turn of an event loop.
Wait = tuple["asyncio.Future[None]", int, float]


class LoopWaiter:
    """The coroutines of one event loop that wait for records.

    Threads hand over settled records and wake the loop once for many of them. Everything else happens on the
    loop, and takes the engine's lock only when the first of many waits begins and the last one ends.
    """

    def __init__(
        self, waiting: Waiting, breaker: CircuitBreaker, patience: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._waiting = waiting
        self._breaker = breaker
        self._patience = patience
        self.loop = ref(loop)  # weak: the loop keeps us, not the other way round
        self._pending: dict[Record, Wait] = {}  # in the order of their deadlines
        self._settled: deque[Record] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_all = False
        self._woken = False

    def wait(self, record: Record) -> Generator[Any, Any, None]:
        """Wait until the record settles, the attempts are used up, or the patience is; for `yield from`."""
        while (waiting := self._pending.get(record)) is not None:  # another coroutine has the same receipt
            yield from asyncio.shield(waiting[0])
            if record.settled:
                return
        # Register first, then look at the record: whoever settles it does it the other way round.
        if not record.is_first(self):
            self._waiting.add_waiter(record, self)
        if record.settled:
            return
        if not self._pending:
            self._begin()
        future = asyncio.get_running_loop().create_future()
        self._pending[record] = future, self._trips(), monotonic() + self._patience
        try:
            yield from future
        finally:
            self._end(record)

    def _begin(self) -> None:
        self._waiting.begin(self)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._out_of_patience)

    def _trips(self) -> int:
        if not self._breaker.is_open:
            return self._breaker.trips
        self.wake()
        return self._waiting.trips_seen()

    def _end(self, record: Record) -> None:
        waiting = self._pending.pop(record, None)
        if waiting is not None:
            _resolve(waiting[0])
        if not self._pending:
            self._waiting.stop(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def settled(self, record: Record) -> None:
        self._settled.append(record)
        self._wake()

    def wake(self) -> None:
        """The destination's state has changed, or all records of a flush are settled."""
        loop = self.loop()
        if self._breaker.is_open or loop is None or loop.is_closed():
            self._look_at_all = True
            self._wake()

    def _wake(self) -> None:
        loop = self.loop()
        if loop is None or loop.is_closed():
            self._forget_all()
        elif not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._look)
            except RuntimeError:  # the loop was closed in this moment
                self._forget_all()

    def _forget_all(self) -> None:
        """The loop is closed: no coroutine waits any more."""
        self._waiting.stop(self)
        self._settled.clear()
        self._pending.clear()

    def _look(self) -> None:
        self._woken = False  # before looking: what settles from now on wakes the loop again
        while self._settled:
            waiting = self._pending.get(self._settled.popleft())
            if waiting is not None:
                _resolve(waiting[0])
        if self._look_at_all:
            self._look_at_all = False
            for record, (future, trips, _) in self._pending.items():
                if self._waiting.given_up(record, trips):
                    _resolve(future)

    def _out_of_patience(self) -> None:
        now = monotonic()
        for future, _, deadline in self._pending.values():
            if deadline > now:
                self._timer = asyncio.get_running_loop().call_later(deadline - now, self._out_of_patience)
                return
            _resolve(future)
        self._timer = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(None)
