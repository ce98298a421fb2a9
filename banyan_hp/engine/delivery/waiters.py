"""Callers who wait: for a record, for all records before a flush, for the end.

While somebody waits nothing lingers. Nobody waits on our own threads (a callback that flushes), nor where the
garbage collector interrupted us; and nobody waits on for a destination that has been given up, unless there
is a disk still to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ..policy.circuit_breaker import Gate
from ..records.record import Record, Waiter
from ..spool.spool import Mark
from ..sync import Bell, Clock, Guard, lets_go
from .scheduler import Scheduler
from .settlement import Herald, Rings, Settlement
from .worker import Worker


class AsyncWaiter(Waiter, Rings, Protocol):
    """Told of settled records, and rung when the destination's state changes."""


class Waiting:
    """Those who wait in one process.

    Args:
        ended: whether the engine has come to its end, where nothing more can be waited for.
    """

    def __init__(
        self,
        guard: Guard,
        clock: Clock,
        gate: Gate,
        scheduler: Scheduler,
        settlement: Settlement,
        worker: Worker,
        ended: Callable[[], bool],
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._gate = gate
        self._scheduler = scheduler
        self._settlement = settlement
        self._worker = worker
        self._ended = ended

    @property
    def locks(self) -> tuple[Guard, ...]:
        """What the methods here may take, see `lets_go`."""
        return (self._guard,)

    @property
    def allowed(self) -> bool:
        """Whether the calling thread may wait at all."""
        return not self._guard.is_mine() and not self._worker.is_own_thread()

    # -- with a thread ----------------------------------------------------------------------------------

    @lets_go
    def for_record(self, record: Record, done: Callable[[], bool], deadline: float) -> None:
        """`hurry_until`, and `done` is asked when this record has settled, too."""
        bell = Bell()
        herald = Herald(bell)
        self._settlement.also_tell(record, herald)
        try:
            self.hurry_until(done, deadline, bell)
        finally:
            self._settlement.no_longer_tell(record, herald)

    @lets_go
    def hurry_until(self, done: Callable[[], bool], deadline: float, bell: Bell | None = None) -> None:
        """Wait without letting anything linger, until `deadline` on the monotonic clock.

        `done` is asked when records go to disk or are lost, when all are delivered that were accepted before
        a flush, when the destination's state changes, and when `bell` rings.
        """
        if not self.allowed or done():
            return
        me = object()
        try:
            self._hurry(me)
            self.until(done, deadline, bell)
        finally:
            self._take_it_easy(me)

    def until(self, done: Callable[[], bool], deadline: float, bell: Bell | None = None) -> None:
        """Wait while the worker works; where there can be none, do its work."""
        bell = bell or Bell()
        if self._has_worker():
            self.listen_until(done, deadline, bell)
        else:
            self._worker.drive(done, deadline, bell)

    def _has_worker(self) -> bool:
        if not self._worker.alive:
            self._worker.start()
        return self._worker.alive

    def listen_until(self, done: Callable[[], bool], deadline: float, bell: Bell) -> None:
        """Wait for others to be done."""
        self._settlement.watch(bell)
        try:
            while not done() and not self._ended():
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return
                self._clock.wait(bell, left)
        finally:
            self._settlement.unwatch(bell)

    # -- without a thread -------------------------------------------------------------------------------

    def for_all(self, done: Callable[[], bool], deadline: float) -> Until:
        """`hurry_until` as a wait that a thread or an event loop can drive."""
        return Until(self, self._clock, done, deadline)

    def is_over(self, done: Callable[[], bool]) -> bool:
        return done() or self._ended()

    def begin_with_a_worker(self, waiter: Rings) -> bool:
        """`begin`, if there is a thread that works; without one, False."""
        self.begin(waiter)
        if self._has_worker():
            return True
        self.stop(waiter)
        return False

    @lets_go
    def also_tell(self, record: Record, waiter: AsyncWaiter) -> None:
        """Have a further waiter told of this record; look after this call whether it is settled already."""
        self._settlement.also_tell(record, waiter)

    @lets_go
    def begin(self, waiter: Rings) -> None:
        """Somebody waits without a thread: nothing lingers, and `waiter` is rung, until `stop`."""
        self._settlement.watch(waiter)
        self._hurry(waiter)

    @lets_go
    def stop(self, waiter: Rings) -> None:
        self._take_it_easy(waiter)
        self._settlement.unwatch(waiter)

    def _hurry(self, who: object) -> None:
        """Somebody waits: nothing lingers until `_take_it_easy`, which in a forked child knows of nobody."""
        with self._guard:
            self._scheduler.hurried.add(who)
            self._scheduler.wake_all()

    def _take_it_easy(self, who: object) -> None:
        with self._guard:
            self._scheduler.hurried.discard(who)

    @contextmanager
    def for_our_own(self) -> Iterator[None]:
        """Somebody waits for this process's own records: meanwhile no request begins with others'."""
        me = object()
        with self._guard:
            self._scheduler.own_first.add(me)
        try:
            yield
        finally:
            with self._guard:
                self._scheduler.own_first.discard(me)
                self._scheduler.wake_all()

    # -- in vain? ---------------------------------------------------------------------------------------

    @lets_go
    def setbacks_seen(self) -> int:
        """For `given_up`: one less while unwell with no probe due, where waiting would be in vain."""
        if not self._gate.unwell:
            return self._gate.setbacks
        with self._guard:
            in_vain = self._gate.unwell and self._gate.delay(self._clock.monotonic()) > 0
            return self._gate.setbacks - in_vain

    def given_up(self, record: Record, setbacks: int) -> bool:
        """Whether a record is settled, or must stay in memory: no destination and no disk."""
        at_rest = record.trial is not None and record.trial.resting
        return self.left_memory(not record.settled and not at_rest, setbacks)

    def left_memory(self, in_memory: bool, setbacks: int) -> bool:
        """The same for all that are waited for."""
        return not in_memory or (self.destination_gave_up(setbacks) and not self.spool_usable)

    def destination_gave_up(self, setbacks: int) -> bool:
        """An attempt since then has left the destination unwell: it would be in vain to wait on."""
        return self._gate.unwell and self._gate.setbacks > setbacks

    @property
    def spool_usable(self) -> bool:
        spool = self._settlement.spool
        return spool is not None and spool.usable

    # -- what a flush waits for on disk -----------------------------------------------------------------

    def mark(self) -> Mark:
        """The end of what this process has on disk so far."""
        spool = self._settlement.spool
        return spool.mark() if spool is not None else []

    def on_disk(self, mark: Mark) -> int:
        """How many of the records before `mark` are not settled."""
        spool = self._settlement.spool
        return spool.unsettled(mark) if spool is not None else 0

    def to_wait_for(self, mark: Mark) -> int:
        """The same, without those that fail on their own and are not to be tried for a while."""
        left = self.on_disk(mark)
        return left - self._scheduler.suspects.at_rest_before(self._clock.monotonic(), mark) if left else 0


class Until:
    """A wait for all records, see `Waiting.hurry_until`; a `stepwise.Wait`."""

    def __init__(self, waiting: Waiting, clock: Clock, done: Callable[[], bool], deadline: float) -> None:
        self._waiting = waiting
        self._clock = clock
        self._done = done
        self._deadline = deadline
        self._bell = Bell()
        self._stopped = False
        self.begin = waiting.begin_with_a_worker
        self.end = waiting.stop

    def over(self) -> bool:
        return self._stopped or self._waiting.is_over(self._done)

    def seconds_left(self) -> float:
        return self._deadline - self._clock.monotonic()

    def block(self) -> None:
        self._waiting.hurry_until(self.over, self._deadline, self._bell)

    def stop(self) -> None:
        self._stopped = True
        self._bell.ring()
