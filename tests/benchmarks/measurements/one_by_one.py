"""One record a request, as the hosted backends take them: beside banyan-sdk, and with 50 ms a reply."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.adapters import ONE_BY_ONE
from tests.benchmarks.peers import BANYAN_SDK
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.sink import Mode

_BURST = "tests.benchmarks.measure:burst"
_PACED = "tests.benchmarks.measure:paced"
_DISTANT = Mode(one_by_one=True, latency_ms=50)
_SIXTEEN = replace(ONE_BY_ONE, sink=_DISTANT, options={**ONE_BY_ONE.options, "max_connections": 16})
_STREAM_RATE = 200.0
_STREAM_RECORDS = 2_000

MEASUREMENT = Measurement(
    "one-by-one",
    "a burst, one record a request",
    tuple(Case.of(system, _BURST, records=system.burst_records) for system in (BANYAN_SDK, ONE_BY_ONE)),
    (Row("records_per_s", "records/s"), Row("cpu_s_per_10k", "CPU s per 10,000")),
    (
        Target(
            "3 x banyan-sdk's records/s",
            ONE_BY_ONE.name,
            "records_per_s",
            least=3,
            ratio_to=BANYAN_SDK.name,
        ),
        Target(
            "a third of its CPU a record",
            ONE_BY_ONE.name,
            "cpu_s_per_10k",
            most=1 / 3,
            ratio_to=BANYAN_SDK.name,
        ),
    ),
)

DISTANT = Measurement(
    "distant",
    "one record a request, 50 ms a reply, 16 connections",
    (
        Case.of(replace(BANYAN_SDK, sink=_DISTANT), _BURST, records=60),
        Case.of(_SIXTEEN, _BURST, records=1_500),
    ),
    (Row("records_per_s", "records/s"),),
    (Target("150 records/s sustained", ONE_BY_ONE.name, "records_per_s", least=150),),
    repetitions=3,
)

STREAM = Measurement(
    "stream",
    f"a stream of {_STREAM_RATE:g}/s, one record a request, 50 ms a reply, 16 connections",
    (Case.of(_SIXTEEN, _PACED, records=_STREAM_RECORDS, rate=_STREAM_RATE),),
    (Row("tail_s", "delivered after the last, s"), Row("caller_p50_us", "caller p50, µs")),
    (Target("all delivered within a second of the last", ONE_BY_ONE.name, "tail_s", most=1),),
    repetitions=1,
)
