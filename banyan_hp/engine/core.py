"""One engine in one process: its parts, and what it does with them. A fork makes a new one.

The facade, `Engine`, holds the core of the process that it is in, and nothing else that a fork would change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from .destination import Destination
from .ending import Ending
from .flush import Flushing
from .http.transport import never_raising
from .intake import Intake
from .lifecycle import Lifecycle
from .parts import Parts, Setup
from .process import exit as process_exit
from .records.ledger import Term
from .records.record import Record
from .stats import Reading, Troubles, health_of, stats_of
from .sync import WakeUp, releases_on_error

if TYPE_CHECKING:
    from .delivery.loop_waiters import LoopWaiters

_UNASKED_SECONDS = 1.0


class Core:
    """See the module; the arguments are those of `Parts`."""

    def __init__(self, setup: Setup, member: process_exit.Member, parent: Lifecycle | None = None) -> None:
        self.parts = parts = Parts(setup, member, parent)
        self.locks = parts.locks
        self.lifecycle = parts.lifecycle
        self.flushing = Flushing(parts)
        self.ending = Ending(parts, self.flushing)
        self.intake = Intake(parts, self.ensure_worker)
        self.heirs: dict[int, Core] = {}  # by process: what a forked child goes on with
        self._loop_waiters: LoopWaiters | None = None
        self._successor = WakeUp()  # stands for it among those that wait
        self.pid = os.getpid()

    # -- sending ------------------------------------------------------------------------------------------

    @releases_on_error
    def ensure_worker(self, record: Record) -> None:
        """Start the workers; where there can be none, deliver here."""
        self.parts.register()
        if process_exit.leaving():  # the first record of all, and the end has begun
            self.ending.shutdown(0.0)
            record.turned_away = record.term is Term.DROPPED
            return
        worker = self.parts.worker
        worker.start()
        if not worker.background or worker.lacks_thread:
            process_exit.end_abandoned()
            asked_for = not self.parts.settings.background_thread  # to deliver on the caller's thread
            self.flushing.wait_for(record, None if asked_for else _UNASKED_SECONDS)

    def loop_waiters(self) -> LoopWaiters:
        """Two threads may make some at the same time: a loop that waits with the others waits as well."""
        if self._loop_waiters is None:
            from .delivery.loop_waiters import LoopWaiters  # imports asyncio, which not everybody uses

            parts = self.parts
            self._loop_waiters = LoopWaiters(parts.waiting, parts.breaker, parts.settings.patience)
        return self._loop_waiters

    # -- a successor, another configuration ---------------------------------------------------------------

    def reconfigure(self, destination: Destination, settings: Settings) -> None:
        self._loop_waiters = None  # the next ones have the new patience
        self.parts.reconfigure(destination, settings)

    @releases_on_error
    def retire(self, when_drained: Callable[[], object]) -> None:
        """A successor takes records from now on: deliver what there is, then call `when_drained`.

        It is called on a worker thread, maybe several times. Where there is none (no thread could be
        started, `background_thread=False`), ask `is_drained`.
        """
        self.parts.worker.call_between_tasks(lambda: when_drained() if self.is_drained() else None)
        self.parts.waiting.begin(self._successor)  # no more records come to fill a batch

    @releases_on_error
    def resume(self) -> None:
        """Take records again, after `retire`."""
        self.parts.worker.call_between_tasks(None)
        self.parts.waiting.stop(self._successor)

    def is_drained(self) -> bool:
        """Whether nothing that this process has logged here, or taken over, waits to be delivered."""
        with self.parts.lock:
            self.parts.inbox.take_in()
            own, adopted = self.parts.ledger.own, self.parts.ledger.adopted
            waiting = own[Term.QUEUED] + own[Term.IN_FLIGHT] + own[Term.SPOOLED]
            waiting += adopted[Term.IN_FLIGHT] + adopted[Term.SPOOLED] + len(self.parts.lock.deferred)
            return not waiting

    @releases_on_error
    def supersede(self, *, only_if_drained: bool) -> bool:
        """Take no more records, in one step with the look whether any wait; `shutdown` must follow.

        A record that a caller was about to hand over goes to the successor and does not count as rejected.
        False if records wait, and `only_if_drained`.
        """
        with self.parts.lock:
            self.parts.inbox.seal()
            if only_if_drained and not self.is_drained():
                self.parts.inbox.unseal()
                return False
            self.ending.close(0.0, superseded=True)
        return True

    # -- what applications ask ----------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        self._start_refused_thread()
        with self.parts.lock:
            self.parts.inbox.take_in()
            return stats_of(self.parts.ledger, self._reading())

    def health(self) -> dict[str, Any]:
        self._start_refused_thread()
        with self.parts.lock:
            self.parts.inbox.take_in()
            stats = stats_of(self.parts.ledger, self._reading())
            return health_of(stats, self._troubles())

    def _start_refused_thread(self) -> None:
        """Ask again for a thread that the system refused."""
        if self.parts.worker.lacks_thread:
            self.parts.worker.start()

    def _reading(self) -> Reading:
        """Call with the lock held."""
        parts, now = self.parts, self.parts.clock.monotonic()
        parts.lock.assert_held()
        success, oldest, spool = parts.breaker.last_success, self._oldest_at(), parts.spool
        spooled = spool.oldest_at if spool is not None else None
        return Reading(
            state="stopped" if self.lifecycle.stopped else parts.breaker.state,
            queue_bytes=parts.queue.bytes,
            worker_alive=parts.worker.alive,
            last_error=parts.notices.last_error,
            last_success_age=None if success is None else now - success,
            oldest_record_age=None if oldest is None else now - oldest,
            quarantine_evicted=spool.quarantine_evicted if spool is not None else 0,
            spool_bytes=spool.size if spool is not None else 0,
            oldest_spooled_age=None if spooled is None else max(0.0, parts.clock.wall() - spooled),
        )

    def _oldest_at(self) -> float | None:
        """When the oldest record in memory was logged, on the monotonic clock. Call with the lock held."""
        times = (self.parts.queue.oldest_at(), self.parts.runner.oldest_at())
        return min((time for time in times if time is not None), default=None)

    def _troubles(self) -> Troubles:
        """Call with the lock held."""
        parts, now = self.parts, self.parts.clock.monotonic()
        callback = parts.callbacks.longest()
        notices = parts.notices
        return Troubles(
            failure=notices.last_refusal if parts.breaker.refusing else notices.last_failure,
            refusal=notices.last_refusal,
            discard=notices.last_discard,
            worker_failure=(now - parts.worker.failed_at, parts.worker.last_failure),
            rejection=(now - self.intake.rejected_at, self.intake.rejection),
            worker_restarts=parts.ledger.counters.worker_restarts,
            callback=None if callback is None else (now - callback[0], callback[1]),
            no_endpoint=parts.policies.endpoints.problem(),
            spool_problem=self.spool_problem,
            spool_warning=parts.spool.warning if parts.spool is not None else None,
        )

    @property
    def spool_problem(self) -> str | None:
        """Why the on-disk queue can't be used, if so."""
        spool = self.parts.spool
        return spool.problem if spool is not None else self.parts.setup.places.problem

    # -- for the process's room, see `process.exit.Core` --------------------------------------------------

    def start_if_needed(self) -> None:
        if len(self.parts.queue):
            self.parts.worker.start()

    @releases_on_error
    def spool_released(self, directory: Path) -> None:
        spool = self.parts.spool
        if spool is not None and spool.directory == directory and not self.lifecycle.stopped:
            with self.parts.lock:
                spool.look_again()
                self.parts.scheduler.sleepers.wake_all()

    @property
    def in_a_section(self) -> bool:
        parts = self.parts
        if self.ending.is_writing_here or parts.lock.is_mine():
            return True
        return parts.spool is not None and parts.spool.in_a_section

    def stop_lingering(self) -> None:
        self.parts.scheduler.hurry()

    def write_before_sending(self) -> None:
        self.intake.write_first()

    def heir(self) -> Core:
        """What a forked child goes on with: everything made anew; only what it is made from is the parent's.

        Several threads of a child may come here together, and a destructor that logs may come in the middle:
        each makes one, and the first one counts (`setdefault` is atomic under the GIL).
        """
        setup = self.parts.setup
        setup = setup._replace(make_transport=never_raising(setup.make_transport))
        made = type(self)(setup, self.parts.member, self.lifecycle)
        heir = self.heirs.setdefault(made.pid, made)
        if heir is made and self.parts.spool is not None:  # once: a descriptor must not be closed twice
            self.parts.spool.abandon()
        return heir
