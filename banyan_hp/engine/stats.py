"""What `get_stats()` and `health()` answer. Reads the ledger, changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .ledger import Term

if TYPE_CHECKING:
    from .engine import Engine

STALE_SECONDS = 60.0
FAILURE_SHOWS_SECONDS = 300.0
CALLBACK_SECONDS = 10.0


def stats_of(engine: Engine, now: float) -> dict[str, Any]:
    """The counters, by their public names. Call with the engine's lock held."""
    own, adopted, gate = engine.ledger.own, engine.ledger.adopted, engine.gate
    counters = asdict(engine.ledger.counters)
    oldest = min(
        (at for at in (engine.queue.oldest_at(), engine.worker.oldest_at()) if at is not None), default=None
    )
    return {
        "logs_queued": own.accepted,
        "logs_sent": own[Term.DELIVERED],
        "logs_rejected": counters.pop("rejected"),
        "logs_dropped": own[Term.DROPPED],
        "drops": dict(own.drops),
        "logs_spooled": own[Term.SPOOLED],
        "logs_quarantined": own[Term.QUARANTINED],
        "logs_recovered": adopted[Term.DELIVERED],
        "adopted": {
            "logs": adopted.accepted,
            "recovered": adopted[Term.DELIVERED],
            "pending": adopted[Term.SPOOLED] + adopted[Term.IN_FLIGHT],
            "quarantined": adopted[Term.QUARANTINED],
            "dropped": adopted[Term.DROPPED],
        },
        "queue_size": len(engine.queue),
        "queue_bytes": engine.queue.bytes,
        "in_flight": own[Term.IN_FLIGHT],
        **counters,
        "state": "stopped" if engine.stopped else gate.state,
        "worker_alive": engine.worker.alive,
        "last_error": engine.notices.last_error,
        "last_success_age_s": None if gate.last_success is None else now - gate.last_success,
        "oldest_record_age_s": None if oldest is None else now - oldest,
    }


def problems_of(engine: Engine, now: float) -> list[str]:
    """What is not well inside this process. Call with the engine's lock held."""
    problems = []
    worker, callback = engine.worker, engine.callbacks.longest()
    if now - worker.failed_at < FAILURE_SHOWS_SECONDS:
        restarts = engine.ledger.counters.worker_restarts
        ago = now - worker.failed_at
        problems.append(
            f"the worker failed and was restarted, {restarts} times in all, "
            f"the last time {ago:.0f} s ago ({worker.last_failure})"
        )
    if callback is not None and now - callback[0] > CALLBACK_SECONDS:
        problems.append(f"the callback {callback[1]} has been running for {now - callback[0]:.0f} s")
    spool_problem = engine.spool.problem if engine.spool is not None else engine.no_spool_because
    if spool_problem:
        problems.append(f"the on-disk queue can't be used: {spool_problem}")
    return problems


def health_of(stats: dict[str, Any], more: list[str]) -> dict[str, Any]:
    """A verdict for people and probes, with its reasons; `more` are those that the stats don't show."""
    failing: list[str] = []
    degraded: list[str] = []
    state = stats["state"]
    if state in ("auth_error", "misconfigured"):
        failing.append(f"{state}: {stats['last_error']}")
    if state in ("offline", "backing_off"):
        degraded.append(f"{state}: {stats['last_error']}")
    if state == "stopped":
        failing.append("stopped: shutdown() was called")
    waiting = stats["queue_size"] + stats["in_flight"]
    if waiting and not stats["worker_alive"] and state != "stopped":
        degraded.append(f"{waiting} records wait and no worker thread is running")
    if (stats["oldest_record_age_s"] or 0) > STALE_SECONDS:
        degraded.append(f"the oldest record has been in memory for {stats['oldest_record_age_s']:.0f} s")
    if stats["logs_dropped"]:
        degraded.append(f"{stats['logs_dropped']} records dropped: {stats['drops']}")
    degraded += more
    status = "failing" if failing else "degraded" if degraded else "ok"
    return {"status": status, "reasons": failing + degraded, "state": state}
