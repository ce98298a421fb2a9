"""The delivery engine, put together: submit, flush, shutdown, stats, health.

Callers' threads run `submit`; everything else that takes time runs on the worker's threads. All state
that threads share is guarded by one `Guard`, made anew, like all else, in a forked child.
"""

from __future__ import annotations

import copy
import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..logs import forget_threads, is_suppressed, suppressed_threads, warn
from ..settings import Settings
from .delivery.batch import Delivery
from .delivery.callbacks import Callbacks, Notices
from .delivery.final_write import Job, LastWrites
from .delivery.prepare import Preparer
from .delivery.queue import Queue
from .delivery.runner import TaskRunner
from .delivery.scheduler import Scheduler
from .delivery.settlement import Settlement
from .delivery.shared import Shared
from .delivery.stepwise import Steps, run
from .delivery.waiters import FlushResult, Waiting
from .delivery.worker import Worker
from .destination import Destination
from .http.transport import Transport, connecting_as, never_raising
from .policy.batch_support import BatchSupport
from .policy.circuit_breaker import CircuitBreaker
from .policy.compression import Compression, may_compress
from .policy.concurrency_limit import ConcurrencyLimit
from .policy.policies import Policies
from .policy.suspects import Suspects
from .process import exit as process_exit
from .process import fork
from .records.freeze import freeze_any, freeze_plain
from .records.ledger import Ledger, Term
from .records.record import RECORD_OVERHEAD, Deferred, Epoch, Epochs, Record
from .spool.backend_health import BackendHealth
from .spool.layout import Address, destination_directory, spool_bases
from .spool.spool import Mark, Spool, SpoolSettings
from .stats import health_of, problems_of, stats_of
from .sync import Clock, EngineLock, WakeUp, releases_on_error

if TYPE_CHECKING:
    from .delivery.loop_waiters import LoopWaiter, LoopWaiters

_JOIN_SECONDS = 0.2
_UNASKED_SECONDS = 1.0
_TELL_SECONDS = 0.25
_BRIEFLY_SECONDS = 0.05
_RETIRED = "retired"  # in place of somebody who waits


def _on_disk_and_oldest_first(record: Record) -> tuple[bool, float]:
    """The final write's order: what is on disk can be given up for what is not."""
    return record.place is None, record.queued_at


_QUEUED, _IN_FLIGHT = Term.QUEUED, Term.IN_FLIGHT  # looked up at each call, an enum's members cost
TransportFactory = Callable[[Destination, Settings], Transport]


def http_transport(destination: Destination, settings: Settings) -> Transport:
    return connecting_as(settings)(destination.base_url, settings.timeout, settings.max_connections)


class Engine:
    """One destination's queue, threads, spool and ledger.

    Args:
        destination: the backend and its wire format.
        settings: see `banyan_hp.settings.Settings`.
        clock: time; tests hand in another one.
        transport: makes what requests are sent through; tests hand in another one.
        spool_directory: the directory to spool to and replay from, where it is not to be the destination's
            own below the settings' `spool_dir`.
        leaves_raw: leave alone on disk what `before_send` has not seen.

    Construction does no I/O and starts no thread.
    """

    def __init__(
        self,
        destination: Destination,
        settings: Settings,
        *,
        clock: Clock | None = None,
        transport: TransportFactory = http_transport,
        spool_directory: Path | None = None,
        leaves_raw: bool = False,
    ) -> None:
        self.settings = settings
        self.destination = destination
        self._clock = clock or Clock()
        self._make_transport = transport
        self._spool_directory = spool_directory
        self._leaves_raw = leaves_raw
        self.closing = False
        self.stopped = False
        self._leaving = False  # closed by the end of the process, not by the application
        self._finisher: int | None = None  # the thread that ends it
        self._writing_last: int | None = None  # the same, while it does
        self._waited_in_vain = False  # at exit, for the backend
        self._is_silent = False  # the backend: an earlier exit has waited for it in vain
        self._finishing = False  # a coroutine has left the end to a thread
        self._ended = False
        self._has_said_so = False
        self.superseded = False  # a successor takes the client's records
        self._bases: tuple[Path, ...] = ()
        self.no_spool_because: str | None = None
        self._assemble()
        if settings.enabled and settings.on_sigterm == "auto":
            process_exit.handle_signals()

    def _assemble(self) -> None:
        """Everything that belongs to one process: made at construction and again in a forked child."""
        settings = self.settings
        self._heirs: dict[int, Engine] = {}  # by process: what a forked child goes on with
        self.process = os.urandom(8).hex()
        self._id_prefix = f"{self.process}-"
        self._numbers = itertools.count()
        self._keeps_first = settings.durability == "disk"
        self._room = settings.queue_bytes // 4  # for texts of a record that are shortened when it is encoded
        self._has_flushed = False
        self._owed: Mark | None = None
        self.lock = EngineLock()
        self.ledger = Ledger()
        shared = self.shared = Shared(self.lock, self._clock, self.ledger)
        policies = self.policies = Policies(
            CircuitBreaker(settings.max_retries, settings.retry_delay),
            BatchSupport(
                settings.batching,
                may_batch=self.destination.may_batch,
                compression=Compression(
                    allowed=may_compress(settings.compression, self.destination.base_url)
                ),
            ),
            ConcurrencyLimit(),
            Suspects(settings.max_retries, settings.retry_delay),
        )
        self.queue = Queue(settings.queue_size, settings.queue_bytes)
        self.epochs = Epochs()
        self.breaker, self._batch_support, _, suspects = policies
        self.callbacks = Callbacks(shared)
        self.notices = Notices(shared, self.callbacks, settings.on_error, settings.on_drop)
        self._settlement = Settlement(shared, self.notices, suspects)
        self.spool = self._settlement.spool = self._make_spool()
        self._scheduler = Scheduler(shared, settings, self.queue, policies, self.spool)
        self._preparer = Preparer(
            shared, self.callbacks, self._settlement, settings.before_send, settings.max_record_bytes
        )
        self._transport = self._make_transport(self.destination, settings)
        self._delivery = Delivery(
            shared,
            policies,
            self.destination,
            self._transport,
            self._settlement,
            self._preparer,
            settings.max_batch_bytes,
        )
        self._last_writes = LastWrites(self._clock, self._settlement, self._preparer)
        self.runner = TaskRunner(
            shared,
            policies,
            self._scheduler,
            self._delivery,
            self._preparer,
            self._settlement,
            self._last_writes.leaving,
        )
        self.worker = Worker(
            shared,
            settings,
            self._scheduler,
            self._settlement,
            self.notices,
            self.runner,
            fork.may_start_threads,
        )
        self.waiting = Waiting(
            shared, self.breaker, self._scheduler, self._settlement, self.worker, lambda: self._ended
        )
        self._loop_waiters: LoopWaiters | None = None
        self._pid = os.getpid()  # last: whoever reads it finds all the rest

    def _state_directories(self) -> tuple[Path, ...]:
        """Where records are kept, and behind it where else they may lie; none: no home."""
        try:
            return spool_bases(self.settings.spool_dir)
        except (RuntimeError, OSError, KeyError) as error:
            self.no_spool_because = f"no directory for it is known, set spool_dir: {error}"
        warn("spool", "records stay in memory: %s", self.no_spool_because)
        return ()

    def _previous_directories(self) -> tuple[Path, ...]:
        """Where else records of this destination lie that may leave under our key.

        Those of its previous keys, and all of them in the place where an earlier platformdirs had the spools.
        """
        if self._spool_directory is not None:
            return ()
        destination = self.destination
        keys = dict.fromkeys((destination.key, *self.settings.previous_keys))
        found = [
            destination_directory(base, destination.identity, key) for base in self._bases for key in keys
        ]
        return tuple(dict.fromkeys(found[1:]))  # the first one is our own

    def _make_spool(self) -> Spool | None:
        settings = self.settings
        self.no_spool_because = None
        if not settings.spool or not settings.enabled:
            return None
        self._bases = self._bases or self._state_directories()
        if not self._bases:
            return None
        identity, key = self.destination.identity, self.destination.key
        return Spool(
            SpoolSettings(
                directory=self._spool_directory or destination_directory(self._bases[0], identity, key),
                max_bytes=settings.spool_max_bytes,
                max_age=settings.spool_max_age,
                durable=settings.durability == "disk",
                fsync=settings.fsync,
                address=Address.of(identity, key) if self._spool_directory is None else None,
                previous=self._previous_directories(),
                leaves_raw=self._leaves_raw,
            ),
            self.process,
            self._clock,
            self._settlement,
        )

    @property
    def ending(self) -> Engine:
        return self

    @property
    def locks(self) -> tuple[EngineLock, ...]:
        """What the methods here may take, see `lets_go`."""
        return (self.lock, *self.spool.locks) if self.spool is not None else (self.lock,)

    # -- submit -----------------------------------------------------------------------------------------

    def submit(
        self, value: dict[str, Any], *, max_text: int = sys.maxsize, deferred: Deferred | None = None
    ) -> Record | None:
        """Take a record over. Does no I/O but for overflow, `durability="disk"` and at process_exit.

        Args:
            value: the record's body, of whatever values; see `freeze`. The dict itself is ours from now on.
            max_text: of a value of more than a quarter of `queue_bytes`, longer texts are cut at the call.
            deferred: completes the body on our threads; with `durability="disk"` here, at once.

        Returns:
            The record, wherever it is now (see `Record.term`); None if it was not accepted because the
            engine is shut down, or because it is made of a log line about a delivery.
        """
        if os.getpid() != self._pid:
            self.after_fork()
        record = self._new_record(value, max_text)
        if deferred is not None:
            record.deferred = deferred
            record.size += deferred.size
        if self.stopped or (suppressed_threads and is_suppressed()):
            return self._submit_out_of_turn(record)
        lock = self.lock
        if lock.is_mine():  # the garbage collector called a destructor that logs
            self._defer(lambda: self._submit_later(record))
            return record
        try:
            with lock:
                closing = self.closing
                queued = not closing and self._accept(record)
            if closing:
                return self._submit_out_of_turn(record)
            if not queued:
                self._submit_slowly(record)
        except BaseException:  # Ctrl-C in the middle: the caller sees that this one is not logged
            lock.let_go()
            self._let_go(record)
            raise
        if not self.worker.threads:
            self._ensure_worker(record)
        if lock.deferred:
            lock.run_deferred()
        return record

    def _defer(self, work: Callable[[], object]) -> None:
        """Leave work to a thread that is not in the middle of something; takes no lock."""
        self.lock.defer(work)
        process_exit.register_in_destructor(self)
        self._scheduler.sleepers.disturb()

    @releases_on_error
    def _submit_out_of_turn(self, record: Record) -> Record | None:
        """At exit a record goes to disk at once; a line about a delivery, or after `shutdown()`, nowhere."""
        if self.superseded:
            return None
        if not self._leaving or sys.is_finalizing() or is_suppressed():
            self.reject()
            self._say_that_it_ended()
            return None
        with self.lock:
            self.ledger.own.accept(Term.IN_FLIGHT)
        self._last_writes.leave([record])
        record.turned_away = record.term is Term.DROPPED
        self.lock.run_deferred()
        return record

    def _say_that_it_ended(self) -> None:
        """Once: a logger that is used after its `shutdown()` is a mistake of the application's."""
        if self._ended and not (self._has_said_so or self._leaving or is_suppressed() or sys.is_finalizing()):
            self._has_said_so = True
            warn(
                f"ended {self.process}",
                "a logger for %s is used after its shutdown(): its records are not accepted, only counted "
                "as logs_rejected",
                self.destination.base_url,
            )

    def _new_record(self, value: dict[str, Any], max_text: int) -> Record:
        clock = self._clock
        now = clock.wall()
        # The time makes it unique where copies of a memory snapshot go on with the same process and counter.
        ident = f"{self._id_prefix}{next(self._numbers):x}-{int(now * 1e6):x}"
        size = freeze_plain(value, max_text)
        frozen, size, cut = (value, size, 0) if size else freeze_any(value, max_text, self._room)
        size += RECORD_OVERHEAD
        record = Record(ident, now, frozen, size, clock.monotonic(), self.ledger.own)
        if cut:
            record.cut = cut
        return record

    def _accept(self, record: Record) -> bool:
        """Call with the lock held. False if the record is not in the queue yet, but in the caller's hands.

        All or nothing: the exception of a signal handler (Ctrl-C) can arrive behind a call or a branch, but
        not between the statements here that change something: there is neither before they are done.
        """
        own, queue, epoch, size = self.ledger.own, self.queue, self.epochs.current, record.size
        if record.cut:
            self.ledger.counters.values_cut += record.cut
        if self._keeps_first or not queue.fits(size):
            record.with_caller = True
            record.epoch = epoch
            epoch.in_memory += 1
            own.accepted += 1
            own.counts[_IN_FLIGHT] += 1
            return False
        record.term = _QUEUED
        record.epoch = epoch
        epoch.in_memory += 1
        own.accepted += 1
        own.counts[_QUEUED] += 1
        queue.bytes += size
        queue.records.append(record)
        if self._scheduler.sleepers.idle:
            self._scheduler.wake_for_record()
        return True

    @releases_on_error
    def _submit_later(self, record: Record) -> None:
        with self.lock:
            closing = self.closing
            queued = not closing and self._accept(record)
        if closing:
            self._submit_out_of_turn(record)
        elif not queued:
            self._submit_slowly(record)

    @releases_on_error
    def _let_go(self, record: Record) -> None:
        """Give it up, unless others know of it: it may be under way in a worker's hands already."""
        if record.with_caller and record.epoch is not None and record.term is Term.IN_FLIGHT:
            record.claimed = False
            self._settlement.dropped([record], "interrupted")

    @releases_on_error
    def _submit_slowly(self, record: Record) -> None:
        """Not simply into the queue. What is lost on that way is told on our threads, which may be asleep."""
        self._write_or_enqueue(record)
        if self.notices.pending:
            with self.lock:
                self._scheduler.sleepers.wake_one()

    def _write_or_enqueue(self, record: Record) -> None:
        """To disk first (`durability="disk"`), or past a full queue."""
        if self._keeps_first:
            if not self._preparer.prepare([record]):
                return
            if self.spool is not None:
                self.spool.append([record])
        if not self._enqueue(record):
            self._overflow(record)
        with self.lock:
            self._scheduler.wake_for_sync()

    def _enqueue(self, record: Record) -> bool:
        with self.lock:
            if self.stopped or not self.queue.fits(record.size):
                return False
            self._put_in_queue(record)
        return True

    def _put_in_queue(self, record: Record) -> None:
        """Call with the lock held."""
        if self._keeps_first and record.place is None:
            self.ledger.counters.logs_not_durable += 1
        record.with_caller = False
        self.ledger.own.move((record,), Term.QUEUED)
        self.queue.append(record)
        self._scheduler.wake_for_record()

    def _overflow(self, record: Record) -> None:
        if record.place is not None or self.settings.overflow == "spill" or self.stopped:
            prepared = self._preparer.prepare([record])
            if not self._settlement.spooled(prepared):
                record.turned_away = bool(prepared) and record.term is Term.DROPPED
                return
        if self.stopped:
            self._turn_away(record, "shutdown")
        elif self.settings.overflow == "drop_newest" or record.size > self.queue.max_bytes:
            self._turn_away(record, "queue_full")
        else:
            self._drop_oldest_for(record)

    def _turn_away(self, record: Record, reason: str) -> None:
        record.turned_away = True
        self._settlement.dropped([record], reason)

    def _drop_oldest_for(self, record: Record) -> None:
        with self.lock:
            stopped = self.stopped
            evicted = [] if stopped else self.queue.make_room(record.size)
            if not stopped:
                self.ledger.own.move(evicted, Term.IN_FLIGHT)
                self._put_in_queue(record)
        if stopped:
            self._turn_away(record, "shutdown")
        self._settlement.spooled([old for old in evicted if old.place is not None])
        self._settlement.dropped(evicted, "queue_full")

    @releases_on_error
    def _ensure_worker(self, record: Record) -> None:
        """Start the workers; where there can be none, deliver here."""
        process_exit.register(self)
        if process_exit.leaving():  # the first record of all, and the end has begun
            self.shutdown(0.0)
            record.turned_away = record.term is Term.DROPPED
            return
        self.worker.start()
        if not self.worker.background or self.worker.lacks_thread:
            process_exit.end_abandoned()
            self.wait_for(record, self._callers_patience())

    def _callers_patience(self) -> float | None:
        """Seconds for a delivery by the caller: as asked for by settings, or briefly where nobody asked."""
        return _UNASKED_SECONDS if self.settings.background_thread else None

    # -- waiting ----------------------------------------------------------------------------------------

    @releases_on_error
    def wait_for(self, record: Record, timeout: float | None = None) -> bool:
        """Wait until a record is delivered or the attempts are used up; True if it was delivered.

        By default at most the settings' `timeout` for each attempt: a long Retry-After must not hold a
        request handler.
        """
        if not self.knows(record):
            return record.term is Term.DELIVERED
        patience = self.settings.patience if timeout is None else timeout
        trips = self.waiting.trips_seen()
        deadline = self._clock.monotonic() + patience
        self.waiting.for_record(record, lambda: self.waiting.given_up(record, trips), deadline)
        return record.term is Term.DELIVERED

    def loop_waiter(self, record: Record) -> LoopWaiter | None:
        """What a coroutine waits for this record with; None if there is nothing to wait for."""
        if record.settled or not self.knows(record):
            return None
        return (self._loop_waiters or self._make_loop_waiters()).here()

    def _make_loop_waiters(self) -> LoopWaiters:
        """Two threads may make some at the same time: a loop that waits with the others waits as well."""
        from .delivery.loop_waiters import LoopWaiters  # imports asyncio, which not everybody uses

        made = self._loop_waiters = LoopWaiters(self.waiting, self.breaker, self.settings.patience)
        return made

    def why_not_sent(self) -> tuple[str, str]:
        """Why a record was not sent yet: the circuit breaker's state, and a sentence.

        The state is empty while the backend refuses records: that says nothing about another one.
        """
        if self.breaker.refusing:
            words = "the backend refused the records that were sent last; this one was not sent yet"
            return "", words
        return self.breaker.state, self.notices.last_failure or "it was not sent yet"

    def knows(self, record: Record) -> bool:
        """Whether it is of this process: after a fork nothing more is heard of the parent's."""
        self._be_of_this_process()
        return record.book in (self.ledger.own, self.ledger.adopted)

    @releases_on_error
    def flush(self, timeout: float) -> FlushResult:
        """Deliver what was accepted before this call. See `PromptStackLogger.flush`.

        A process's first flush then drains what others have left on disk.
        """
        return run(self.flushing(timeout))

    def flushing(self, timeout: float) -> Steps[FlushResult]:
        """`flush`, one wait after the other."""
        self._be_of_this_process()
        deadline = self._clock.monotonic() + timeout
        if self.stopped or not self.waiting.allowed:
            return self._result(0)
        if self._has_flushed:
            return self._result(*(yield from self._flush_own(deadline)))
        self._has_flushed = True
        with self.waiting.for_our_own():
            lost, delivered = yield from self._flush_own(deadline)
        yield from self._drain_backlog(deadline)
        return self._result(lost, delivered)

    async def aflush(self, timeout: float) -> FlushResult:
        """`flush` on the running event loop."""
        from .delivery import loops  # who does not use it does not pay for it

        return await loops.drive(self.flushing(timeout))

    def _flush_own(self, deadline: float) -> Steps[tuple[int, bool | None]]:
        """Deliver what this process has logged. Returns how many are lost, and whether all is delivered."""
        waiting = self.waiting
        self.lock.run_deferred()
        with self.lock:
            epochs = self.epochs.close()
            reported = sum(epoch.reported for epoch in epochs)
            trips = self.breaker.trips
            if self.breaker.is_open:
                self.breaker.hurry(self._clock.monotonic())
        yield waiting.for_all(
            lambda: waiting.left_memory(any(epoch.in_memory for epoch in epochs), trips), deadline
        )
        lost = self._lost_of(epochs) - reported
        lost_on_disk = self._lost()
        mark = waiting.mark()
        yield waiting.for_all(
            lambda: not waiting.to_wait_for(mark) or waiting.destination_gave_up(trips), deadline
        )
        lost += self._lost() - lost_on_disk if mark else 0
        if self._ended:  # by somebody else, meanwhile: the spool is closed and knows no marks
            return lost, None
        in_memory = sum(epoch.in_memory for epoch in epochs)
        return lost, not in_memory and not waiting.on_disk(mark)

    def _drain_backlog(self, deadline: float) -> Steps[None]:
        """Send what others have left on disk, with our threads, as far as there is time."""
        if self.spool is None or self._scheduler.own_only or process_exit.leaving():
            return
        process_exit.register(self)
        trips = self.waiting.trips_seen()
        yield self.waiting.for_all(lambda: self._scheduler.own_only or self._replayed(trips), deadline)

    def _lost_of(self, epochs: list[Epoch]) -> int:
        """Which are told of herewith. Those who wait at the same time are all told."""
        with self.lock:
            for epoch in epochs:
                epoch.reported = epoch.lost
            return sum(epoch.lost for epoch in epochs)

    def _lost(self) -> int:
        return self.ledger.own[Term.QUARANTINED] + self.ledger.own[Term.DROPPED]

    def _result(self, lost: int, delivered: bool | None = None) -> FlushResult:
        ledger = self.ledger_now()
        pending = ledger["queued"] + ledger["in_flight"]
        if delivered is None:
            delivered = not pending and not ledger["spooled"]
        adopted = self.ledger.adopted
        backlog = adopted[Term.SPOOLED] + adopted[Term.IN_FLIGHT]
        unread = self.spool.backlog_bytes if self.spool is not None else 0
        return FlushResult(delivered and not lost, pending, ledger["spooled"], lost, ledger, backlog, unread)

    def ledger_now(self) -> dict[str, int]:
        """Where this process's own records are."""
        own = self.ledger.own
        if sys.is_finalizing():  # a destructor at the very end; nothing changes any more
            return {"accepted": own.accepted, **{term.value: count for term, count in own.counts.items()}}
        with self.lock:
            return {"accepted": own.accepted, **{term.value: count for term, count in own.counts.items()}}

    # -- replay -----------------------------------------------------------------------------------------

    def replay(self, timeout: float, report: Callable[[], object]) -> None:
        """Send what earlier processes have left on disk, with no record of our own.

        Returns when nothing is left that no other process holds, when the destination was given up or the
        disk can't be read, and after `timeout` seconds. `shutdown` must follow: it lets go of the rest.

        Args:
            timeout: seconds; may be infinite.
            report: called about four times a second, on this thread.
        """
        deadline = self._clock.monotonic() + timeout
        process_exit.register(self)
        while not self._replayed() and self._clock.monotonic() < deadline:
            self.waiting.until(self._replayed, min(deadline, self._clock.monotonic() + _TELL_SECONDS))
            report()

    def _replayed(self, trips: int = 0) -> bool:
        if self.spool is None or self.waiting.destination_gave_up(trips):
            return True
        over = self.spool.emptied or not self.spool.readable  # takes the spool's lock, so not under ours
        with self.lock:
            if self._scheduler.reading_back:
                return False
            return over or self._only_suspects_are_left()

    def _only_suspects_are_left(self) -> bool:
        """What earlier processes left is settled, but for what fails on its own. Call with the lock held."""
        adopted, now = self.ledger.adopted, self._clock.monotonic()
        suspects = self._scheduler.suspects
        isolated = suspects.count_isolated(now, adopted, Term.SPOOLED)
        return bool(isolated) and not adopted[Term.IN_FLIGHT] and adopted[Term.SPOOLED] == isolated

    # -- shutdown ---------------------------------------------------------------------------------------

    @releases_on_error
    def shutdown(self, timeout: float) -> FlushResult:
        """Accept no more, try once more, and leave on disk what is not delivered by then."""
        self._be_of_this_process()
        if self.lock.is_mine():  # a destructor, in the middle of our own work: as soon as that is over
            self._defer(lambda: self.shutdown(timeout))
        if self.lock.is_mine() or sys.is_finalizing():
            return self._result(0, delivered=False)
        self.lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        epochs, reported = self._closed_epochs()
        try:
            self._begin_to_close(timeout)
            self.wait_until_sent(deadline)
        finally:  # Ctrl-C, too, leaves on disk what is not delivered
            self.finish(deadline)
        return self._result(self._lost_of(epochs) - reported)

    async def ashutdown(self, timeout: float) -> FlushResult:
        """`shutdown` on the running event loop. Cancelled, it leaves the final write to a thread."""
        from .delivery import loops  # who does not use it does not pay for it

        self._be_of_this_process()
        self.lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        epochs, reported = self._closed_epochs()
        try:
            self._begin_to_close(timeout)
            if self.waiting.allowed:
                await loops.until(self.waiting.for_all(self._nothing_more_to_do, deadline))
        finally:
            first = self._finishes_first()
            finishing = loops.on_a_thread(lambda: self.finish(deadline)) if first else None
        if finishing is not None:
            await finishing
        else:
            await loops.until(self.waiting.for_all(lambda: self._ended, deadline))
        return self._result(self._lost_of(epochs) - reported)

    def _finishes_first(self) -> bool:
        """Whether no other call has begun with the end: only the first one needs a thread for it."""
        with self.lock:
            first, self._finishing = not self._finishing and self._finisher is None, True
        return first and not self._ended

    def _closed_epochs(self) -> tuple[list[Epoch], int]:
        """Those that a shutdown reports losses of, and how many losses of them are reported already."""
        with self.lock:
            epochs = self.epochs.close()
            return epochs, sum(epoch.reported for epoch in epochs)

    def abandon(self) -> None:
        """Nobody can log here any more: a thread delivers what there is, or leaves it on disk, and ends.

        For a finaliser, which may run anywhere: takes no lock, does no I/O.
        """
        if self.closing or os.getpid() != self._pid:
            return
        if self.worker.threads:
            self._defer(self._end_abandoned)
        else:
            process_exit.abandon(self)

    def _end_abandoned(self) -> None:
        timeout = self.settings.exit_timeout
        if not self.worker.is_own_thread():  # the exit, which ends all of them
            return
        deadline = self._clock.monotonic() + timeout
        self._begin_to_close(timeout)
        self.worker.drive(self._nothing_more_to_do, deadline, WakeUp())
        self.finish(deadline)

    @releases_on_error
    def _begin_to_close(self, timeout: float) -> None:
        with self.lock:
            if self.closing:
                return
            now = self._clock.monotonic()
            self._scheduler.close()
            self.breaker.hurry(now)
            if self.breaker.delay(now) > timeout:  # told to wait longer than we can
                self.breaker.break_now(now)
            self._leaving = process_exit.leaving()
            self.closing = True

    # The end, step by step: `shutdown` takes them for one engine, the exit each of them for all engines.
    # A step that Ctrl-C has interrupted can be taken again. See `last_writes`.

    @releases_on_error
    def begin_to_leave(self, timeout: float) -> None:
        """The process ends in so many seconds: accept no more, and have on disk what waits to be sent."""
        self._be_of_this_process()
        self.lock.run_deferred()
        self._begin_to_close(timeout)
        self.secure()
        self._owed = self._all_on_disk()

    @releases_on_error
    def secure(self) -> None:
        """Have on disk what waits to be sent."""
        keeping = self._last_writes.keeping
        with self.lock:
            if self.spool is None or self.stopped:
                return
            keeping.take([*self.worker.in_hand(), *self._scheduler.retrying(), *self.queue.records])
            if not keeping.done:
                self._scheduler.pause()
        try:
            self._see_to(keeping)
        finally:
            with self.lock:
                self.queue.drop_settled()
                self._scheduler.resume()

    def _all_on_disk(self) -> Mark | None:
        """The end of what the exit owes: later records don't hold it. None if some are in memory only."""
        with self.lock:
            waiting = [*self.worker.in_hand(), *self._scheduler.waiting()]
            if any(record.place is None and not record.settled for record in waiting):
                return None
        return self.waiting.mark()

    def wait_at_exit(self, deadline: float) -> None:
        """`wait_until_sent`, but only for a backend that has answered lately; see `backend_health`."""
        health, began = self._backend_health(), self._clock.monotonic()
        self._is_silent = was_silent = not self._heard_again(health)
        if self._nothing_more_to_do():
            return
        self.wait_until_sent(min(deadline, began + _BRIEFLY_SECONDS) if was_silent else deadline)
        if was_silent and self._heard_again(health):
            self._is_silent = False
            self.wait_until_sent(deadline)
        answered = self.breaker.last_success is not None and self.breaker.last_success >= began
        self._waited_in_vain = not answered and not self._nothing_more_to_do()
        if self._waited_in_vain and not was_silent:
            health.note_silent()

    def _heard_again(self, health: BackendHealth) -> bool:
        """Whether it is not silent, or no longer."""
        answered = self._answered_at()
        if health.is_silent(answered):
            return False
        if answered is not None:
            health.note_answering()
        return True

    def expects_response(self) -> bool:
        """Whether the backend can be expected to answer soon."""
        return not self._backend_health().is_silent(self._answered_at())

    def _backend_health(self) -> BackendHealth:
        return BackendHealth(self.spool.directory if self.spool is not None else None, self._clock.wall)

    def _answered_at(self) -> float | None:
        """When the backend last took a record of this process, on the wall clock."""
        success = self.breaker.last_success
        return None if success is None else self._clock.wall() - (self._clock.monotonic() - success)

    @releases_on_error
    def wait_until_sent(self, deadline: float) -> None:
        """Or until it would be in vain to wait on."""
        self.waiting.hurry_until(self._nothing_more_to_do, deadline)

    def _nothing_more_to_do(self) -> bool:
        if self.worker.sends_backlog:  # unless its response is awaited, the next process repeats it
            return False
        if self._owed is not None:
            sent = not self.waiting.on_disk(self._owed)
            return sent or self._scheduler.gave_up or not self._can_read_back()
        own = self.ledger.own
        if own[Term.QUEUED] or own[Term.IN_FLIGHT] > self._isolated(Term.IN_FLIGHT):
            return self._scheduler.gave_up and not self.waiting.spool_usable
        done = own[Term.SPOOLED] <= self._isolated(Term.SPOOLED)
        return done or self._scheduler.gave_up or not self._can_read_back()

    def _isolated(self, term: Term) -> int:
        """Own records that fail on their own, and are not to be tried for a while."""
        return self._scheduler.suspects.count_isolated(self._clock.monotonic(), self.ledger.own, term)

    @releases_on_error
    def await_responses(self, deadline: float) -> None:
        """Begin no more requests, so that none is repeated because its response came too late."""
        with self.lock:
            self._scheduler.begin_nothing_more()
        if not self._is_silent:
            self.waiting.hurry_until(lambda: not self.worker.sends, deadline)

    def _can_read_back(self) -> bool:
        return self.spool is not None and self.spool.readable

    @releases_on_error
    def stop_sending(self) -> None:
        """From here on what was not delivered is the final write's."""
        with self.lock:
            in_hand = self.worker.stop()
            if not self.stopped:
                left = [*in_hand, *self._scheduler.waiting()]
                self._last_writes.leaving.take(sorted(left, key=_on_disk_and_oldest_first))
                self.stopped = True
            self.worker.forget()
            self._scheduler.forget()

    def finish(self, deadline: float, join_until: float | None = None) -> None:
        """The final write, and the end. Ctrl-C in the middle is raised when all is on disk.

        Args:
            deadline: until when another thread that does this is waited for, and callbacks at the least.
            join_until: until when threads are waited for; by default for a moment.
        """
        interrupted: BaseException | None = None
        while not self._ended:
            try:
                if not self._is_finisher():
                    self._wait_for_finisher(deadline)
                    break
                self._writing_last = threading.get_ident()
                self._end(deadline, join_until)
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - kept, and raised below
                interrupted = error
            finally:
                self._writing_last = None
        if interrupted is not None:
            raise interrupted

    @releases_on_error
    def _is_finisher(self) -> bool:
        with self.lock:
            self._finisher = self._finisher or threading.get_ident()
            return self._finisher == threading.get_ident()

    @releases_on_error
    def _wait_for_finisher(self, deadline: float) -> None:
        if self.waiting.allowed:
            self.waiting.listen_until(lambda: self._ended, deadline, WakeUp())

    @releases_on_error
    def _end(self, deadline: float, join_until: float | None) -> None:
        self.stop_sending()
        self._see_to(self._last_writes.leaving)
        self._settlement.wake()
        until = self._clock.monotonic() + _JOIN_SECONDS if join_until is None else join_until
        if self._waited_in_vain:  # threads that wait for a response don't end sooner
            until = self._clock.monotonic()
        self.worker.join(until)
        self._close()
        self._ended = True
        self._settlement.wake()
        self.notices.report_in_passing(max(until + _JOIN_SECONDS, deadline) - self._clock.monotonic())

    def _see_to(self, job: Job) -> None:
        """By a sending thread if one is idle, as no Ctrl-C arrives there; else here."""
        self._hand_over(job)
        job.complete()

    def _hand_over(self, job: Job) -> bool:
        if job.done or not self._scheduler.sleepers.idle or not self.worker.alive:
            return False
        self.lock.defer(job.run)
        self._scheduler.sleepers.disturb()
        return job.is_taken_up()

    def _close(self) -> None:
        if self.spool is not None and self._last_writes.leaving.done:
            self.spool.close(takes_late=self._leaving)
            if not self._leaving:
                process_exit.spool_released(self.spool.directory)
        self._transport.close()
        process_exit.unregister(self)

    # -- what applications ask --------------------------------------------------------------------------

    @releases_on_error
    def stats(self) -> dict[str, Any]:
        """The counters as a plain dict. No I/O; microseconds."""
        self._look_around()
        with self.lock:
            return stats_of(self, self._clock.monotonic())

    def _look_around(self) -> None:
        self._be_of_this_process()
        if self.worker.lacks_thread:
            self.worker.start()

    def oldest_at(self) -> float | None:
        """When the oldest record in memory was logged, on the monotonic clock. Call with the lock held."""
        waiting, under_way = self.queue.oldest_at(), self.worker.oldest_at()
        if waiting is None or under_way is None:
            return under_way if waiting is None else waiting
        return min(waiting, under_way)

    @releases_on_error
    def health(self) -> dict[str, Any]:
        """`{"status": "ok" | "degraded" | "failing", "reasons": […], "state": …}`."""
        self._look_around()
        with self.lock:
            now = self._clock.monotonic()
            return health_of(stats_of(self, now), problems_of(self, now))

    # -- another configuration ----------------------------------------------------------------------------

    def may_reconfigure(self, destination: Destination, settings: Settings) -> bool:
        """Whether what was logged here may go there: to the same place under the same key, or under a key
        whose owner has named ours as a previous one.
        """
        ours = self.destination
        same_place = destination.identity == ours.identity
        return same_place and (destination.key == ours.key or ours.key in settings.previous_keys)

    @releases_on_error
    def reconfigure(self, destination: Destination, settings: Settings) -> None:
        """Send with other settings, or under a newer key, from now on: also what waits, on disk too.

        Raises:
            ValueError: what was logged here must not go there, see `may_turn_to`.
        """
        self._be_of_this_process()
        if not self.may_reconfigure(destination, settings):
            raise ValueError("records leave only for where, and under the key, they were logged with")
        self.destination, self.settings = destination, settings
        self._loop_waiters = None  # the next ones have the new patience
        old = self._delivery.reconfigure(destination, self._make_transport(destination, settings))
        self._transport = self._delivery.transport
        old.close()
        if self.spool is not None and self._bases:
            identity, key = destination.identity, destination.key
            self.spool.reconfigure(
                destination_directory(self._bases[0], identity, key),
                Address.of(identity, key),
                self._previous_directories(),
            )
        with self.lock:
            self.breaker.hurry(self._clock.monotonic())
            self._scheduler.sleepers.wake_all()

    def reconfigure_callbacks(self, settings: Settings) -> None:
        """Take over the callbacks of settings that are the same but for them."""
        self._be_of_this_process()
        self.settings = settings
        self._preparer.reconfigure_callbacks(settings.before_send)
        self.notices.reconfigure_callbacks(settings.on_error, settings.on_drop)

    @releases_on_error
    def retire(self, when_drained: Callable[[Engine], object]) -> None:
        """A successor takes records from now on: deliver what there is, then call `when_drained`.

        It is called on a worker thread, maybe several times. Where there is none (no thread could be
        started, `background_thread=False`), ask `drained`.
        """
        self.worker.between_tasks = lambda: when_drained(self) if self.drained else None
        with self.lock:
            self._scheduler.flush_waiters.add(_RETIRED)  # no more records come to fill a batch
            self._scheduler.sleepers.wake_all()

    @releases_on_error
    def resume(self) -> None:
        """Take records again, after `retire`."""
        self.worker.between_tasks = None
        with self.lock:
            self._scheduler.flush_waiters.discard(_RETIRED)

    @property
    def drained(self) -> bool:
        """Whether nothing that this process has logged here, or taken over, waits to be delivered."""
        with self.lock:
            own, adopted = self.ledger.own, self.ledger.adopted
            waiting = own[Term.QUEUED] + own[Term.IN_FLIGHT] + own[Term.SPOOLED]
            waiting += adopted[Term.IN_FLIGHT] + adopted[Term.SPOOLED] + len(self.lock.deferred)
            return not waiting

    @releases_on_error
    def supersede(self, *, only_if_drained: bool) -> bool:
        """Take no more records, in one step with the look whether any wait; `shutdown` must follow.

        Whoever is refused a record from now on hands it to the successor, so it does not count as rejected.

        Returns:
            False if records wait, and `only_if_drained`.
        """
        with self.lock:
            if only_if_drained and not self.drained:
                return False
            self.superseded = True
            self._begin_to_close(0.0)
        return True

    @releases_on_error
    def reject(self) -> None:
        """Count a record that could not be accepted."""
        self._count("rejected")

    def set_aside(self) -> None:
        """Count a value that its field can't have and that went into the metadata."""
        self._count("values_set_aside")

    def tracking_failed(self) -> None:
        """Count a call that could not be followed as it should be."""
        self._count("tracking_errors")

    def _count(self, name: str) -> None:
        self._be_of_this_process()
        counters = self.ledger.counters
        if sys.is_finalizing():  # the only thread that is left; another one may hold the lock for ever
            setattr(counters, name, getattr(counters, name) + 1)
            return
        with self.lock:
            setattr(counters, name, getattr(counters, name) + 1)

    @releases_on_error
    def spool_released(self, directory: Path) -> None:
        """Somebody has let go of segments in `directory`."""
        if self.spool is not None and self.spool.directory == directory and not self.stopped:
            with self.lock:
                self.spool.look_again()
                self._scheduler.sleepers.wake_all()

    # -- signals ----------------------------------------------------------------------------------------

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of changing something, or writes for the last time.

        Takes no lock.
        """
        if self._writing_last == threading.get_ident():
            return True
        return self.lock.is_mine() or (self.spool is not None and self.spool.in_a_section)

    def write_before_sending(self) -> None:
        """From now on each record is on disk before it is sent. Takes no lock."""
        self._keeps_first = self.spool is not None

    def stop_lingering(self) -> None:
        """Nothing lingers any more, and no backlog is sent. Takes no lock: adding is atomic under the GIL."""
        self._scheduler.own_waiters.add(self)
        self._scheduler.flush_waiters.add(self)
        self._scheduler.sleepers.disturb()

    # -- fork -------------------------------------------------------------------------------------------

    def _be_of_this_process(self) -> None:
        """Some servers (uWSGI) fork past Python's hooks: every call looks where it is."""
        if os.getpid() != self._pid:
            self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is sent or touched; all is made anew.

        Several threads may come here together, and a destructor that logs may come in the middle. Each makes
        an heir aside; the first one counts (`setdefault` is atomic under the GIL), and each has it take our
        place in one step, which does no harm when done again.
        """
        inherited = copy.copy(self)
        if os.getpid() == inherited._pid or inherited.lock.is_mine():
            return  # made already, or the fork came from inside a section, which ends first
        forget_threads()
        heir = inherited._made_anew()
        first = inherited._heirs.setdefault(os.getpid(), heir)
        if first is heir and inherited.spool is not None:  # once: a descriptor must not be closed twice
            inherited.spool.abandon()
        if inherited.closing:
            process_exit.unregister(self)
        self.__dict__ = first.__dict__

    def _made_anew(self) -> Engine:
        anew = copy.copy(self)
        anew._make_transport = never_raising(anew._make_transport)
        if anew.closing:
            anew.stopped = anew._ended = True
        anew._assemble()
        return anew

    @releases_on_error
    def start_if_needed(self) -> None:
        """Begin with what was logged while no thread could be started."""
        if len(self.queue):
            self.worker.start()
