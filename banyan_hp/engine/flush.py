"""Waiting for what was logged: for one record, for all before a flush, for a backlog."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .captures import open_captures
from .delivery.stepwise import Steps
from .delivery.waiters import FlushResult
from .parts import Parts
from .process import exit as process_exit
from .records.ledger import Term
from .records.record import Epoch, Record

_REPORT_SECONDS = 0.25


class Losses:
    """The losses that one call is to report: of the records before it, unless an earlier call did."""

    def __init__(self, parts: Parts) -> None:
        self._lock = parts.lock
        with self._lock:
            parts.inbox.take_in()
            self.epochs: list[Epoch] = parts.epochs.close()
            self._reported = sum(epoch.reported for epoch in self.epochs)

    def report(self) -> int:
        """How many. Calls that wait at the same time all report them."""
        with self._lock:
            for epoch in self.epochs:
                epoch.report()
            return sum(epoch.lost for epoch in self.epochs) - self._reported


class Flushing:
    """Waits, and says what it came to.

    Args:
        parts: of the same engine.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = parts.lock
        self._clock = parts.clock
        self._ledger = parts.ledger
        self._has_flushed = False
        self._rejected = 0  # those that a result has reported

    # -- one record ---------------------------------------------------------------------------------------

    def wait_for(self, record: Record, timeout: float | None) -> bool:
        """See `Engine.wait_for`."""
        if self.knows(record):
            waiting = self._parts.waiting
            patience = self._parts.settings.patience if timeout is None else timeout
            trips = waiting.trips_seen()
            deadline = self._clock.monotonic() + patience
            waiting.for_record(record, lambda: waiting.given_up(record, trips), deadline)
        return record.term is Term.DELIVERED

    def knows(self, record: Record) -> bool:
        """Whether it is of this process: a child hears nothing more of its parent's records."""
        return record.book in (self._ledger.own, self._ledger.adopted)

    # -- all before a flush -------------------------------------------------------------------------------

    def steps(self, timeout: float) -> Steps[FlushResult]:
        """A flush, one wait after the other. The first one of a process then drains a backlog."""
        if open_captures:  # nothing of theirs is to be sent, and a test asks for no network
            return self.result(0, delivered=True)
        deadline = self._clock.monotonic() + timeout
        waiting = self._parts.waiting
        if self._parts.lifecycle.stopped or not waiting.allowed:
            return self.result(0)
        if self._has_flushed:
            return self.result(*(yield from self._flush_own(deadline)))
        self._has_flushed = True
        with waiting.own_records_first():
            lost, delivered = yield from self._flush_own(deadline)
        yield from self._drain_backlog(deadline)
        return self.result(lost, delivered)

    def _flush_own(self, deadline: float) -> Steps[tuple[int, bool]]:
        """Deliver what this process has logged. Returns how many are lost, and whether all is delivered."""
        waiting, breaker = self._parts.waiting, self._parts.breaker
        self._lock.run_deferred()
        with self._lock:
            losses = Losses(self._parts)
            epochs, trips = losses.epochs, breaker.trips
            if breaker.is_open:
                now = self._clock.monotonic()
                breaker.hurry(now)
                trips -= breaker.stays_shut(now, deadline - now)
        yield waiting.for_all(
            lambda: waiting.left_memory(any(epoch.in_memory for epoch in epochs), trips), deadline
        )
        losses.report()  # a call that begins while this one waits for the disk has its own
        mark = waiting.mark()
        lost_before = mark.lost()
        yield waiting.for_all(
            lambda: not waiting.to_wait_for(mark) or waiting.destination_gave_up(trips), deadline
        )
        lost = losses.report() + mark.lost() - lost_before
        if self._parts.lifecycle.over:  # meanwhile: the spool is closed and knows no marks
            return lost, False
        in_memory = sum(epoch.in_memory for epoch in epochs)
        return lost, not in_memory and not waiting.on_disk(mark)

    def result(self, lost: int, delivered: bool = False) -> FlushResult:
        """What a flush or shutdown says at its end. By default the ledger says whether all is delivered.

        What arrived after `delivered` was worked out is delivered, too: nothing is left.
        """
        ledger = self.ledger_now()
        pending = ledger["queued"] + ledger["in_flight"]
        delivered = delivered or not (pending or ledger["spooled"])
        adopted = self._ledger.adopted
        backlog = adopted[Term.SPOOLED] + adopted[Term.IN_FLIGHT]
        unread = self._parts.spool.backlog_bytes if self._parts.spool is not None else 0
        delivered = delivered and not lost
        rejected = self._newly_rejected()
        return FlushResult(delivered, pending, ledger["spooled"], lost, ledger, backlog, unread, rejected)

    def _newly_rejected(self) -> int:
        """Calls since the last result. Calls that end at the same time report each of them once."""
        if sys.is_finalizing():
            return 0
        with self._lock:
            before, self._rejected = self._rejected, self._ledger.counters.rejected
            return self._rejected - before

    def ledger_now(self) -> dict[str, int]:
        """Where this process's own records are."""
        if sys.is_finalizing():  # a destructor at the very end; nothing changes any more
            return self._terms()
        with self._lock:
            self._parts.inbox.take_in()
            return self._terms()

    def _terms(self) -> dict[str, int]:
        own = self._ledger.own
        return {"accepted": own.accepted, **{term.value: count for term, count in own.counts.items()}}

    # -- a backlog ----------------------------------------------------------------------------------------

    def _drain_backlog(self, deadline: float) -> Steps[None]:
        """Send what others have left on disk, with our threads, as far as there is time."""
        scheduler, waiting = self._parts.scheduler, self._parts.waiting
        if self._parts.spool is None or scheduler.own_only or process_exit.leaving():
            return
        self._parts.register()
        trips = waiting.trips_seen()
        yield waiting.for_all(lambda: scheduler.own_only or self.backlog_is_sent(trips), deadline)

    def replay(self, timeout: float, report: Callable[[], object]) -> str | None:
        """See `Engine.replay`."""
        deadline = self._clock.monotonic() + timeout
        self._parts.register()
        while not self.backlog_is_sent() and self._clock.monotonic() < deadline:
            soon = min(deadline, self._clock.monotonic() + _REPORT_SECONDS)
            self._parts.waiting.until(self.backlog_is_sent, soon)
            report()
        return self._why_something_is_left(timeout)

    def _why_something_is_left(self, timeout: float) -> str | None:
        spool, breaker = self._parts.spool, self._parts.breaker
        if breaker.is_open:
            return f"given up, {breaker.state}: {self._parts.notices.last_error}"
        if spool is not None and (spool.problem or not spool.readable):
            return f"the spool can't be used: {spool.problem or 'see above'}"
        if spool is not None and not spool.emptied:
            return f"stopped after {timeout:g} s"
        if spool is not None and (aside := spool.count_aside()):
            return f"{aside} records wait for an endpoint: {self._parts.policies.endpoints.problem()}"
        return None

    def backlog_is_sent(self, trips: int = 0) -> bool:
        """Whether nothing is left that this process can send now."""
        spool, scheduler = self._parts.spool, self._parts.scheduler
        if spool is None or self._parts.waiting.destination_gave_up(trips):
            return True
        over = spool.emptied or not spool.readable  # takes the spool's lock, so not under ours
        with self._lock:
            if scheduler.backlog.is_being_read:
                return False
            return over or self._only_suspects_are_left()

    def _only_suspects_are_left(self) -> bool:
        """What earlier processes left is settled, but for what fails on its own. Call with the lock held."""
        self._lock.assert_held()
        adopted, now = self._ledger.adopted, self._clock.monotonic()
        isolated = self._parts.policies.suspects.count_isolated(now, adopted, Term.SPOOLED)
        return bool(isolated) and not adopted[Term.IN_FLIGHT] and adopted[Term.SPOOLED] == isolated
