"""Accepting a record on the caller's thread: into the queue, or past it where that is full or not enough."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy

from ..logs import is_suppressed, suppressed_threads, warn
from . import captures
from .captures import open_captures
from .lifecycle import Cause
from .parts import Parts
from .records.encode import JSONValue
from .records.ledger import Term
from .records.record import MADE_ID, RECORD_OVERHEAD, Deferred, Record
from .sync import releases_on_error

_QUEUED, _IN_FLIGHT = Term.QUEUED, Term.IN_FLIGHT  # looked up at each call, an enum's members cost


class Intake:
    """Takes records over; `ensure_worker` has one sent that no thread is there for."""

    def __init__(self, parts: Parts, ensure_worker: Callable[[Record], object]) -> None:
        self.locks = parts.locks
        self._parts = parts
        self._ensure_worker = ensure_worker
        self._lock = parts.lock
        self._clock = parts.clock
        self._lifecycle = parts.lifecycle
        self._own = parts.ledger.own
        self._counters = parts.ledger.counters
        self._queue = parts.queue
        self._inbox = parts.inbox
        self._epochs = parts.epochs
        self._sleepers = parts.scheduler.sleepers
        self._settlement = parts.settlement
        self._preparer = parts.preparer
        self._worker = parts.worker
        self._numbers = itertools.count()
        self._disk_first = parts.settings.durability == "disk"
        self._overflow_policy = parts.settings.overflow
        self._has_warned = False
        self.rejected_at = float("-inf")  # the last call with bad input, on the monotonic clock
        self.rejection = ""

    def at(self, time: float) -> Intake:
        """The same, for a record of another time, in seconds since 1970."""
        dated = copy(self)
        dated._clock = copy(self._clock)
        dated._clock.wall = lambda: time
        return dated

    def id_of_now(self) -> str:
        """An id for a record of another time: it is unique by the time at which it is made."""
        return MADE_ID % (self._own.process, next(self._numbers), int(self._clock.wall() * 1e6))

    def take(
        self, value: JSONValue, size: int, cut: int, deferred: Deferred | None, ident: str | None
    ) -> Record | None:
        """`Engine.submit` of a frozen value of `size` bytes, from which `cut` values were left out."""
        clock, lock, lifecycle = self._clock, self._lock, self._lifecycle
        now = clock.wall()
        number = next(self._numbers) if ident is None else ident
        record = Record(number, now, value, size + RECORD_OVERHEAD, clock.monotonic(), self._own)
        if cut:
            record.cut = cut
        if deferred is not None:
            record.deferred = deferred
            record.size += deferred.size
        if open_captures:
            return self._take_captured(record)
        if lifecycle.stopped or (suppressed_threads and is_suppressed()):
            return self._take_late(record)
        if lock.is_mine():  # the garbage collector called a destructor that logs
            self._parts.defer(lambda: self._take_deferred(record))
            return record
        try:
            if not lock.acquire(False):  # noqa: FBT003 - by keyword it takes 0.1 µs more
                if self._offer(record):
                    return record
                lock.acquire()
            accepting = lifecycle.accepting
            queued = accepting and self._accept(record)
            lock.release()
            if not accepting:
                return self._take_late(record)
            if not queued:
                self._take_slowly(record)
        except BaseException:  # Ctrl-C in the middle: the caller sees that this one is not logged
            lock.release_fully()
            self._withdraw(record)
            raise
        if not self._worker.threads:
            self._ensure_worker(record)
        if lock.deferred:
            lock.run_deferred()
        return record

    def _offer(self, record: Record) -> bool:
        """Hand it over although another thread holds the lock. False if this one has to wait for the lock."""
        if record.cut or self._disk_first or not self._worker.threads:
            return False
        return self._inbox.offer(record)

    def _accept(self, record: Record) -> bool:
        """Call with the lock held. False if the record is not in the queue yet, but in the caller's hands.

        All or nothing: the exception of a signal handler (Ctrl-C) can arrive behind a call or a branch, but
        not between the statements here that change something: there is neither before they are done. That is
        why `Queue.append` is written out; `Queue.fits` is for speed.
        """
        own, queue, epoch, size = self._own, self._queue, self._epochs.current, record.size
        records = queue.records
        if self._inbox.records:  # they came first
            self._inbox.take_in()
        if record.cut:
            self._counters.values_cut += record.cut
        if self._disk_first or len(records) >= queue.max_records or queue.bytes + size > queue.max_bytes:
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
        records.append(record)
        if self._sleepers.idle:
            self._sleepers.wake_for_record()
        return True

    def write_first(self) -> None:
        """From now on each record is on disk before it is sent. Takes no lock."""
        self._disk_first = self._parts.spool is not None

    def _take_captured(self, record: Record) -> Record | None:
        """A test of the application keeps it here. What is not accepted otherwise is not accepted now."""
        lifecycle = self._lifecycle
        if is_suppressed() or not (lifecycle.accepting or lifecycle.by_exit):
            return self._take_late(record)
        captures.take(record, self._parts)
        return record

    # -- not at once, or not any more ---------------------------------------------------------------------

    @releases_on_error
    def _take_deferred(self, record: Record) -> None:
        with self._lock:
            accepting = self._lifecycle.accepting
            queued = accepting and self._accept(record)
        if not accepting:
            self._take_late(record)
        elif not queued:
            self._take_slowly(record)

    @releases_on_error
    def _take_late(self, record: Record) -> Record | None:
        """At exit a record goes to disk at once; a line about a delivery, or after `shutdown()`, nowhere."""
        lifecycle = self._lifecycle
        if lifecycle.cause is Cause.SUCCESSOR:
            return None
        if not lifecycle.by_exit or sys.is_finalizing() or is_suppressed():
            self.count("rejected")
            self._warn_of_use_after_shutdown()
            return None
        with self._lock:
            self._own.accept(Term.IN_FLIGHT)
        self._parts.last_writes.write_now([record])
        record.turned_away = record.term is Term.DROPPED
        self._lock.run_deferred()
        if record.turned_away:
            warn("late", "a record logged while the process ends is lost: it could not be kept on disk")
        return record

    def _warn_of_use_after_shutdown(self) -> None:
        """Once: it is a mistake of the application's."""
        ended = self._lifecycle.over and not self._lifecycle.by_exit
        if ended and not (self._has_warned or is_suppressed() or sys.is_finalizing()):
            self._has_warned = True
            warn(
                f"ended {self._parts.process}",
                "a logger for %s is used after its shutdown(): its records are not accepted, only counted "
                "as logs_rejected",
                self._parts.setup.destination.base_url,
            )

    @releases_on_error
    def _withdraw(self, record: Record) -> None:
        """Give it up, unless others know of it: it may be under way in a worker's hands already."""
        if not record.with_caller:
            return
        if record.term is Term.IN_FLIGHT and record.epoch is not None:
            record.claimed = False
            self._settlement.dropped([record], "interrupted")
        elif record.term is Term.SPOOLED and self._parts.spool is not None:  # interrupted before its release
            self._parts.spool.release([record])

    def reject(self, why: str) -> None:
        """Count a call with bad input, and keep the reason for `health()`."""
        self.count("rejected")
        self.rejected_at, self.rejection = self._clock.monotonic(), why

    def count(self, name: str) -> None:
        at_the_end = sys.is_finalizing()  # no other thread runs any more; one may hold the lock for ever
        with nullcontext() if at_the_end else self._lock:
            setattr(self._counters, name, getattr(self._counters, name) + 1)

    # -- not simply into the queue ------------------------------------------------------------------------

    @releases_on_error
    def _take_slowly(self, record: Record) -> None:
        """What is lost on that way is reported on our threads, which may be asleep."""
        self._write_or_enqueue(record)
        if self._parts.notices.pending:
            with self._lock:
                self._sleepers.wake_one()

    def _write_or_enqueue(self, record: Record) -> None:
        """To disk first (`durability="disk"`), or past a full queue."""
        if self._disk_first:
            if not self._preparer.prepare([record]):
                return
            if self._parts.spool is not None:
                self._parts.spool.append([record])
        if not self._enqueue(record):
            self._overflow(record)
        with self._lock:
            self._sleepers.wake_for_sync()

    def _enqueue(self, record: Record) -> bool:
        with self._lock:
            self._inbox.take_in()
            if self._lifecycle.stopped or not self._queue.fits(record.size):
                return False
            self._put_in_queue(record)
        return True

    def _put_in_queue(self, record: Record) -> None:
        self._lock.assert_held()
        if self._disk_first and record.place is None:
            self._counters.logs_not_durable += 1
        record.with_caller = False
        self._own.move((record,), Term.QUEUED)
        self._queue.append(record)
        self._sleepers.wake_for_record()

    def _overflow(self, record: Record) -> None:
        """The setting `overflow` decides."""
        if record.place is not None or self._overflow_policy == "spill" or self._lifecycle.stopped:
            prepared = self._preparer.prepare([record])
            if not self._settlement.spooled(prepared):
                record.turned_away = bool(prepared) and record.term is Term.DROPPED
                return
        if self._lifecycle.stopped:
            self._turn_away(record, "shutdown")
        elif self._overflow_policy == "drop_newest" or record.size > self._queue.max_bytes:
            self._turn_away(record, "queue_full")
        else:
            self._drop_oldest_for(record)

    def _turn_away(self, record: Record, reason: str) -> None:
        record.turned_away = True
        self._settlement.dropped([record], reason)

    def _drop_oldest_for(self, record: Record) -> None:
        with self._lock:
            stopped = self._lifecycle.stopped
            evicted = [] if stopped else self._queue.make_room(record.size)
            if not stopped:
                self._own.move(evicted, Term.IN_FLIGHT)
                self._put_in_queue(record)
        if stopped:
            self._turn_away(record, "shutdown")
        self._settlement.spooled([old for old in evicted if old.place is not None])
        self._settlement.dropped(evicted, "queue_full")
