"""Waiters: callers that wait for a record, for all records before a flush, or for the end.

While a caller waits, nothing lingers. No caller waits on our own threads (a callback that flushes), nor where
the garbage collector interrupted us. No caller goes on waiting for a destination that has been given up,
unless records are still to be written to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..records.record import Record, Waiter
from ..spool.held_segments import Mark
from ..sync import EngineLock, WakeUp, releases_on_error
from .scheduler import Scheduler
from .settlement import Settlement
from .shared import Shared
from .stepwise import Wakes
from .worker import Worker

__all__ = ["FlushResult"]


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What `flush` and `shutdown` return; true only if all was delivered that this process has logged.

    Attributes:
        delivered: everything accepted before the call has been delivered.
        pending: this process's records still in memory, in the queue or under way.
        spooled: this process's records that are on disk and will be sent.
        lost: records refused or dropped since the last call, of those that it is about.
        ledger: this process's ledger at the end: accepted, queued, in_flight, delivered, spooled,
            quarantined, dropped.
        backlog: records of earlier processes that this one has taken over, and that are neither delivered
            nor given up.
        backlog_bytes: what other processes have on disk and is not read yet, as far as the last look found
            it; a part of it may belong to processes that live.
        rejected: calls since the last flush whose records were not accepted; `health()` says why.
    """

    delivered: bool
    pending: int
    spooled: int
    lost: int
    ledger: dict[str, int]
    backlog: int = 0
    backlog_bytes: int = 0
    rejected: int = 0

    def __bool__(self) -> bool:
        return self.delivered


class _WokenBy:
    """Wakes its owner when a record settles."""

    def __init__(self, wake_up: Wakes) -> None:
        self._wake_up = wake_up

    def settled(self, _record: Record) -> None:
        self._wake_up.wake()


class AsyncWaiter(Waiter, Wakes, Protocol):
    """Is notified of settled records, and woken when the destination's state changes."""


class Waiting:
    """The waiters of one engine.

    Args:
        ended: whether the engine has come to its end, where nothing more can be waited for.
    """

    def __init__(
        self,
        shared: Shared,
        scheduler: Scheduler,
        settlement: Settlement,
        worker: Worker,
        ended: Callable[[], bool],
    ) -> None:
        self._lock, self.clock, _, policies, self._watchers = shared
        self._breaker = policies.breaker
        self._scheduler = scheduler
        self._settlement = settlement
        self._spool = settlement.spool
        self._worker = worker
        self.ended = ended
        self.own_records_first = scheduler.own_records_first

    @property
    def locks(self) -> tuple[EngineLock, ...]:
        """What the methods here may take, see `releases_on_error`."""
        return (self._lock,)

    @property
    def allowed(self) -> bool:
        """Whether the calling thread may wait at all."""
        return not self._lock.is_mine() and not self._worker.is_own_thread()

    # -- with a thread ----------------------------------------------------------------------------------

    @releases_on_error
    def for_record(self, record: Record, done: Callable[[], bool], deadline: float) -> None:
        """`flush_until`, and `done` is asked when this record has settled, too."""
        wake_up = WakeUp()
        waiter = _WokenBy(wake_up)
        self._settlement.add_waiter(record, waiter)
        try:
            self.flush_until(done, deadline, wake_up)
        finally:
            self._settlement.remove_waiter(record, waiter)

    @releases_on_error
    def flush_until(self, done: Callable[[], bool], deadline: float, wake_up: WakeUp | None = None) -> None:
        """Wait without letting anything linger, until `deadline` on the monotonic clock.

        `done` is asked when records go to disk or are lost, when all are delivered that were accepted before
        a flush, when the destination's state changes, and when `wake_up` is woken.
        """
        if self.allowed and not done():
            self.until(done, deadline, wake_up)

    def until(self, done: Callable[[], bool], deadline: float, wake_up: WakeUp | None = None) -> None:
        """Wait while the worker works; where no thread can be started, do its work."""
        wake_up = wake_up or WakeUp()
        if self.has_worker():
            self.listen_until(done, deadline, wake_up)
        else:
            self._worker.drive(done, deadline, wake_up)

    def has_worker(self) -> bool:
        if not self._worker.alive:
            self._worker.start()
        return self._worker.alive

    def listen_until(self, done: Callable[[], bool], deadline: float, wake_up: WakeUp) -> None:
        """Wait for others to be done."""
        try:
            self.begin(wake_up)
            while not done() and not self.ended():
                left = deadline - self.clock.monotonic()
                if left <= 0:
                    return
                self.clock.wait(wake_up, left)
        finally:
            self.stop(wake_up)

    # -- without a thread -------------------------------------------------------------------------------

    def for_all(self, done: Callable[[], bool], deadline: float) -> Until:
        """`flush_until` as a wait that a thread or an event loop can drive."""
        return Until(self, done, deadline)

    @releases_on_error
    def add_waiter(self, record: Record, waiter: AsyncWaiter) -> None:
        """Notify a further waiter of this record. After this call look whether it is settled already."""
        self._settlement.add_waiter(record, waiter)

    @releases_on_error
    def begin(self, waiter: Wakes) -> None:
        """Nothing lingers, and `waiter` is woken, until `stop`."""
        self._watchers.watch(waiter)
        with self._lock:
            self._scheduler.sleepers.wake_all()

    def stop(self, waiter: Wakes) -> None:
        """End what `begin` began. Takes no lock: in a forked child it may be the parent's."""
        self._watchers.unwatch(waiter)

    # -- in vain? ---------------------------------------------------------------------------------------

    @releases_on_error
    def trips_seen(self) -> int:
        """For `given_up`: one less while the breaker is open and no probe is due: waiting is in vain."""
        if not self._breaker.is_open:
            return self._breaker.trips
        with self._lock:
            in_vain = self._breaker.is_open and self._breaker.delay(self.clock.monotonic()) > 0
            return self._breaker.trips - in_vain

    def given_up(self, record: Record, trips: int) -> bool:
        """Whether a record is settled, or must stay in memory: no destination and no disk."""
        isolated = record.history is not None and record.history.isolated
        return self.left_memory(not record.settled and not isolated, trips)

    def left_memory(self, in_memory: bool, trips: int) -> bool:
        """The same for all that are waited for."""
        return not in_memory or (self.destination_gave_up(trips) and not self.spool_usable)

    def destination_gave_up(self, trips: int) -> bool:
        """An attempt since then has tripped the breaker, and is over: waiting on would be in vain."""
        return self._breaker.has_tripped_since(trips)

    @property
    def spool_usable(self) -> bool:
        return self._spool is not None and self._spool.usable

    # -- what a flush waits for on disk -----------------------------------------------------------------

    def mark(self) -> Mark:
        """The end of what this process has on disk so far."""
        return self._spool.mark() if self._spool is not None else Mark()

    @staticmethod
    def on_disk(mark: Mark) -> int:
        """How many of the records before `mark` are not delivered."""
        return mark.unacknowledged()

    @staticmethod
    def to_send(mark: Mark) -> int:
        """The same, without those that are set aside."""
        return mark.unacknowledged() - mark.set_aside()

    def to_wait_for(self, mark: Mark) -> int:
        """The same, without those that fail on their own and are not to be tried for a while."""
        left = self.to_send(mark)
        if not left:
            return 0
        isolated = self._scheduler.suspects.isolated_places(self.clock.monotonic())
        return left - mark.has(isolated)


class Until:
    """A wait for all records, see `Waiting.flush_until`; a `stepwise.Wait`."""

    def __init__(self, waiting: Waiting, done: Callable[[], bool], deadline: float) -> None:
        self._waiting = waiting
        self._done = done
        self._deadline = deadline
        self._wake_up = WakeUp()
        self._stopped = False
        self.end = waiting.stop

    def over(self) -> bool:
        return self._stopped or self._done() or self._waiting.ended()

    def seconds_left(self) -> float:
        return self._deadline - self._waiting.clock.monotonic()

    def begin(self, wake_up: Wakes) -> bool:
        self._waiting.begin(wake_up)
        if self._waiting.has_worker():
            return True
        self.end(wake_up)
        return False

    def block(self) -> None:
        self._waiting.flush_until(self.over, self._deadline, self._wake_up)

    def stop(self) -> None:
        self._stopped = True
        self._wake_up.wake()
