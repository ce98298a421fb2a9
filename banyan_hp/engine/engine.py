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
from .http.transport import ByHost, Transport, connecting_as
from .lifecycle import Cause
from .parts import Setup, SpoolPlaces, TransportFactory
from .process import exit as process_exit
from .records.freeze import freeze_any, freeze_plain
from .records.record import Deferred, Record
from .sync import Clock, EngineLock, releases_on_error

if TYPE_CHECKING:
    from .delivery.loop_waiters import LoopWaiter


def http_transport(destination: Destination, settings: Settings) -> Transport:
    """Connections to the destination's host, or to each of its hosts."""
    connect = connecting_as(settings)
    made = {url: connect(url, settings.timeout, settings.max_connections) for url in destination.urls}
    return made[destination.base_url] if len(made) == 1 else ByHost(made)


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
        core: all that belongs to a process: this one, or the parent's until the next call. For the engine's
            rooms and tests; clients use the methods here.
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
        cut = 0
        if not size:
            value, size, cut = freeze_any(value, max_text, self._room)
        core = self.core
        if os.getpid() != core.pid:  # behind `freeze`, which calls functions of the application's
            core = self.here()
        return core.intake.take(value, size, cut, deferred, ident)

    def submit_at(
        self,
        value: dict[str, Any],
        time: float,
        *,
        max_text: int = sys.maxsize,
        deferred: Deferred | None = None,
        ident: str | None = None,
    ) -> Record | None:
        """`submit` for what happened at another time than now, in seconds since 1970."""
        frozen = freeze_any(value, max_text, self._room)
        intake = self.here().intake
        if ident is None:
            ident = intake.id_of_now()
        return intake.at(time).take(frozen.value, frozen.size, frozen.cut, deferred, ident)

    @releases_on_error
    def wait_for(self, record: Record, timeout: float | None = None) -> bool:
        """Wait until a record is delivered or the attempts are used up; True if it was delivered.

        By default at most `timeout` for each attempt: a long Retry-After must not hold a request handler.
        """
        return self.here().flushing.wait_for(record, timeout)

    def loop_waiter(self, record: Record) -> LoopWaiter | None:
        """What a coroutine waits for this record with; None if there is nothing to wait for."""
        core = self.here()
        if record.settled or not core.flushing.knows(record):
            return None
        return core.loop_waiters().here()

    def why_not_sent(self) -> tuple[str, str]:
        """Why a record was not sent yet: the circuit breaker's state, and a sentence.

        The state is empty while the backend refuses records: that says nothing about another one.
        """
        breaker, notices = self.core.parts.breaker, self.core.parts.notices
        if breaker.refusing:
            return "", "the backend refused the records that were sent last; this one was not sent yet"
        return breaker.state, notices.last_failure or "it was not sent yet"

    @releases_on_error
    def reject(self, why: str) -> None:
        """Count a record that could not be accepted; `health()` says why for a while."""
        self.here().intake.reject(why)

    @releases_on_error
    def count(self, name: str) -> None:
        """Add one to a counter, see `records.ledger.Counters`."""
        self.here().intake.count(name)

    def sample_out(self) -> None:
        """Count a record that is not to be logged. Takes no lock."""
        self.here().parts.ledger.sampled_out.add()

    def note_error(self, what: str) -> None:
        """Trouble of the client's beside delivery, for `last_error`."""
        self.here().parts.settlement.note_error(what)

    # -- flushing and ending ----------------------------------------------------------------------------

    @releases_on_error
    def flush(self, timeout: float) -> FlushResult:
        """Deliver what was accepted before this call. See `PromptStackLogger.flush`."""
        return run(self.here().flushing.steps(timeout))

    async def aflush(self, timeout: float) -> FlushResult:
        """`flush` on the running event loop."""
        from .delivery import loops  # imports asyncio, which not everybody uses

        return await loops.drive(self.here().flushing.steps(timeout))

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
        return self.here().flushing.replay(timeout, report)

    @releases_on_error
    def shutdown(self, timeout: float) -> FlushResult:
        """Accept no more, try once more, and leave on disk what is not delivered by then."""
        return self.here().ending.shutdown(timeout)

    async def ashutdown(self, timeout: float) -> FlushResult:
        """`shutdown` on the running event loop. Cancelled, it leaves the final write to a thread."""
        return await self.here().ending.ashutdown(timeout)

    def abandon(self) -> None:
        """The logger is gone: a thread delivers what there is, or leaves it on disk, and ends the engine.

        For a finaliser, which may run anywhere: takes no lock, does no I/O.
        """
        if os.getpid() == self.core.pid:
            self.core.ending.abandon()

    @property
    def closed(self) -> bool:
        return not self.core.lifecycle.accepting

    @property
    def superseded(self) -> bool:
        """Whether `supersede` was called and did it."""
        return self.core.lifecycle.cause is Cause.SUCCESSOR

    # -- asking -----------------------------------------------------------------------------------------

    @releases_on_error
    def stats(self) -> dict[str, Any]:
        """The counters as a plain dict. No I/O; microseconds."""
        return self.here().stats()

    @releases_on_error
    def health(self) -> dict[str, Any]:
        """`{"status": "ok" | "degraded" | "failing", "reasons": […], "state": …}`."""
        return self.here().health()

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
        core = self.here()
        if not self.may_reconfigure(destination, settings):
            raise ValueError("records leave only for where, and under the key, they were logged with")
        self.destination, self.settings = destination, settings
        core.reconfigure(destination, settings)

    def reconfigure_callbacks(self, settings: Settings) -> None:
        """Take over the callbacks of settings that are the same but for them."""
        core = self.here()
        self.settings = settings
        core.parts.reconfigure_callbacks(settings)

    # -- fork -------------------------------------------------------------------------------------------

    def here(self) -> Core:
        """Of this process. Some servers (uWSGI) fork past Python's hooks: each call asks for the id."""
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
