"""The delivery engine: submit, flush, shutdown, stats, health.

Callers' threads run `submit`; everything else that takes time runs on the worker's threads. All state that
threads share is guarded by one lock, made anew, like all else, in a forked child. This is the facade: what
it does is in `core.py`, and from there in one file each for accepting, flushing and ending.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..logs import forget_threads
from ..settings import Settings
from .core import Core
from .delivery.stepwise import run
from .delivery.waiters import FlushResult
from .destination import Destination
from .ending import Ending
from .http.transport import Transport, connecting_as
from .lifecycle import Cause
from .parts import Setup, TransportFactory
from .process import exit as process_exit
from .records.freeze import freeze_any, freeze_plain
from .records.record import Deferred, Record
from .spool_places import SpoolPlaces
from .sync import Clock, EngineLock, releases_on_error

if TYPE_CHECKING:
    from .delivery.loop_waiters import LoopWaiter


def http_transport(destination: Destination, settings: Settings) -> Transport:
    return connecting_as(settings)(destination.base_url, settings.timeout, settings.max_connections)


class Engine:
    """One destination's queue, threads, spool and ledger. Construction does no I/O and starts no thread.

    Args:
        destination: the backend and its wire format.
        settings: see `banyan_hp.settings.Settings`.
        clock, transport: time, and what makes the object that requests are sent through; for tests.
        spool_directory: the directory to spool to and replay from, where it is not to be the destination's
            own below the settings' `spool_dir`.
        leaves_raw: leave alone on disk what `before_send` has not seen.

    Attributes:
        core: all that belongs to this process. For tests; clients use the methods here.
    """

    core_type = Core

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
        self._room = settings.queue_bytes // 4  # for texts of a record that are shortened when it is encoded
        places = SpoolPlaces(settings, spool_directory)
        setup = Setup(destination, settings, clock or Clock(), transport, places, leaves_raw)
        self.core = self.core_type(setup, self)
        if settings.enabled and settings.on_sigterm == "auto":
            process_exit.handle_signals()

    @property
    def locks(self) -> tuple[EngineLock, ...]:
        """What the methods here may take, see `releases_on_error`."""
        return self.core.locks

    # -- logging ----------------------------------------------------------------------------------------

    def submit(
        self,
        value: dict[str, Any],
        *,
        max_text: int = sys.maxsize,
        deferred: Deferred | None = None,
        ident: str | None = None,
    ) -> Record | None:
        """Take a record over. Does no I/O but for overflow, `durability="disk"` and at exit.

        Args:
            value: the record's body, of whatever values; see `freeze`. The dict itself is ours from now on.
            max_text: of a value of more than a quarter of `queue_bytes`, longer texts are cut at the call.
            deferred: completes the body on our threads; with `durability="disk"` here, at once.
            ident: the caller's id for the record, checked; by default it gets one of ours.

        Returns:
            The record. None if the engine is shut down, or if it is made of a log line about a delivery.
        """
        size = freeze_plain(value, max_text)
        frozen, size, cut = (value, size, 0) if size else freeze_any(value, max_text, self._room)
        core = self.core
        if os.getpid() != core.pid:  # behind `freeze`, which calls functions of the application's
            core = self._core_here()
        return core.intake.take(frozen, size, cut, deferred, ident)

    @releases_on_error
    def wait_for(self, record: Record, timeout: float | None = None) -> bool:
        """Wait until a record is delivered or the attempts are used up; True if it was delivered.

        By default at most `timeout` for each attempt: a long Retry-After must not hold a request handler.
        """
        return self._core_here().flushing.wait_for(record, timeout)

    def loop_waiter(self, record: Record) -> LoopWaiter | None:
        """What a coroutine waits for this record with; None if there is nothing to wait for."""
        core = self._core_here()
        if record.settled or not core.flushing.knows(record):
            return None
        return core.loop_waiters().here()

    def why_not_sent(self) -> tuple[str, str]:
        """Why a record was not sent yet: the circuit breaker's state, and a sentence.

        The state is empty while the backend refuses records: that says nothing about another one.
        """
        return self.core.why_not_sent()

    @releases_on_error
    def reject(self) -> None:
        """Count a record that could not be accepted."""
        self._core_here().intake.count("rejected")

    @releases_on_error
    def set_aside(self) -> None:
        """Count a value that its field can't have and that went into the metadata."""
        self._core_here().intake.count("values_set_aside")

    @releases_on_error
    def tracking_failed(self) -> None:
        """Count a call that could not be followed as it should be."""
        self._core_here().intake.count("tracking_errors")

    # -- flushing and ending ----------------------------------------------------------------------------

    @releases_on_error
    def flush(self, timeout: float) -> FlushResult:
        """Deliver what was accepted before this call. See `PromptStackLogger.flush`."""
        return run(self._core_here().flushing.steps(timeout))

    async def aflush(self, timeout: float) -> FlushResult:
        """`flush` on the running event loop."""
        from .delivery import loops  # imports asyncio, which not everybody uses

        return await loops.drive(self._core_here().flushing.steps(timeout))

    def replay(self, timeout: float, report: Callable[[], object]) -> str | None:
        """Send what earlier processes have left on disk, with no record of our own.

        Returns when nothing is left that no other process holds, when the destination was given up or the
        disk can't be read, and after `timeout` seconds. `shutdown` must follow: it releases the rest.

        Args:
            timeout: seconds; may be infinite.
            report: called about four times a second, on this thread.

        Returns:
            Why something is left; None if nothing is.
        """
        return self._core_here().flushing.replay(timeout, report)

    @releases_on_error
    def shutdown(self, timeout: float) -> FlushResult:
        """Accept no more, try once more, and leave on disk what is not delivered by then."""
        return self._core_here().shutdown.run(timeout)

    async def ashutdown(self, timeout: float) -> FlushResult:
        """`shutdown` on the running event loop. Cancelled, it leaves the final write to a thread."""
        return await self._core_here().shutdown.arun(timeout)

    def abandon(self) -> None:
        """The logger is gone: a thread delivers what there is, or leaves it on disk, and ends the engine.

        For a finaliser, which may run anywhere: takes no lock, does no I/O.
        """
        if os.getpid() == self.core.pid:
            self.core.shutdown.abandon()

    @property
    def closed(self) -> bool:
        """Whether it accepts nothing more."""
        return not self.core.lifecycle.accepting

    @property
    def superseded(self) -> bool:
        """Whether `supersede` was called and did it."""
        return self.core.lifecycle.cause is Cause.SUCCESSOR

    # -- asking -----------------------------------------------------------------------------------------

    @releases_on_error
    def stats(self) -> dict[str, Any]:
        """The counters as a plain dict. No I/O; microseconds."""
        core = self._core_here()
        core.start_refused_thread()
        return core.stats()

    @releases_on_error
    def health(self) -> dict[str, Any]:
        """`{"status": "ok" | "degraded" | "failing", "reasons": […], "state": …}`."""
        core = self._core_here()
        core.start_refused_thread()
        return core.health()

    def ledger_now(self) -> dict[str, int]:
        """Where this process's own records are."""
        return self.core.flushing.ledger_now()

    @property
    def spool_problem(self) -> str | None:
        """Why the on-disk queue can't be used, if so."""
        return self.core.spool_problem

    @property
    def may_wait(self) -> bool:
        """Whether the calling thread may wait for the engine: its own threads may not."""
        return self.core.parts.waiting.allowed

    # -- another configuration, a successor -------------------------------------------------------------

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
            ValueError: what was logged here must not go there, see `may_reconfigure`.
        """
        core = self._core_here()
        if not self.may_reconfigure(destination, settings):
            raise ValueError("records leave only for where, and under the key, they were logged with")
        self.destination, self.settings = destination, settings
        core.reconfigure(destination, settings)

    def reconfigure_callbacks(self, settings: Settings) -> None:
        """Take over the callbacks of settings that are the same but for them."""
        core = self._core_here()
        self.settings = settings
        core.reconfigure_callbacks(settings)

    @releases_on_error
    def retire(self, when_drained: Callable[[Engine], object]) -> None:
        """A successor takes records from now on: deliver what there is, then call `when_drained`.

        It is called on a worker thread, maybe several times. Where there is none (no thread could be
        started, `background_thread=False`), ask `drained`.
        """
        self.core.retire(lambda: when_drained(self))

    @releases_on_error
    def resume(self) -> None:
        """Take records again, after `retire`."""
        self.core.resume()

    @property
    def drained(self) -> bool:
        """Whether nothing that this process has logged here, or taken over, waits to be delivered."""
        return self.core.is_drained()

    @releases_on_error
    def supersede(self, *, only_if_drained: bool) -> bool:
        """Take no more records, in one step with the look whether any wait; `shutdown` must follow.

        A record that a caller was about to hand over goes to the successor and does not count as rejected.
        False if records wait, and `only_if_drained`.
        """
        return self.core.supersede(only_if_drained=only_if_drained)

    # -- for the process's room, see `process.exit.Member` ----------------------------------------------

    @property
    def ending(self) -> Ending:
        """The steps of the end, in this process."""
        return self._core_here().ending

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of changing something. Takes no lock."""
        return self.core.in_a_section

    def write_before_sending(self) -> None:
        """From now on each record is on disk before it is sent. Takes no lock."""
        self.core.intake.write_first()

    def stop_lingering(self) -> None:
        """Nothing lingers any more, and no backlog is sent. Takes no lock: adding is atomic under the GIL."""
        self.core.stop_lingering()

    @releases_on_error
    def spool_released(self, directory: Path) -> None:
        """Another engine has released its segments in `directory`."""
        self.core.spool_released(directory)

    def start_if_needed(self) -> None:
        """Begin with what was logged while no thread could be started."""
        self.core.start_if_needed()

    # -- fork -------------------------------------------------------------------------------------------

    def _core_here(self) -> Core:
        """That of this process. Some servers (uWSGI) fork past Python's hooks: each call asks for the id."""
        if os.getpid() != self.core.pid:
            self.after_fork()
        return self.core

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is sent or touched; all is made anew.

        Each of several threads, and a destructor in the middle, has the same heir take the core's place: one
        assignment, which does no harm when done again.
        """
        inherited = self.core
        if os.getpid() == inherited.pid or inherited.parts.lock.is_mine():
            return  # made already, or the fork came from inside a section, which ends first
        forget_threads()
        heir = inherited.heir()
        if self.closed:
            process_exit.unregister(self)
        self.core = heir
