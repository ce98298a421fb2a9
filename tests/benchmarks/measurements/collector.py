"""What records that wait cost the application's own garbage collections."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Any

from tests.benchmarks.adapters import BATCH, construct
from tests.benchmarks.measure import Metrics, percentile
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.workload import make_records

_HEAP = 300_000
_COLLECTIONS = 21
_WAITING = 10_000
# They wait as long as the measurement takes.
_WAITS = {
    "flush_interval": 600.0,
    "batch_size": 100_000,
    "max_batch_bytes": 2**28,
    "queue_size": 100_000,
    "spool": False,
}


def collections(
    url: str, factory: str, options: Mapping[str, Any], records: int, waiting: int, seed: int = 0
) -> Metrics:
    """The median of full collections of an application's heap while so many of its `records` wait."""
    heap = [{"number": number, "list": [number]} for number in range(_HEAP // 2)]
    made = make_records(records, seed)
    adapter = construct(factory, url, {**options, **_WAITS})
    before = _tracked()
    for record in made[:waiting]:
        adapter.log(record)
    seen = _tracked() - before
    durations = []
    for _ in range(_COLLECTIONS):
        started = time.perf_counter_ns()
        gc.collect()
        durations.append(time.perf_counter_ns() - started)
    for record in made[waiting:]:
        adapter.log(record)
    adapter.flush()
    adapter.close()
    del heap
    return {
        "collection_ms": percentile(durations, 0.5) / 1e6,
        "objects_a_record": seen / waiting if waiting else 0.0,
    }


def _tracked() -> int:
    """How many objects the collector knows, garbage left out."""
    gc.collect()
    return len(gc.get_objects())


def _case(name: str, waiting: int) -> Case:
    return Case.of(BATCH, f"{__name__}:collections", name=name, records=_WAITING, waiting=waiting)


MEASUREMENT = Measurement(
    "collector",
    f"the garbage collector: a full collection of {_HEAP:,} objects of an application",
    (_case("none waiting", 0), _case("10,000 waiting", _WAITING)),
    (Row("collection_ms", "a full collection, ms"), Row("objects_a_record", "objects a waiting record")),
    (
        Target(
            "a full collection at most 1.1 x with 10,000 waiting",
            "10,000 waiting",
            "collection_ms",
            most=1.1,
            ratio_to="none waiting",
        ),
        Target("two objects a record", "10,000 waiting", "objects_a_record", most=2.01),
    ),
)
