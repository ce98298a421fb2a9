"""Wake-ups a second of a logger that has nothing to do: before the first record, and after some."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.benchmarks.adapters import BATCH, ONE_BY_ONE, System, construct
from tests.benchmarks.measure import Metrics
from tests.benchmarks.peers import BANYAN_SDK, OPENTELEMETRY, POSTHOG
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.process import thread_count, wake_ups
from tests.benchmarks.workload import make_records

_SETTLE_SECONDS = 1.5
_WATCH_SECONDS = 4.0


def idle(url: str, factory: str, options: Mapping[str, Any], records: int, seed: int = 0) -> Metrics:
    """Voluntary context switches of all threads but this one, which sleeps."""
    adapter = construct(factory, url, options)
    for record in make_records(records, seed):
        adapter.log(record)
    if records:
        adapter.flush()
    time.sleep(_SETTLE_SECONDS)
    before = wake_ups()
    time.sleep(_WATCH_SECONDS)
    woken = wake_ups() - before
    counted = thread_count()
    adapter.close()
    return {"wake_ups_per_s": woken / _WATCH_SECONDS, "threads": counted}


def _case(system: System, name: str, records: int) -> Case:
    return Case.of(system, f"{__name__}:idle", name=name, records=records)


_OURS = (("no records yet", BATCH, 0), ("after 100", BATCH, 100), ("after 100, one by one", ONE_BY_ONE, 100))

MEASUREMENT = Measurement(
    "idle",
    "idle: wake-ups a second",
    (
        *(_case(system, name, records) for name, system, records in _OURS),
        *(_case(peer, f"{peer.name}", 100) for peer in (BANYAN_SDK, OPENTELEMETRY, POSTHOG)),
    ),
    (Row("wake_ups_per_s", "wake-ups/s"), Row("threads", "threads, main included")),
    (
        Target("none before the first record", "no records yet", "wake_ups_per_s", most=0),
        Target("fewer than two a second after some", "after 100", "wake_ups_per_s", most=1.99),
        Target("fewer than two, one by one", "after 100, one by one", "wake_ups_per_s", most=1.99),
    ),
    repetitions=1,
)
