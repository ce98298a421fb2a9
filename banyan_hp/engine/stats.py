"""What `get_stats()` and `health()` answer. Reads the ledger, changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .ledger import Term

if TYPE_CHECKING:
    from .engine import Engine

STALE_SECONDS = 60.0


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
        "quarantine_evicted": engine.spool.quarantine_evicted if engine.spool is not None else 0,
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


def health_of(
    stats: dict[str, Any], spool_problem: str | None, spool_remark: str | None = None
) -> dict[str, Any]:
    """A verdict for people and probes, with its reasons."""
    failing, degraded = [], []
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
    if stats["worker_restarts"]:
        degraded.append(f"the worker failed {stats['worker_restarts']} times and was restarted")
    if spool_problem:
        degraded.append(f"the on-disk queue can't be used: {spool_problem}")
    if spool_remark:
        degraded.append(f"on-disk queue: {spool_remark}")
    status = "failing" if failing else "degraded" if degraded else "ok"
    return {"status": status, "reasons": failing + degraded, "state": state}
