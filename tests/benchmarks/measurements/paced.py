"""What `log` costs a request: 500 calls a second, other work between, beside every peer and the floor."""

from __future__ import annotations

from tests.benchmarks.adapters import BATCH, BATCH_PLAIN, FLOOR, ONE_BY_ONE, QUICK_SYSTEMS, System
from tests.benchmarks.peers import BANYAN_SDK, PEERS
from tests.benchmarks.plan import Case, Measurement, Row, Target

RATE = 500.0
SECONDS = 3.0
_FUNCTION = "tests.benchmarks.measure:paced"
_ROWS = (
    Row("caller_p50_us", "caller p50, µs"),
    Row("caller_p95_us", "caller p95, µs"),
    Row("caller_p99_us", "caller p99, µs"),
    Row("caller_p999_us", "caller p99.9, µs"),
)


def case(system: System, seconds: float = SECONDS) -> Case:
    return Case.of(system, _FUNCTION, records=round(RATE * seconds), rate=RATE)


MEASUREMENT = Measurement(
    "paced",
    f"a paced caller: {RATE:g} calls/s for {SECONDS:g} s, cold caches",
    tuple(case(system) for system in (FLOOR, BATCH, BATCH_PLAIN, ONE_BY_ONE, *PEERS)),
    _ROWS,
    (
        Target("p50 at most 4 x the floor's", BATCH.name, "caller_p50_us", most=4, ratio_to=FLOOR.name),
        Target("p50 below banyan-sdk's", BATCH.name, "caller_p50_us", most=1, ratio_to=BANYAN_SDK.name),
        Target("p99 at most 4 x the floor's", BATCH.name, "caller_p99_us", most=4, ratio_to=FLOOR.name),
    ),
)

QUICK = Measurement("paced", "a paced caller", tuple(case(s, 2.0) for s in QUICK_SYSTEMS), _ROWS)
