"""What both clients share: everything about delivery, nothing about what is logged."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from ..copies import OneObject
from ..engine.captures import open_captures
from ..engine.delivery.waiters import FlushResult
from ..engine.engine import Engine
from ..engine.succession import Succession
from ..foreign import is_deliberate, trouble
from ..logs import warn
from ..settings import checked_seconds
from ..tracking.scopes import unknown
from ..tracking.traces import ignored
from .arguments import InvalidRecordError, take_id

if TYPE_CHECKING:
    from ..types import Health, Stats
    from .sampling import Sampling


_NOT_SENT = (
    "a score was not sent: the hosted backend would show it as a call; send_scores=True sends scores there "
    "all the same"
)


class Lifeline:
    """Held by a client and by everything that needs its engines, which end when nothing holds it any more."""

    __slots__ = ("_engines",)
    _is_finalizing = staticmethod(sys.is_finalizing)  # kept here: modules may be gone by then

    def __init__(self, engines: Engine | Succession) -> None:
        self._engines = engines

    def __del__(self) -> None:
        if not self._is_finalizing():
            self._engines.abandon()


def sampling_of(engine: Engine) -> Sampling | None:
    """By the engine's settings; None where they log everything, so that no call has to ask."""
    settings = engine.settings
    if settings.sample_rate >= 1 and settings.sampler is None:
        return None
    from .sampling import Sampling

    return Sampling(settings.sample_rate, settings.sampler, engine)


class Client(OneObject):
    """Flushing, shutdown, stats and health. As a context manager it ends with `shutdown()`."""

    _engine: Engine  # takes the records
    _lifeline: Lifeline

    def _engines(self) -> Engine | Succession:
        """Everything that holds records of this client."""
        return self._engine

    def flush(self, timeout: float = 30) -> FlushResult:
        """Wait until everything logged before this call is delivered, at most `timeout` seconds.

        A process's first flush then sends what earlier processes left on disk, as far as `timeout` allows,
        even if nothing was logged; later ones don't wait for that. While the backend is known to be down, one
        attempt is made at once, and the call returns after it; the records are then on disk.

        Returns:
            A `FlushResult`, true only if all that was logged before the call is delivered.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds.
        """
        return self._engines().flush(checked_seconds("timeout", timeout))

    def shutdown(self, timeout: float = 30) -> FlushResult:
        """Accept no more records, deliver for at most `timeout` seconds, and leave the rest on disk.

        No new request is made for records of earlier processes; responses to requests under way are awaited.
        Later records are refused and counted. A second call does no harm. At exit, `shutdown` runs by itself
        with `exit_timeout`.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds.
        """
        return self._engines().shutdown(checked_seconds("timeout", timeout))

    async def aflush(self, timeout: float = 30) -> FlushResult:
        """`flush` without blocking the event loop. When cancelled, it leaves no waiter behind."""
        return await self._engines().aflush(checked_seconds("timeout", timeout))

    async def ashutdown(self, timeout: float = 30) -> FlushResult:
        """`shutdown` without blocking the event loop.

        When cancelled, it stops waiting for the backend: what is not delivered goes to disk.
        """
        return await self._engines().ashutdown(checked_seconds("timeout", timeout))

    def get_stats(self) -> Stats:
        """Counters, as a plain dict. No I/O; takes microseconds.

        The guide documents them (`banyan-hp help stats`). In each result this holds:
        `logs_queued == logs_sent + logs_spooled + logs_quarantined + logs_dropped + queue_size + in_flight`.
        """
        return cast(
            "Stats",
            {**self._engines().stats(), "contexts_unknown": unknown(), "traceparents_ignored": ignored()},
        )

    def health(self) -> Health:
        """`{"status": "ok" | "degraded" | "failing", "reasons": [text, …], "state": …}`.

        Show it on a status page; an application should not fail its own readiness over its logger.
        """
        return cast("Health", self._engines().health())

    def _not_logged(self, call: str, error: Exception) -> str:
        """Count and log a record that was not accepted: an argument is wrong, or the caller's objects raised.

        For the outer guard of a public call, see `foreign`: an exception that is meant to stop the calling
        thread passes.

        Returns:
            What happened, in a sentence that shows no value of the caller's.
        """
        if is_deliberate(error):
            raise error
        problem, topic = f"{call} could not read what it was given: {trouble(error)}", f"bad input of {call}"
        if isinstance(error, InvalidRecordError):
            problem, topic = str(error), "bad input"
        self._engine.reject(problem)
        warn(topic, "a record was not accepted: %s", problem)
        return problem

    def _note_set_aside(self, wrong: list[str]) -> None:
        """Count and log values that their field can't hold, see `keep_numbers`."""
        for sentence in wrong:
            warn("value set aside", "%s", sentence)
            self._engine.count("values_set_aside")

    def _own_id(self, body: dict[str, Any], given: object) -> str | None:
        """The id that a caller gives its record; None if it can't be one: then it is in the metadata."""
        ident, wrong = take_id(body, given)
        self._note_set_aside(wrong)
        return ident

    def _score_kept_back(self) -> str | None:
        """Why scores don't go to this backend, which is counted and said; None if they do."""
        engine = self._engine
        destination, wanted = engine.destination, engine.settings.send_scores
        hosted = not (destination.may_batch or destination.takes_only_batches)
        if open_captures or (not hosted if wanted is None else wanted):
            return None
        engine.count("scores_not_sent")
        if wanted is False:
            return "a score was not sent: send_scores=False"
        warn("scores not sent", "%s", _NOT_SENT)
        return _NOT_SENT

    def _tracking_failed(self, doing: str, error: BaseException) -> None:
        """Count and log an error in tracking a call; the call itself goes on."""
        self._engine.count("tracking_errors")
        warn(doing, "%s (%s); the application is not affected", doing, trouble(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
