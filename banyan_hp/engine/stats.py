"""What `get_stats()` and `health()` say, worked out from values. Changes nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from .records.ledger import Book, Counters, Ledger, Term

_PUBLIC = {"rejected": "logs_rejected", "discarded": "otlp_rejected"}
_COUNTERS = [(_PUBLIC.get(name, name), name) for name in Counters.__slots__]
STALE_SECONDS = 60.0
FAILURE_SHOWS_SECONDS = 300.0
REJECTION_SHOWS_SECONDS = 600.0
CALLBACK_SECONDS = 10.0


class Reading(NamedTuple):
    """An engine's gauges at one moment, for `stats_of`; ages are in seconds."""

    state: str
    queue_bytes: int
    worker_alive: bool
    last_error: str | None
    last_success_age: float | None
    oldest_record_age: float | None
    quarantine_evicted: int
    spool_bytes: int
    oldest_spooled_age: float | None


class Troubles(NamedTuple):
    """What may be wrong inside a process, for `problems_of`.

    Attributes:
        failure: why the destination last failed.
        refusal: why a record was last refused.
        discard: why a part of a batch was last discarded.
        worker_failure: seconds since the worker last failed, and by what.
        worker_restarts: how often in all.
        no_endpoint: which endpoint for a part of the records is missing.
        callback: seconds for which the slowest callback has been running, and its name.
        rejection: seconds since a call was last rejected for bad input, and why.
        spool_problem: why the on-disk queue can't be used.
        spool_warning: what is odd about it.
    """

    failure: str | None
    refusal: str | None
    discard: str | None
    worker_failure: tuple[float, str]
    worker_restarts: int
    callback: tuple[float, str] | None
    no_endpoint: str | None
    rejection: tuple[float, str]
    spool_problem: str | None
    spool_warning: str | None


def stats_of(ledger: Ledger, reading: Reading) -> dict[str, Any]:
    """The counters, by their public names. Call with the engine's lock held."""
    own_counts = ledger.own.counts
    stats = {
        "logs_queued": ledger.own.accepted,
        "logs_sent": own_counts[Term.DELIVERED],
        "logs_dropped": own_counts[Term.DROPPED],
        "drops": dict(ledger.own.drops),
        "logs_spooled": own_counts[Term.SPOOLED],
        "logs_quarantined": own_counts[Term.QUARANTINED],
        "quarantine_evicted": reading.quarantine_evicted,
        "logs_sampled_out": ledger.sampled_out.read(),
        "spool_bytes": reading.spool_bytes,
        "queue_size": own_counts[Term.QUEUED],
        "queue_bytes": reading.queue_bytes,
        "in_flight": own_counts[Term.IN_FLIGHT],
        "state": reading.state,
        "worker_alive": reading.worker_alive,
        "last_error": reading.last_error,
        "last_success_age_s": reading.last_success_age,
        "oldest_record_age_s": reading.oldest_record_age,
        "oldest_spooled_age_s": reading.oldest_spooled_age,
    }
    stats["redactions"] = dict(ledger.redactions)
    stats.update(_adopted(ledger.adopted))
    for public, name in _COUNTERS:
        stats[public] = getattr(ledger.counters, name)
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


def problems_of(troubles: Troubles) -> list[str]:
    """Sentences for those that are worth one."""
    problems = []
    ago, failure = troubles.worker_failure
    if ago < FAILURE_SHOWS_SECONDS:
        problems.append(
            f"the worker failed and was restarted, {troubles.worker_restarts} times in all, "
            f"the last time {ago:.0f} s ago ({failure})"
        )
    ago, why = troubles.rejection
    if ago < REJECTION_SHOWS_SECONDS:
        problems.append(f"a call was rejected {ago:.0f} s ago: {why}")
    if troubles.callback is not None and troubles.callback[0] > CALLBACK_SECONDS:
        seconds, name = troubles.callback
        problems.append(f"the callback {name} has been running for {seconds:.0f} s")
    if troubles.spool_problem:
        problems.append(f"the on-disk queue can't be used: {troubles.spool_problem}")
    if troubles.spool_warning:
        problems.append(f"on-disk queue: {troubles.spool_warning}")
    return problems


def health_of(stats: dict[str, Any], troubles: Troubles) -> dict[str, Any]:
    """A verdict for people and probes, with its reasons."""
    failing: list[str] = []
    degraded: list[str] = []
    state = stats["state"]
    if state in ("auth_error", "misconfigured"):
        failing.append(f"{state}: {troubles.failure}")
    if state in ("offline", "backing_off"):
        degraded.append(f"{state}: {troubles.failure}")
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
        count = stats["logs_quarantined"]
        degraded.append(f"{count} records quarantined; the last error: {troubles.refusal}")
    if stats["otlp_rejected"]:
        count = stats["otlp_rejected"]
        degraded.append(
            f"{count} spans or scores were discarded where they arrived, out of batches that were taken: "
            f"{troubles.discard}"
        )
    if stats["records_unscrubbed"]:
        degraded.append(
            f"{stats['records_unscrubbed']} records quarantined: they were logged with a before_send "
            "that has not seen them, and this process has none"
        )
    if troubles.no_endpoint:
        degraded.append(f"what belongs there waits until something takes it: {troubles.no_endpoint}")
    degraded += problems_of(troubles)
    status = "failing" if failing else "degraded" if degraded else "ok"
    return {"status": status, "reasons": failing + degraded, "state": state}
