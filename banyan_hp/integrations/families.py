"""What `get_stats()` says as metrics after Prometheus' conventions: names, help texts, labels. Pure.

Every sample has the label `logger`, but for those of the whole process. A family of which a client has no
figures (prompts, with HuggingPlace) has no samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Values = dict[tuple[str, ...], float]
Read = Callable[[Mapping[str, Any]], Values]

# Reasons and states have a series before they first occur, so that `increase()` sees the first one.
REASONS = (
    *("before_send", "corrupt", "interrupted", "poison", "queue_full", "refused", "removed", "shutdown"),
    *("spool_expired", "spool_full", "too_large"),
)
STATES = ("idle", "online", "backing_off", "offline", "auth_error", "misconfigured", "stopped")


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: without `_total`.
        help: one sentence.
        read: its values in a reading of `get_stats()`, by the values of `labels`.
        labels: their names, without `logger`.
        together: gauges: how those of several processes make one, as `prometheus_client` calls it.
        of_process: counts for the whole process, not for a logger.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Read
    labels: tuple[str, ...] = ()
    together: Literal["livesum", "livemax", "max"] = "livesum"
    of_process: bool = False

    @property
    def sample_name(self) -> str:
        """As it is in the text format."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def all_labels(self) -> tuple[str, ...]:
        return self.labels if self.of_process else ("logger", *self.labels)


def _at(key: str) -> Read:
    """One number; no sample where there is none."""

    def read(stats: Mapping[str, Any]) -> Values:
        value = stats.get(key)
        return {} if value is None else {(): float(value)}

    return read


def _each(**keys: str) -> Read:
    """Numbers by one label: its values, and their keys. `adopted.x` is a key of the dict `adopted`."""

    def read(stats: Mapping[str, Any]) -> Values:
        return {
            (label,): float(value)
            for label, key in keys.items()
            if (value := _found(stats, key.split("."))) is not None
        }

    return read


def _found(stats: Any, path: list[str]) -> Any:
    for name in path:
        stats = stats.get(name) if isinstance(stats, Mapping) else None
    return stats


def _redactions(stats: Mapping[str, Any]) -> Values:
    return {(kind,): float(count) for kind, count in stats.get("redactions", {}).items()}


def _drops(stats: Mapping[str, Any]) -> Values:
    drops = {**dict.fromkeys(REASONS, 0), **stats["drops"]}
    return {(reason,): float(number) for reason, number in drops.items()}


def _states(stats: Mapping[str, Any]) -> Values:
    states = {**dict.fromkeys(STATES, 0.0), stats["state"]: 1.0}
    return {(state,): value for state, value in states.items()}


def _experiments(stats: Mapping[str, Any]) -> Values:
    return {
        (experiment, version): float(number)
        for experiment, versions in stats.get("experiments", {}).items()
        for version, number in versions.items()
    }


def _last_success(stats: Mapping[str, Any]) -> Values:
    age = stats["last_success_age_s"]
    return {} if age is None else {(): round(time.time() - age, 3)}


def _ages(stats: Mapping[str, Any]) -> Values:
    keys = {"memory": "oldest_record_age_s", "disk": "oldest_spooled_age_s"}
    return {(place,): float(stats[key] or 0) for place, key in keys.items()}


def _counter(key: str, meaning: str, name: str | None = None) -> Family:
    return Family(f"banyan_hp_{name or key}", "counter", meaning, _at(key))


_ENDED = {"delivered": "logs_sent", "quarantined": "logs_quarantined", "dropped": "logs_dropped"}
_ADOPTED = {
    "delivered": "adopted.recovered",
    "quarantined": "adopted.quarantined",
    "dropped": "adopted.dropped",
}
_WAITING = {
    "queue": "queue_size",
    "in_flight": "in_flight",
    "disk": "logs_spooled",
    "adopted": "adopted.pending",
}
_SOURCES = {"stale": "prompts_stale", "disk": "prompts_from_disk", "fallback": "prompts_fallback"}

RECORDS = (
    _counter("logs_queued", "Records that log calls handed over.", "records_accepted"),
    Family(
        "banyan_hp_records", "counter", "Records of this process that are settled, by outcome.",
        _each(**_ENDED), ("outcome",),
    ),
    Family(
        "banyan_hp_adopted_records", "counter",
        "Records that earlier processes left on disk and this one took over, settled, by outcome.",
        _each(**_ADOPTED), ("outcome",),
    ),
    Family("banyan_hp_records_dropped", "counter", "Records that are lost, by reason.", _drops, ("reason",)),
    _counter("logs_rejected", "Log calls whose record was not accepted.", "calls_rejected"),
    _counter("logs_sampled_out", "Records that sampling left out.", "records_sampled_out"),
    _counter("logs_not_durable", "With durability=disk: in memory only at first.", "records_not_durable"),
    _counter("records_shortened", "Records that were shortened to fit."),
    _counter("records_unscrubbed", "Records quarantined: no before_send has seen them."),
    _counter("quarantine_evicted", "Records discarded from a full quarantine."),
    _counter("values_cut", "Values that did not fit into a record."),
    _counter("media_replaced", "Images and audio replaced by their type, size and SHA-256."),
    Family("banyan_hp_redactions", "counter", "What banyan_hp.redact has replaced.", _redactions, ("kind",)),
    _counter("values_set_aside", "Values moved to the metadata."),
    _counter("scores_not_sent", "Scores that send_scores kept from the backend."),
)  # fmt: skip
DELIVERY = (
    Family(
        "banyan_hp_records_waiting", "gauge",
        "Records that wait: in memory, under way, on disk, and on disk from earlier processes (adopted).",
        _each(**_WAITING), ("place",),
    ),
    Family(
        "banyan_hp_oldest_record_age_seconds", "gauge", "Age of the oldest record that waits, or 0.",
        _ages, ("place",), "livemax",
    ),
    Family("banyan_hp_queue_bytes", "gauge", "Size of the records in memory.", _at("queue_bytes")),
    Family(
        "banyan_hp_spool_bytes", "gauge", "Size of the on-disk queue, of all processes that share it.",
        _at("spool_bytes"), (), "livemax",
    ),
    Family(
        "banyan_hp_last_success_timestamp_seconds", "gauge", "Unix time of the last delivery.",
        _last_success, (), "max",
    ),
    Family(
        "banyan_hp_state", "gauge", "Processes whose logger is in this state; of one process 0 or 1.",
        _states, ("state",),
    ),
    Family(
        "banyan_hp_worker_alive", "gauge", "Processes in which a thread sends; of one process 0 or 1.",
        _at("worker_alive"),
    ),
    _counter("requests_sent", "Requests to the backend.", "requests"),
    _counter("bytes_sent", "Bytes of the requests' bodies.", "sent_bytes"),
    _counter("attempts_failed", "Attempts to send that failed."),
    _counter("retries_attempted", "Attempts to send that were repeated.", "retries"),
    _counter("otlp_rejected", "Spans and scores that a collector discarded.", "collector_rejected"),
    _counter("spool_errors", "File operations of the on-disk queue that failed."),
    _counter("worker_restarts", "Threads that failed and were started again."),
    _counter("callback_errors", "Callbacks of the application that raised."),
    _counter("tracking_errors", "Errors in tracking calls; the application goes on."),
    Family(
        "banyan_hp_contexts_unknown", "counter", "Records without the context of the generator around them.",
        _at("contexts_unknown"), of_process=True,
    ),
    Family(
        "banyan_hp_traceparents_ignored", "counter", "Values given as a traceparent that are none.",
        _at("traceparents_ignored"), of_process=True,
    ),
)  # fmt: skip
PROMPTS = (
    Family(
        "banyan_hp_prompt_calls", "counter", "Calls for a prompt, by whether a fresh one was cached.",
        _each(hit="cache_hits", miss="cache_misses"), ("cache",),
    ),
    Family(
        "banyan_hp_prompts_not_fresh", "counter", "Calls that got no fresh prompt, by what they got.",
        _each(**_SOURCES), ("source",),
    ),
    _counter("prompts_fetched", "Responses of the backend to fetches of prompts."),
    _counter("prompt_errors", "Fetches of prompts that failed."),
    _counter("fallback_errors", "Functions given as fallback that raised.", "prompt_fallback_errors"),
    Family(
        "banyan_hp_experiment_exposures", "counter", "How often a version of an experiment was served.",
        _experiments, ("experiment", "version"),
    ),
    _counter("experiment_key_missing", "Calls without the key in sticky_context."),
    _counter("experiments_ignored", "Experiments that were invalid."),
    _counter("experiments_unrouted", "Calls whose sticky_context had no effect."),
)  # fmt: skip
FAMILIES = (*RECORDS, *DELIVERY, *PROMPTS)
COUNTERS = tuple(family for family in FAMILIES if family.kind == "counter")
GAUGES = tuple(family for family in FAMILIES if family.kind == "gauge")


def samples_of(family: Family, readings: Mapping[str, Mapping[str, Any]]) -> Values:
    """The family's values in the readings of several loggers, by the values of `all_labels`."""
    if family.of_process:
        return next((family.read(stats) for stats in readings.values()), {})
    return {
        (name, *labels): value
        for name, stats in readings.items()
        for labels, value in family.read(stats).items()
    }
