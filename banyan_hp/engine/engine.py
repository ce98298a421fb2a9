"""The delivery engine, put together: submit, flush, shutdown, stats, health.

Callers' threads run `submit`; everything else that takes time runs on the worker's threads. All state
that threads share is guarded by one `Guard`, made anew, like all else, in a forked child.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from ..settings import Settings
from . import lifecycle
from .address import Address, destination_directory
from .batching import Batching
from .bell import Bell
from .clock import Clock
from .delivery import Delivery
from .destination import Destination
from .flushing import Epochs, FlushResult
from .gate import Gate
from .guard import Guard
from .ledger import Ledger, Term
from .log import warn
from .notices import Notices
from .preparing import Preparer
from .quarantine import UNSCRUBBED
from .queue import Queue
from .records import Frozen, Record, Waiter
from .retry import Outcome, Verdict
from .scheduler import Scheduler
from .settlement import Rings, Settlement
from .spool import Mark, Spool, SpoolSettings
from .stats import health_of, stats_of
from .transport import HTTPTransport, Transport
from .worker import Worker

_JOIN_SECONDS = 0.2
_GRACE_SECONDS = 1.0
_TELL_SECONDS = 0.25

_NOT_SEEN_BY_BEFORE_SEND = Verdict(
    Outcome.REFUSED, "before_send did not return before the end of shutdown", reason=UNSCRUBBED
)

TransportFactory = Callable[[Destination, Settings], Transport]


def http_transport(destination: Destination, settings: Settings) -> Transport:
    return HTTPTransport(destination.base_url, settings.timeout, settings.max_connections)


def spool_base(given: str | os.PathLike[str] | None) -> Path:
    """The directory below which all spools are, absolute: the one given, else the user's state directory.

    Raises:
        RuntimeError, KeyError: there is no home directory.
        OSError: the working directory is gone.
    """
    base = Path(given or platformdirs.user_state_path("banyan_hp"))
    if not given and not base.is_absolute():  # without a home it begins with a tilde
        raise RuntimeError("this user has no home directory")
    return base.absolute()


class AsyncWaiter(Waiter, Rings, Protocol):
    """Told of settled records, and rung when the destination's state changes."""


class Engine:
    """One destination's queue, threads, spool and ledger.

    Args:
        destination: the backend and its wire format.
        settings: see `banyan_hp.settings.Settings`.
        clock: time; tests hand in another one.
        transport: makes what requests are sent through; tests hand in another one.
        spool_directory: the directory to spool to and replay from, where it is not to be the destination's
            own below the settings' `spool_dir`.

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
    ) -> None:
        self.settings = settings
        self._destination = destination
        self._clock = clock or Clock()
        self._make_transport = transport
        self._spool_directory = spool_directory
        self.closing = False
        self.stopped = False
        self._finishing = False
        self._ended = False
        self._assemble()

    def _assemble(self) -> None:
        """Everything that belongs to one process: made at construction and again in a forked child."""
        settings = self.settings
        self._pid = os.getpid()
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count()
        self.guard = Guard()
        self.ledger = Ledger()
        self.queue = Queue(settings.queue_size, settings.queue_bytes)
        self.epochs = Epochs()
        self.gate = Gate(settings.max_retries, settings.retry_delay)
        self._batching = Batching(settings.batching, may_batch=self._destination.may_batch)
        self.notices = Notices(self.guard, self.ledger.counters, settings.on_error, settings.on_drop)
        self._settlement = Settlement(self.guard, self.ledger, self.notices)
        self.spool = self._settlement.spool = self._make_spool()
        self._scheduler = Scheduler(
            settings, self.queue, self.gate, self._batching, self.spool, self.ledger.own
        )
        self._preparer = Preparer(
            self.guard,
            self.ledger.counters,
            self._settlement,
            settings.before_send,
            settings.max_record_bytes,
            shortens=self._destination.shortens,
        )
        self._transport = self._make_transport(self._destination, settings)
        self._delivery = Delivery(
            self.guard,
            self._clock,
            self.ledger.counters,
            self.gate,
            self._batching,
            self._destination,
            self._transport,
            self._settlement,
            self._preparer,
            settings.max_batch_bytes,
        )
        self.worker = Worker(
            self.guard,
            self._clock,
            settings,
            self.ledger,
            self.gate,
            self._batching,
            self._scheduler,
            self._delivery,
            self._preparer,
            self._settlement,
            self.notices,
            self.spool,
        )

    def _make_spool(self) -> Spool | None:
        settings = self.settings
        self._no_spool_because: str | None = None
        if not settings.spool or not settings.enabled:
            return None
        identity, key = self._destination.identity, self._destination.key
        try:
            base = spool_base(settings.spool_dir)
        except (RuntimeError, OSError, KeyError) as error:  # no home directory
            self._no_spool_because = f"no directory for it is known, set spool_dir: {error}"
            warn("spool", "records stay in memory: %s", self._no_spool_because)
            return None
        return Spool(
            SpoolSettings(
                directory=self._spool_directory or destination_directory(base, identity, key),
                max_bytes=settings.spool_max_bytes,
                max_age=settings.spool_max_age,
                durable=settings.durability == "disk",
                fsync=settings.fsync,
                address=Address.of(identity, key) if self._spool_directory is None else None,
            ),
            self._process,
            self._clock,
            self._settlement,
        )

    # -- submit -----------------------------------------------------------------------------------------

    def submit(self, frozen: Frozen) -> Record | None:
        """Take a frozen record over. Does no I/O but for overflow and `durability="disk"`.

        Returns:
            The record, wherever it is now (see `Record.term`); None if it was not accepted because the
            engine is shut down.
        """
        if os.getpid() != self._pid:
            self.after_fork()
        record = self._new_record(frozen)
        with self.guard:
            if self.guard.nested:  # the garbage collector called a destructor that logs
                self.guard.defer(lambda: self._submit_later(record))
                return record
            if self.closing:
                self.ledger.counters.rejected += 1
                return None
            self.ledger.counters.values_cut += frozen.cut
            queued = self._accept(record)
        if not queued:
            self._submit_slowly(record)
        self._ensure_worker(record)
        return record

    def _new_record(self, frozen: Frozen) -> Record:
        return Record(
            id=f"{self._process}-{next(self._numbers):x}",
            time=self._clock.wall(),
            value=frozen.value,
            size=frozen.size,
            queued_at=self._clock.monotonic(),
            book=self.ledger.own,
            term=Term.IN_FLIGHT,
        )

    def _accept(self, record: Record) -> bool:
        """Call with the lock held. False if the record is not in the queue yet, but in the caller's hands."""
        record.epoch = self.epochs.current
        record.epoch.in_memory += 1
        if self.settings.durability == "disk" or not self.queue.fits(record.size):
            self.ledger.own.accept(Term.IN_FLIGHT)
            return False
        record.term = Term.QUEUED
        self.ledger.own.accept(Term.QUEUED)
        self.queue.append(record)
        self._scheduler.wake_for_record()
        return True

    def _submit_later(self, record: Record) -> None:
        with self.guard:
            if self.closing:
                self.ledger.counters.rejected += 1
                return
            queued = self._accept(record)
        if not queued:
            self._submit_slowly(record)

    def _submit_slowly(self, record: Record) -> None:
        """To disk first (`durability="disk"`), or past a full queue."""
        if self.settings.durability == "disk":
            if not self._preparer.prepare([record]):
                return
            if self.spool is not None:
                self.spool.append([record])
        if not self._enqueue(record):
            self._overflow(record)

    def _enqueue(self, record: Record) -> bool:
        with self.guard:
            if self.stopped or not self.queue.fits(record.size):
                return False
            self.ledger.own.move((record,), Term.QUEUED)
            self.queue.append(record)
            self._scheduler.wake_for_record()
        return True

    def _overflow(self, record: Record) -> None:
        if record.place is not None or self.settings.overflow == "spill":
            prepared = self._preparer.prepare([record])
            if not self._settlement.spooled(prepared):
                return
        if self.stopped:
            self._settlement.dropped([record], "shutdown")
        elif self.settings.overflow == "drop_newest" or record.size > self.queue.max_bytes:
            self._settlement.dropped([record], "queue_full")
        else:
            self._drop_oldest_for(record)

    def _drop_oldest_for(self, record: Record) -> None:
        with self.guard:
            if self.stopped:
                self.guard.defer(lambda: self._settlement.dropped([record], "shutdown"))
                return
            evicted = self.queue.make_room(record.size)
            self.ledger.own.move(evicted, Term.IN_FLIGHT)
            self.ledger.own.move((record,), Term.QUEUED)
            self.queue.append(record)
            self._scheduler.wake_for_record()
        self._settlement.spooled([old for old in evicted if old.place is not None])
        self._settlement.dropped(evicted, "queue_full")

    def _ensure_worker(self, record: Record) -> None:
        if not self.worker.started:
            lifecycle.register(self)
            self.worker.start()
        if not self.settings.background_thread:
            self.wait_for(record)

    # -- waiting ----------------------------------------------------------------------------------------

    def wait_for(self, record: Record, timeout: float | None = None) -> bool:
        """Wait until a record is delivered or the attempts are used up; True if it was delivered.

        By default at most the settings' `timeout` for each attempt: a long Retry-After must not hold a
        request handler.
        """
        patience = self.settings.patience if timeout is None else timeout
        setbacks = self.setbacks_seen()
        deadline = self._clock.monotonic() + patience
        self._hurry_until(lambda: self.given_up(record, setbacks), deadline)
        return record.term is Term.DELIVERED

    def setbacks_seen(self) -> int:
        """For `given_up`: one less while unwell with no probe due, where waiting would be in vain."""
        if not self.gate.unwell:
            return self.gate.setbacks
        with self.guard:
            in_vain = self.gate.unwell and self.gate.delay(self._clock.monotonic()) > 0
            return self.gate.setbacks - in_vain

    def given_up(self, record: Record, setbacks: int) -> bool:
        """Whether a record is settled, or must stay in memory: no destination and no disk."""
        return self._left_memory(not record.settled, setbacks)

    def also_tell(self, record: Record, waiter: AsyncWaiter) -> None:
        """Have a further waiter told of this record; look after this call whether it is settled already."""
        self._settlement.also_tell(record, waiter)

    def begin_waiting(self, waiter: AsyncWaiter) -> None:
        """Somebody waits without a thread: nothing lingers, and `waiter` is rung, until `stop_waiting`."""
        self._settlement.watch(waiter)
        self._hurry()

    def stop_waiting(self, waiter: AsyncWaiter) -> None:
        self._take_it_easy()
        self._settlement.unwatch(waiter)

    def _hurry(self) -> None:
        """Somebody waits: nothing lingers until as many have called `_take_it_easy`."""
        with self.guard:
            self._scheduler.hurried += 1
            self._scheduler.wake_all()

    def _take_it_easy(self) -> None:
        with self.guard:
            self._scheduler.hurried -= 1

    def flush(self, timeout: float) -> FlushResult:
        """Deliver what was accepted before this call. See `PromptStackLogger.flush`."""
        deadline = self._clock.monotonic() + timeout
        if self.stopped or not self._may_wait():
            return self._result(0)
        with self.guard:
            epochs = self.epochs.close()
            lost = sum(epoch.lost for epoch in epochs)
            setbacks = self.gate.setbacks
            if self.gate.unwell:
                self.gate.hurry(self._clock.monotonic())
        self._hurry_until(
            lambda: self._left_memory(any(epoch.in_memory for epoch in epochs), setbacks), deadline
        )
        lost = sum(epoch.lost for epoch in epochs) - lost
        lost_on_disk = self._lost()
        mark: Mark = self.spool.mark() if self.spool is not None else []
        self._hurry_until(lambda: not self._on_disk(mark) or self._gave_up(setbacks), deadline)
        lost += self._lost() - lost_on_disk if mark else 0
        if self._ended:  # by somebody else, meanwhile: the spool is closed and knows no marks
            return self._result(lost)
        in_memory = sum(epoch.in_memory for epoch in epochs)
        return self._result(lost, delivered=not in_memory and not self._on_disk(mark))

    def _left_memory(self, in_memory: bool, setbacks: int) -> bool:
        """Whether all are settled, or must stay where they are: no destination and no disk."""
        return not in_memory or (self._gave_up(setbacks) and not self._spool_usable())

    def _spool_usable(self) -> bool:
        return self.spool is not None and self.spool.usable

    def _gave_up(self, setbacks: int) -> bool:
        """An attempt since then has left the destination unwell: it would be in vain to wait on."""
        return self.gate.unwell and self.gate.setbacks > setbacks

    def _on_disk(self, mark: Mark) -> int:
        return self.spool.unsettled(mark) if self.spool is not None else 0

    def _lost(self) -> int:
        return self.ledger.own[Term.QUARANTINED] + self.ledger.own[Term.DROPPED]

    def _result(self, lost: int, *, delivered: bool | None = None) -> FlushResult:
        with self.guard:
            ledger = {term.value: count for term, count in self.ledger.own.counts.items()}
            ledger["accepted"] = self.ledger.own.accepted
        pending = ledger["queued"] + ledger["in_flight"]
        if delivered is None:
            delivered = not pending and not ledger["spooled"]
        return FlushResult(delivered and not lost, pending, ledger["spooled"], lost, ledger)

    def _hurry_until(self, done: Callable[[], bool], deadline: float) -> None:
        """Wait without letting anything linger; on our own threads (a callback that flushes) don't wait."""
        if not self._may_wait() or done():
            return
        self._hurry()
        try:
            self._wait_until(done, deadline)
        finally:
            self._take_it_easy()

    def _may_wait(self) -> bool:
        """Not on our own threads (a callback), nor where the garbage collector interrupted us."""
        with self.guard:
            return not self.guard.nested and not self.worker.is_own_thread()

    def _wait_until(self, done: Callable[[], bool], deadline: float) -> None:
        if not self.worker.started:
            self.worker.start()
        if not self.worker.started:
            self.worker.drive(done, deadline)
        else:
            self._listen_until(done, deadline)

    def _listen_until(self, done: Callable[[], bool], deadline: float) -> None:
        bell = Bell()
        self._settlement.watch(bell)
        try:
            while not done() and not self._ended:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return
                self._clock.wait(bell, left)
        finally:
            self._settlement.unwatch(bell)

    # -- replay -----------------------------------------------------------------------------------------

    def replay(self, timeout: float, tell: Callable[[], object]) -> None:
        """Send what earlier processes have left on disk, with no record of our own.

        Returns when nothing is left that no other process holds, when the destination was given up or the
        disk can't be read, and after `timeout` seconds. `shutdown` must follow: it lets go of the rest.

        Args:
            timeout: seconds; may be infinite.
            tell: called about four times a second, on this thread.
        """
        deadline = self._clock.monotonic() + timeout
        lifecycle.register(self)
        while not self._replayed() and self._clock.monotonic() < deadline:
            self._wait_until(self._replayed, min(deadline, self._clock.monotonic() + _TELL_SECONDS))
            tell()

    def _replayed(self) -> bool:
        if self.spool is None or self._gave_up(0):
            return True
        with self.guard:  # no thread begins to read meanwhile
            if self._scheduler.reading_back:
                return False
            return self.spool.emptied or not self.spool.readable

    # -- shutdown ---------------------------------------------------------------------------------------

    def shutdown(self, timeout: float) -> FlushResult:
        """Accept no more, try once more, and leave on disk what is not delivered by then."""
        deadline = self._clock.monotonic() + timeout
        lost = self._lost()
        with self.guard:
            if self.guard.nested:  # a destructor, in the middle of our own work: as soon as that is over
                self.guard.defer(lambda: self.shutdown(timeout))
                return self._result(0, delivered=False)
        try:
            self._begin_to_close(timeout)
            self._hurry_until(self._nothing_more_to_do, deadline)
        finally:  # Ctrl-C, too, leaves on disk what is not delivered
            self._finish(deadline)
        return self._result(self._lost() - lost)

    def _begin_to_close(self, timeout: float) -> None:
        with self.guard:
            if self.closing:
                return
            self.closing = True
            now = self._clock.monotonic()
            self._scheduler.close()
            self.gate.hurry(now)
            if self.gate.delay(now) > timeout:  # told to wait longer than we can
                self.gate.break_now(now)

    def _nothing_more_to_do(self) -> bool:
        own = self.ledger.own
        if own[Term.QUEUED] or own[Term.IN_FLIGHT]:
            return self._scheduler.gave_up and not self._spool_usable()
        return not own[Term.SPOOLED] or self.gate.unwell

    def _finish(self, deadline: float) -> None:
        with self.guard:
            first = not self._finishing
            self._finishing = True
        if first:
            self._end()
            self._tell_in_passing(deadline)
        elif self._may_wait():
            self._listen_until(lambda: self._ended, deadline)

    def _end(self) -> None:
        patience = self._clock.monotonic() + _GRACE_SECONDS
        self.worker.stop()
        with self.guard:
            in_hand = self.worker.take_from_hands()
            mine, replay = self._scheduler.take_everything()
            self.stopped = True
        stuck = self.settings.before_send is not None and any(r.body is None for r in in_hand)
        self._leave_to_disk([*in_hand, *mine, *replay], float("-inf") if stuck else patience)
        self._settlement.ring()
        self.worker.join(self._clock.monotonic() + _JOIN_SECONDS)
        if self.spool is not None:
            self.spool.close()
            lifecycle.spool_closed(self.spool.directory)
        self._transport.close()
        lifecycle.unregister(self)
        self._ended = True
        self._settlement.ring()

    def _leave_to_disk(self, records: list[Record], patience: float) -> None:
        """The last chance of what was not delivered: the spool, or a counted loss.

        `before_send` is called until `patience` ends, on the monotonic clock; what it has not seen by then
        must not leave: it is quarantined.
        """
        ready: list[Record] = []
        for record in (record for record in records if not record.claimed):
            if record.body is not None or self.settings.before_send is None or self._has_time(patience):
                ready += self._preparer.prepare([record])
            else:
                self._settlement.quarantined(record, _NOT_SEEN_BY_BEFORE_SEND)
        failed = self._settlement.spooled(ready)
        self._settlement.dropped(failed, "shutdown")

    def _has_time(self, patience: float) -> bool:
        return self._clock.monotonic() < patience

    def _tell_in_passing(self, deadline: float) -> None:
        """The last callbacks, on a thread of their own: one that blocks must not hold up the exit."""
        if not self.notices.pending:
            return
        teller = threading.Thread(target=self.notices.tell, name="banyan_hp-last-words", daemon=True)
        try:
            teller.start()
        except RuntimeError:  # no threads any more: the interpreter is shutting down
            self.notices.tell()
            return
        teller.join(max(_JOIN_SECONDS, deadline - self._clock.monotonic()))

    # -- what applications ask --------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """The counters as a plain dict. No I/O; microseconds."""
        with self.guard:
            return stats_of(self, self._clock.monotonic())

    def health(self) -> dict[str, Any]:
        """`{"status": "ok" | "degraded" | "failing", "reasons": […], "state": …}`."""
        problem = self.spool.problem if self.spool is not None else self._no_spool_because
        return health_of(self.stats(), problem)

    def turn_to(self, destination: Destination, settings: Settings) -> None:
        """Send elsewhere, or under another key, from now on: also what waits. The spool stays where it is."""
        self._destination, self.settings = destination, settings
        old = self._delivery.turn_to(destination, self._make_transport(destination, settings))
        self._transport = self._delivery.transport
        old.close()
        with self.guard:
            self.gate.hurry(self._clock.monotonic())
            self._scheduler.wake_all()

    def reject(self) -> None:
        """Count a record that could not be accepted."""
        with self.guard:
            self.ledger.counters.rejected += 1

    def look_on_disk(self, directory: Path) -> None:
        """Somebody has let go of segments in `directory`."""
        if self.spool is not None and self.spool.directory == directory and not self.stopped:
            with self.guard:
                self.spool.look_again()
                self._scheduler.wake_all()

    # -- fork -------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is sent or touched; all is made anew."""
        if os.getpid() == self._pid:
            return
        if self.spool is not None:
            self.spool.abandon()
        self._assemble()
        if self.closing:
            self.stopped = True
