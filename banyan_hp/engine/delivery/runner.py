"""Carries out the tasks that the scheduler names, one after the other, on whichever thread calls."""

from __future__ import annotations

from collections.abc import Callable

from ..policy.endpoints import MOST_IN_MEMORY
from ..policy.suspects import POISON
from ..records.ledger import Term
from ..records.record import Record
from ..spool.reader import Replayed
from ..sync import WakeUp
from .batch import Delivery
from .consequences import lacks_endpoint
from .final_write import Job
from .inbox import Inbox
from .prepare import Preparer
from .scheduler import Scheduler
from .settlement import Settlement
from .shared import Shared
from .tasks import AskForBatches, OpenSpool, ReadBack, Send, Spill, SyncSpool, Task, Wait

_READ_BACK_BYTES = 2 * 1024 * 1024


class TaskRunner:
    """The tasks under way in one engine, and their records."""

    def __init__(
        self,
        shared: Shared,
        scheduler: Scheduler,
        inbox: Inbox,
        delivery: Delivery,
        preparer: Preparer,
        settlement: Settlement,
        final_write: Job,
    ) -> None:
        self._lock, self._clock, self._ledger, policies, self._watchers = shared
        self._breaker, self._batch_support, self._concurrency, _, self._endpoints = policies
        self._scheduler = scheduler
        self._inbox = inbox
        self._delivery = delivery
        self._preparer = preparer
        self._settlement = settlement
        self._spool = settlement.spool
        self._final_write = final_write
        self._under_way: list[list[Record]] = []  # one group for each task under way
        self._recoveries = 0
        self.stopping = False

    def step(
        self, wake_up: WakeUp, deadline: float, get_help: Callable[[], None], *, one_of_many: bool = False
    ) -> None:
        """One task, or one wait, which `wake_up` ends.

        `get_help` is called before a task where one thread may be too few, see `Worker`.
        """
        with self._lock:
            if self.stopping:
                return
            self._inbox.take_in()
            now = self._clock.monotonic()
            task = self._scheduler.next_task(now, one_of_many=one_of_many)
            if isinstance(task, Wait):
                self._scheduler.sleepers.add(wake_up, on_watch=task.on_watch)
            elif isinstance(task, (Send, Spill)):
                self._under_way.append(task.records)
                if isinstance(task, Send):
                    self._concurrency.begin(id(task.records), now)
        if isinstance(task, Wait):
            self._wait(wake_up, min(task.seconds, deadline - now))
        else:
            self._carry_out(task, deadline, get_help)

    def _wait(self, wake_up: WakeUp, seconds: float) -> None:
        try:
            if not self._lock.deferred and not self._inbox.records:  # what comes from now on wakes us
                self._clock.wait(wake_up, seconds)
        finally:  # also after Ctrl-C: else this one is woken in place of a thread that sleeps
            with self._lock:
                self._scheduler.sleepers.remove(wake_up)

    def _carry_out(self, task: Task, deadline: float, get_help: Callable[[], None]) -> None:
        """Whatever goes wrong, unsettled records wait in memory again, and a probe is over."""
        try:
            if not isinstance(task, AskForBatches) and not self._batch_support.batches:
                get_help()
            self._do(task, deadline)
        finally:
            if isinstance(task, (Send, AskForBatches)) and task.probe:
                with self._lock:
                    self._breaker.end(probe=True)
                self._watchers.wake()
            if isinstance(task, (Send, Spill)):
                self._return_unsettled(task.records)
        self._after_recovery()

    def _do(self, task: Task, deadline: float) -> None:
        if isinstance(task, Send):
            self._send(task, deadline)
        elif isinstance(task, Spill):
            self._spill(task.records)
        elif isinstance(task, ReadBack):
            self._read_back(task)
        elif isinstance(task, AskForBatches):
            self._delivery.ask_for_batches(deadline)
        elif self._spool is not None and isinstance(task, OpenSpool):
            self._spool.open()
            self._ask_for_endpoints()
            self._watchers.wake()  # waiters for a backlog look whether there is one
        elif self._spool is not None and isinstance(task, SyncSpool):
            self._spool.sync()

    def _send(self, task: Send, deadline: float) -> None:
        left = self._delivery.deliver(task.records, deadline)
        if left and self._endpoints.any_missing:
            left = self._without_set_aside(left)
        if left:
            others = self._without_suspects(left)
            if others and self._are_better_on_disk(others):
                self._settlement.spooled(self._preparer.writable(others), in_order=not task.probe)

    def _without_suspects(self, records: list[Record]) -> list[Record]:
        """Those that do not fail on their own; the others are isolated."""
        with self._lock:
            suspects = self._scheduler.retries.to_isolate(records)
        if suspects:
            self._settlement.isolate(self._preparer.writable(suspects))
        return [record for record in records if record not in suspects]

    def _without_set_aside(self, records: list[Record]) -> list[Record]:
        """Those whose endpoint is there. The others wait on disk; without one, a few wait in memory."""
        aside = [record for record in records if lacks_endpoint(record)]
        failed = self._settlement.spooled(self._preparer.writable(aside), aside=True)
        with self._lock:
            room = MOST_IN_MEMORY - sum(map(lacks_endpoint, self._scheduler.retries.records()))
        self._settlement.dropped(failed[max(0, room) :], "queue_full")
        return [record for record in records if not lacks_endpoint(record)]

    def _ask_for_endpoints(self) -> None:
        """One record that is set aside finds out whether its endpoint is there now."""
        with self._lock:
            is_due = self._endpoints.is_due(self._clock.monotonic())
        if is_due:
            self._settlement.bring_back(1)

    def _spill(self, records: list[Record]) -> None:
        on_disk = [record for record in records if record.place is not None]  # they stay there as they are
        others = [record for record in records if record.place is None]
        failed = self._settlement.spooled(on_disk + self._preparer.prepare(others))
        self._settlement.dropped([r for r in failed if r.history is not None and r.history.evicted], POISON)

    def _are_better_on_disk(self, records: list[Record]) -> bool:
        with self._lock:
            if self._scheduler.closing and self._breaker.failures:
                self._breaker.break_now(self._clock.monotonic())
            return self._scheduler.retries.are_better_on_disk(records)

    def _return_unsettled(self, records: list[Record]) -> None:
        """What is not settled waits in memory. One step: shutdown finds a record under way or waiting."""
        with self._lock:
            self._under_way = [group for group in self._under_way if group is not records]
            self._concurrency.end(id(records))
            left = [record for record in records if not record.claimed]
            stopping, closing = self.stopping, self._scheduler.closing
            if left and not stopping:
                self._scheduler.retries.add(left, self._clock.monotonic())
        if closing or any(record.history is not None for record in left):
            self._watchers.wake()  # a flush does not wait for isolated records
        if stopping:
            self._final_write.take(left)  # which skipped them while this task tried to write them
            self._final_write.run()

    def _read_back(self, task: ReadBack) -> None:
        replayed: list[Replayed] = []
        try:
            if self._spool is not None:
                replayed = self._spool.read_back(task.max_records, _READ_BACK_BYTES, own_only=task.own_only)
        finally:
            with self._lock:
                records = [self._record(found) for found in replayed]
                self._scheduler.backlog.add(records, self._clock.monotonic())
                self._scheduler.sleepers.wake_all()
        if self.stopping:
            self._settlement.spooled(records)  # they stay where they are
        elif not records:
            self._watchers.wake()

    def _record(self, found: Replayed) -> Record:
        """A record from the disk, in memory again, in its book."""
        self._lock.assert_held()
        book = self._ledger.book(own=found.own)
        line, now = found.line, self._clock.monotonic()
        record = Record.from_disk(line.id, line.time, line.body, found.place, now, book, raw=line.raw)
        book.move((record,), Term.IN_FLIGHT)
        return record

    def _after_recovery(self) -> None:
        """The destination is back: look again for what other processes left behind."""
        with self._lock:
            recovered = self._breaker.recoveries > self._recoveries
            self._recoveries = self._breaker.recoveries
            if recovered:
                self._batch_support.ask_soon()
                self._scheduler.sleepers.wake_all()
        if recovered and self._spool is not None:
            self._spool.open()

    # -- what is under way ------------------------------------------------------------------------------

    def stop(self) -> list[Record]:
        """Begin no more tasks. The records under way belong to the caller now."""
        self._lock.assert_held()
        self.stopping = True
        self._preparer.stop()
        self._scheduler.sleepers.wake_all()
        return self.under_way()

    def oldest_at(self) -> float | None:
        """When the oldest record under way was queued."""
        self._lock.assert_held()
        return min([group[0].queued_at for group in self._under_way if group], default=None)

    @property
    def is_sending_backlog(self) -> bool:
        """Whether records of other processes are under way. Takes no lock: the copy is atomic."""
        adopted = self._ledger.adopted
        return any(record.book is adopted for group in tuple(self._under_way) for record in group)

    @property
    def is_sending(self) -> bool:
        """Whether records are under way. Takes no lock."""
        return bool(self._under_way)

    def forget(self) -> None:
        """The records under way have another owner now."""
        self._lock.assert_held()
        self._under_way = []

    def under_way(self) -> list[Record]:
        """Records that a thread sends or writes at this moment."""
        self._lock.assert_held()
        return [record for group in self._under_way for record in group]
