"""The end of one engine, step by step: `shutdown` takes the steps for one, the exit each of them for all.

A step that Ctrl-C has interrupted can be taken again. `delivery/final_write.py` says who owns the records
meanwhile, `lifecycle.py` names the states.
"""

from __future__ import annotations

import os
import sys
import threading

from .delivery.final_write import Job
from .delivery.waiters import FlushResult
from .flush import Flushing, Losses
from .lifecycle import Cause, State
from .parts import Parts
from .process import exit as process_exit
from .process import leftovers
from .records.ledger import Term
from .records.record import Record
from .spool.backend_health import BackendHealth
from .spool.held_segments import Mark
from .sync import WakeUp, releases_on_error

_JOIN_SECONDS = 0.2
_BRIEFLY_SECONDS = 0.05


def _on_disk_and_oldest_first(record: Record) -> tuple[bool, float]:
    """The final write's order: what is on disk can be given up for what is not."""
    return record.place is None, record.queued_at


def _await_threads(parts: Parts, until: float) -> None:
    """Ours; then those of callers who are about to write a record (`durability="disk"`, a full queue).

    Callers get a moment even where `until` is over.
    """
    parts.worker.join(until)
    until = max(until, parts.clock.monotonic() + _BRIEFLY_SECONDS)
    if parts.waiting.allowed and parts.spool is not None:
        parts.waiting.listen_until(lambda: not parts.ledger.own[Term.IN_FLIGHT], until, WakeUp())


class Ending:
    """The steps, and the end that an application asks for, by a call or by dropping its logger."""

    def __init__(self, parts: Parts, flushing: Flushing) -> None:
        self.locks = parts.locks
        self._parts = parts
        self._flushing = flushing
        self._lock = parts.lock
        self._clock = parts.clock
        self._lifecycle = parts.lifecycle
        self._worker = parts.worker
        self._runner = parts.runner
        self._scheduler = parts.scheduler
        self._finisher: int | None = None  # the thread that ends it
        self._writing: int | None = None  # the same, while it does
        self._is_left_to_thread = False  # by a coroutine, which has claimed the end
        self._owed: Mark | None = None  # the end of what the exit has put on disk and waits for
        self._waited_in_vain = False  # at exit, for the backend
        self._is_silent = False  # the backend: an earlier exit has waited for it in vain

    # -- all steps ----------------------------------------------------------------------------------------

    @releases_on_error
    def shutdown(self, timeout: float) -> FlushResult:
        if self._lock.is_mine():  # a destructor, in the middle of our own work: as soon as that is over
            self._parts.defer(lambda: self.shutdown(timeout))
        if self._lock.is_mine() or sys.is_finalizing():
            return self._flushing.result(0, delivered=False)
        self._lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        losses = Losses(self._parts)
        try:
            self.close(timeout)
            self.wait_until_sent(deadline)
        finally:  # Ctrl-C, too, leaves on disk what is not delivered
            self.finish(deadline)
        return self._flushing.result(losses.report())

    async def ashutdown(self, timeout: float) -> FlushResult:
        from .delivery import loops  # imports asyncio, which not everybody uses

        self._lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        losses = Losses(self._parts)
        waiting = self._parts.waiting
        try:
            self.close(timeout)
            if waiting.allowed:
                await loops.until(waiting.for_all(self.nothing_more_to_do, deadline))
        finally:
            finishing = loops.on_a_thread(lambda: self.finish(deadline)) if self._claim() else None
        if finishing is not None:
            await finishing
        else:
            await loops.until(waiting.for_all(lambda: self._lifecycle.over, deadline))
        return self._flushing.result(losses.report())

    def _claim(self) -> bool:
        """Whether no other call has begun with the end: only the first one needs a thread for it."""
        with self._lock:
            first = not self._is_left_to_thread and self._finisher is None
            self._is_left_to_thread = True
        return first and not self._lifecycle.over

    def abandon(self) -> None:
        if not self._lifecycle.accepting:
            return
        if self._worker.threads:
            self._parts.defer(self._end_abandoned)
        else:
            process_exit.abandon(self._parts.member)

    def _end_abandoned(self) -> None:
        if not self._worker.is_own_thread():  # the exit, which ends all of them
            return
        timeout = self._parts.settings.exit_timeout
        deadline = self._clock.monotonic() + timeout
        self.close(timeout)
        self._worker.drive(self.nothing_more_to_do, deadline, WakeUp())
        self.finish(deadline)

    # -- accept nothing more ------------------------------------------------------------------------------

    @releases_on_error
    def close(self, timeout: float, *, superseded: bool = False) -> None:
        """Accept nothing more; what there is gets one more chance, within this many seconds."""
        cause = Cause.EXIT if process_exit.leaving() else Cause.SHUTDOWN
        with self._lock:
            if self._lifecycle.accepting:
                self._parts.inbox.seal()
                now, breaker = self._clock.monotonic(), self._parts.breaker
                breaker.hurry(now)
                if in_vain := breaker.stays_shut(now, timeout):  # we are to wait for longer
                    breaker.break_now(now)
                self._scheduler.close(in_vain=in_vain)
            self._lifecycle.close(Cause.SUCCESSOR if superseded else cause)

    @releases_on_error
    def begin_to_leave(self, timeout: float) -> None:
        self._lock.run_deferred()
        self.close(timeout)
        self.secure()
        self._owed = self._end_of_what_is_on_disk()

    @releases_on_error
    def secure(self) -> None:
        copies = self._parts.last_writes.copies
        with self._lock:
            if self._parts.spool is None or self._lifecycle.stopped:
                return
            queued = self._parts.queue.records
            copies.take([*self._runner.under_way(), *self._scheduler.retries.records(), *queued])
            if not copies.done:
                self._scheduler.pause()
        try:
            self._complete(copies)
        finally:
            with self._lock:
                self._parts.queue.drop_settled()
                self._scheduler.resume()

    def _end_of_what_is_on_disk(self) -> Mark | None:
        """What the exit waits for: later records don't hold it. None if some are in memory only."""
        with self._lock:
            waiting = [*self._runner.under_way(), *self._scheduler.waiting()]
            if any(record.place is None and not record.settled for record in waiting):
                return None
        return self._parts.waiting.mark()

    # -- wait for the backend -----------------------------------------------------------------------------

    def wait_at_exit(self, deadline: float) -> None:
        health, began = self._backend_health(), self._clock.monotonic()
        self._is_silent = was_silent = not self._responds_again(health)
        if self.nothing_more_to_do():
            return
        self.wait_until_sent(min(deadline, began + _BRIEFLY_SECONDS) if was_silent else deadline)
        if was_silent and self._responds_again(health):
            self._is_silent = False
            self.wait_until_sent(deadline)
        success = self._parts.breaker.last_success
        responded = success is not None and success >= began
        self._waited_in_vain = not responded and not self.nothing_more_to_do()
        if self._waited_in_vain and not was_silent:
            health.note_silent()

    def _responds_again(self, health: BackendHealth) -> bool:
        """Whether it is not silent, or no longer."""
        responded_at = self._responded_at()
        if health.is_silent(responded_at):
            return False
        if responded_at is not None:
            health.note_answering()
        return True

    def expects_response(self) -> bool:
        return not self._backend_health().is_silent(self._responded_at())

    def _backend_health(self) -> BackendHealth:
        spool = self._parts.spool
        return BackendHealth(spool.directory if spool is not None else None, self._clock.wall)

    def _responded_at(self) -> float | None:
        """When the backend last took a record of this process, on the wall clock."""
        success = self._parts.breaker.last_success
        return None if success is None else self._clock.wall() - (self._clock.monotonic() - success)

    @releases_on_error
    def wait_until_sent(self, deadline: float) -> None:
        """Or until it would be in vain to wait on."""
        self._parts.waiting.flush_until(self.nothing_more_to_do, deadline)

    def nothing_more_to_do(self) -> bool:
        """Whether all is sent that the end waits for, or waiting on would be in vain."""
        if self._runner.is_sending_backlog:  # unless its response is awaited, the next process repeats it
            return False
        waiting, gave_up = self._parts.waiting, self._scheduler.gave_up
        if self._owed is not None:
            return gave_up or not self._can_read_back() or not waiting.to_send(self._owed)
        own = self._parts.ledger.own
        if own[Term.QUEUED] or own[Term.IN_FLIGHT] > self._isolated(Term.IN_FLIGHT):
            return gave_up and not waiting.spool_usable and not self._runner.is_sending
        sent = own[Term.SPOOLED] <= self._isolated(Term.SPOOLED)
        return sent or gave_up or not self._can_read_back()

    def _isolated(self, term: Term) -> int:
        """Own records that are not to be tried for a while: they fail on their own, or are set aside."""
        parts, now = self._parts, self._clock.monotonic()
        aside = parts.spool.count_aside(own_only=True) if parts.spool and term is Term.SPOOLED else 0
        return aside + parts.policies.suspects.count_isolated(now, parts.ledger.own, term)

    def _can_read_back(self) -> bool:
        return self._parts.spool is not None and self._parts.spool.readable

    @releases_on_error
    def await_responses(self, deadline: float) -> None:
        with self._lock:
            self._scheduler.begin_nothing_more()
        if not self._is_silent:
            self._parts.waiting.flush_until(lambda: not self._runner.is_sending, deadline)

    # -- the final write ----------------------------------------------------------------------------------

    @releases_on_error
    def stop_sending(self) -> None:
        """From here on what was not delivered is the final write's."""
        self.close(0.0)  # unless it is closed: Ctrl-C may have come before
        with self._lock:
            under_way = self._worker.stop()
            if not self._lifecycle.stopped:
                left = [*under_way, *self._scheduler.waiting()]
                self._parts.last_writes.final.take(sorted(left, key=_on_disk_and_oldest_first))
                self._lifecycle.move(State.FINISHING)
            self._runner.forget()
            self._scheduler.forget()

    def finish(self, deadline: float, join_until: float | None = None) -> None:
        """The final write, and the end. Ctrl-C in the middle is raised when all is on disk.

        Args:
            deadline: how long another thread that does this is waited for, and callbacks at the least.
            join_until: how long threads are waited for; by default for a moment.
        """
        interrupted: BaseException | None = None
        while not self._lifecycle.over:
            try:
                if not self._is_finisher():
                    self._wait_for_finisher(deadline)
                    break
                self._writing = threading.get_ident()
                self._finish(deadline, join_until)
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - kept, and raised below
                interrupted = error
            finally:
                self._writing = None
        if interrupted is not None:
            raise interrupted

    @property
    def is_writing_here(self) -> bool:
        """Whether the calling thread is in the final write. Takes no lock."""
        return self._writing == threading.get_ident()

    @releases_on_error
    def _is_finisher(self) -> bool:
        with self._lock:
            self._finisher = self._finisher or threading.get_ident()
            return self._finisher == threading.get_ident()

    @releases_on_error
    def _wait_for_finisher(self, deadline: float) -> None:
        if self._parts.waiting.allowed:
            self._parts.waiting.listen_until(lambda: self._lifecycle.over, deadline, WakeUp())

    @releases_on_error
    def _finish(self, deadline: float, join_until: float | None) -> None:
        parts = self._parts
        self.stop_sending()
        self._complete(parts.last_writes.final)
        parts.watchers.wake()
        until = self._clock.monotonic() + _JOIN_SECONDS if join_until is None else join_until
        if self._waited_in_vain:  # threads that wait for a response don't end sooner
            until = self._clock.monotonic()
        _await_threads(parts, until)
        self._close_all()
        with self._lock:
            self._lifecycle.end()
        parts.watchers.wake()
        parts.notices.report_in_passing(max(until + _JOIN_SECONDS, deadline) - self._clock.monotonic())

    def _complete(self, job: Job) -> None:
        """By a sending thread if one is idle, as no Ctrl-C arrives there; else here."""
        if not job.done and self._scheduler.sleepers.idle and self._worker.alive:
            self._lock.defer(job.run)
            self._scheduler.sleepers.disturb()
            job.wait_for_beginning()
        job.complete()

    def _close_all(self) -> None:
        parts, by_exit = self._parts, self._lifecycle.by_exit
        if parts.spool is not None and parts.last_writes.final.done:
            parts.spool.close(takes_late=by_exit)
            if not by_exit:
                process_exit.spool_released(parts.spool.directory)
        parts.sender.transport.close()
        leftovers.note(self._left_behind(), by_exit=by_exit)
        process_exit.unregister(parts.member)

    def _left_behind(self) -> leftovers.Ended:
        parts = self._parts
        return leftovers.Ended(
            pid=os.getpid(),
            process=parts.process,
            directory=parts.spool.directory if parts.spool is not None else None,
            own=parts.ledger.own,
            state=parts.breaker.state,
            trouble="" if parts.breaker.state in ("idle", "online") else parts.notices.last_trouble,
        )
