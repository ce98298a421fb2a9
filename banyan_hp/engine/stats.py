"""What `get_stats()` and `health()` answer. Reads the ledger, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .records.ledger import Book, Counters, Term

if TYPE_CHECKING:
    from .engine import Engine

_COUNTERS = [("logs_rejected" if name == "rejected" else name, name) for name in Counters.__slots__]
STALE_SECONDS = 60.0
FAILURE_SHOWS_SECONDS = 300.0
CALLBACK_SECONDS = 10.0


def stats_of(engine: Engine, now: float) -> dict[str, Any]:
    """The counters, by their public names. Call with the engine's lock held."""
    own, breaker = engine.ledger.own, engine.breaker
    own_counts = own.counts
    oldest = engine.oldest_at()
    stats = {
        "logs_queued": own.accepted,
        "logs_sent": own_counts[Term.DELIVERED],
        "logs_dropped": own_counts[Term.DROPPED],
        "drops": dict(own.drops),
        "logs_spooled": own_counts[Term.SPOOLED],
        "logs_quarantined": own_counts[Term.QUARANTINED],
        "quarantine_evicted": engine.spool.quarantine_evicted if engine.spool is not None else 0,
        "queue_size": own_counts[Term.QUEUED],
        "queue_bytes": engine.queue.bytes,
        "in_flight": own_counts[Term.IN_FLIGHT],
        "state": "stopped" if engine.stopped else breaker.state,
        "worker_alive": engine.worker.alive,
        "last_error": engine.notices.last_error,
        "last_success_age_s": None if breaker.last_success is None else now - breaker.last_success,
        "oldest_record_age_s": None if oldest is None else now - oldest,
    }
    stats.update(_adopted(engine.ledger.adopted))
    for public, name in _COUNTERS:
        stats[public] = getattr(engine.ledger.counters, name)
    return stats


def _adopted(book: Book) -> dict[str, Any]:
    counts = book.counts
    return {
        "logs_recovered": counts[Term.DELIVERED],
        "adopted": {
            "logs": book.accepted,
            "recovered": counts[Term.DELIVERED],
            "pending": counts[Term.SPOOLED] + counts[Term.IN_FLIGHT],
            "quarantined": counts[Term.QUARANTINED],
            "dropped": counts[Term.DROPPED],
        },
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
    if engine.spool is not None and engine.spool.warning:
        problems.append(f"on-disk queue: {engine.spool.warning}")
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
    if stats["logs_quarantined"]:
        count, last = stats["logs_quarantined"], stats["last_error"]
        degraded.append(f"{count} records quarantined; the last error: {last}")
    if stats["records_unscrubbed"]:
        degraded.append(
            f"{stats['records_unscrubbed']} records quarantined: they were logged with a before_send "
            "that has not seen them, and this process has none"
        )
    degraded += more
    status = "failing" if failing else "degraded" if degraded else "ok"
    return {"status": status, "reasons": failing + degraded, "state": state}
