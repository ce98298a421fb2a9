"""What both clients have in common: everything that is about delivery, and nothing about what is logged."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar

from .engine.engine import Engine
from .engine.flushing import FlushResult
from .logs import warn
from .settings import checked_seconds
from .tracking.scopes import unknown

Self = TypeVar("Self", bound="Client")


class Client:
    """Flushing, ending, and asking how it goes. Usable in a `with`, which ends with `shutdown()`."""

    _engine: Engine

    def flush(self, timeout: float = 30) -> FlushResult:
        """Wait until everything logged before this call is delivered, at most `timeout` seconds.

        Does not wait for what an earlier process left on disk. While the backend is known to be down, one
        attempt is made at once, and the call ends with it; the records are then on disk.

        Returns:
            A `FlushResult`, true only if all of it was delivered.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds.
        """
        return self._engine.flush(checked_seconds("timeout", timeout))

    def shutdown(self, timeout: float = 30) -> FlushResult:
        """Stop accepting, deliver what there is within `timeout` seconds, leave the rest on disk.

        Later records are refused and counted. Can be called again; runs by itself at exit, with
        `exit_timeout`.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds.
        """
        return self._engine.shutdown(checked_seconds("timeout", timeout))

    async def aflush(self, timeout: float = 30) -> FlushResult:
        """`flush` without blocking the event loop."""
        import asyncio  # who does not use it does not pay for it

        return await asyncio.to_thread(self.flush, timeout)

    async def ashutdown(self, timeout: float = 30) -> FlushResult:
        """`shutdown` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.shutdown, timeout)

    def get_stats(self) -> dict[str, Any]:
        """Counters, as a plain dict. No I/O, microseconds; for health checks.

        The README's table "What get_stats() tells" is their documentation. Of one read this holds:
        `logs_queued == logs_sent + logs_spooled + logs_quarantined + logs_dropped + queue_size + in_flight`.
        """
        return {**self._engine.stats(), "contexts_unknown": unknown()}

    def health(self) -> dict[str, Any]:
        """`{"status": "ok" | "degraded" | "failing", "reasons": [text, …], "state": …}`.

        Show it on a status page; an application should not fail its own readiness over its logger.
        """
        return self._engine.health()

    def _tracking_failed(self, doing: str) -> None:
        """Count and log a fault of `tracking`; called while its exception is being handled."""
        with self._engine.guard:
            self._engine.ledger.counters.tracking_errors += 1
        warn(doing, "%s; the application is not affected", doing, exc_info=True)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
