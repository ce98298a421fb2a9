"""The caller in a burst beside a bare `SimpleQueue.put`, both timed call by call and in the same process."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from typing import Any

from tests.benchmarks.adapters import BATCH
from tests.benchmarks.measure import Metrics, burst, percentile
from tests.benchmarks.plan import Case, Measurement, Row, Target


def beside_a_put(url: str, factory: str, options: Mapping[str, Any], records: int, seed: int = 0) -> Metrics:
    """A burst's median call, and how many bare puts that is."""
    put_us = _put_us()
    caller_us = burst(url, factory, options, records, seed)["caller_p50_us"]
    return {"put_us": put_us, "caller_p50_us": caller_us, "puts": caller_us / put_us}


def _put_us() -> float:
    """Timed as the burst's calls are: the clock's own cost is in both."""
    target: queue.SimpleQueue[object] = queue.SimpleQueue()
    durations = []
    for _ in range(20_000):
        before = time.perf_counter_ns()
        target.put(None)
        durations.append(time.perf_counter_ns() - before)
    return percentile(durations, 0.5) / 1_000


MEASUREMENT = Measurement(
    "put",
    "a burst's caller beside a bare SimpleQueue.put",
    (Case.of(BATCH, f"{__name__}:beside_a_put", records=BATCH.burst_records),),
    (
        Row("put_us", "SimpleQueue.put, µs"),
        Row("caller_p50_us", "caller p50, µs"),
        Row("puts", "caller p50 in puts"),
    ),
    (Target("p50 at most 40 puts (4 µs where one is 0.1 µs)", BATCH.name, "puts", most=40),),
)
