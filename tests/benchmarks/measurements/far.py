"""A distant backend: latency and loss on the way, as between regions and between continents.

Distances are round trips; of each direction's packets 1 % are lost. Ours compresses there by default.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.benchmarks.adapters import BATCH, FLOOR, ONE_BY_ONE, System
from tests.benchmarks.distance import Distance
from tests.benchmarks.peers import BANYAN_SDK, LANGSMITH, OPENTELEMETRY, POSTHOG
from tests.benchmarks.plan import Case, Measurement, Row

_LOSS_PERCENT = 1.0
_OBSTACLE = "tests.benchmarks.distance:obstacle"
_BATCHING = (FLOOR, BATCH, OPENTELEMETRY, LANGSMITH, POSTHOG)
_RECORDS = {20: 2_000, 200: 500}  # by milliseconds: on a lossy way a connection carries some 90 KB/s at 200
_SINGLE_RECORDS = ((ONE_BY_ONE, {20: 1_000, 200: 200}), (BANYAN_SDK, {20: 100, 200: 20}))
_STREAM_RATE = 100.0
_STREAM_RECORDS = 500


def _case(system: System, milliseconds: int, function: str, **arguments: Any) -> Case:
    distant = replace(system.sink, distance=Distance(milliseconds, _LOSS_PERCENT))
    return Case.of(replace(system, sink=distant), f"tests.benchmarks.measure:{function}", **arguments)


def _burst(milliseconds: int) -> Measurement:
    records = [(system, _RECORDS[milliseconds]) for system in _BATCHING]
    records += [(system, counts[milliseconds]) for system, counts in _SINGLE_RECORDS]
    return Measurement(
        f"far-{milliseconds}",
        f"a burst, {milliseconds} ms away, {_LOSS_PERCENT:g} % loss",
        tuple(_case(system, milliseconds, "burst", records=count) for system, count in records),
        (
            Row("records_per_s", "records/s"),
            Row("elapsed_s", "delivered after, s"),
            Row("bytes", "bytes of bodies"),
            Row("cpu_s_per_10k", "CPU s per 10,000"),
        ),
        obstacle=_OBSTACLE,
    )


def _stream(milliseconds: int, *systems: System) -> Measurement:
    return Measurement(
        f"far-{milliseconds}-stream",
        f"a stream of {_STREAM_RATE:g}/s for {_STREAM_RECORDS / _STREAM_RATE:g} s, {milliseconds} ms away, "
        f"{_LOSS_PERCENT:g} % loss",
        tuple(
            _case(system, milliseconds, "paced", records=_STREAM_RECORDS, rate=_STREAM_RATE)
            for system in systems
        ),
        (Row("tail_s", "delivered after the last, s"), Row("caller_p99_us", "caller p99, µs")),
        repetitions=1,
        obstacle=_OBSTACLE,
    )


BURSTS = (_burst(20), _burst(200))
# banyan-sdk sends 5 records a second at 200 ms: its queue would grow for the rest of the day.
STREAMS = (
    _stream(20, *_BATCHING, ONE_BY_ONE, BANYAN_SDK),
    _stream(200, *_BATCHING, ONE_BY_ONE),
)
