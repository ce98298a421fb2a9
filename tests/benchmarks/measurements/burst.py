"""20,000 records as fast as the caller can: its calls, records a second until all are delivered, CPU."""

from __future__ import annotations

from tests.benchmarks.adapters import BATCH, BATCH_PLAIN, FLOOR, QUICK_SYSTEMS, System
from tests.benchmarks.peers import BANYAN_SDK, LANGSMITH, OPENTELEMETRY, PEERS
from tests.benchmarks.plan import Case, Measurement, Row, Target

_FUNCTION = "tests.benchmarks.measure:burst"
_ROWS = (
    Row("caller_p50_us", "caller p50, µs"),
    Row("records_per_s", "records/s"),
    Row("cpu_s_per_10k", "CPU s per 10,000"),
    Row("requests", "requests"),
    Row("sink_busy", "sink's share of one CPU"),
)


def case(system: System) -> Case:
    return Case.of(system, _FUNCTION, records=system.burst_records)


_BATCHING_PEERS = tuple(peer for peer in PEERS if peer is not BANYAN_SDK)


def _beside(peer: System) -> Target:
    title = f"4 x the records/s of {peer.name}"
    return Target(title, BATCH.name, "records_per_s", least=4, ratio_to=peer.name)


def _cpu_beside(peer: System) -> Target:
    return Target(
        f"a fifth of the CPU of {peer.name}", BATCH.name, "cpu_s_per_10k", most=0.2, ratio_to=peer.name
    )


MEASUREMENT = Measurement(
    "burst",
    "a burst to a batch backend",
    tuple(case(system) for system in (FLOOR, BATCH, BATCH_PLAIN, *_BATCHING_PEERS)),
    _ROWS,
    (
        Target(
            "without orjson: 0.65 x the floor's records/s",
            BATCH_PLAIN.name,
            "records_per_s",
            least=0.65,
            ratio_to=FLOOR.name,
        ),
        Target(
            "without orjson: 1.6 x the floor's CPU",
            BATCH_PLAIN.name,
            "cpu_s_per_10k",
            most=1.6,
            ratio_to=FLOOR.name,
        ),
        Target("0.8 x the floor's records/s", BATCH.name, "records_per_s", least=0.8, ratio_to=FLOOR.name),
        Target("1.3 x the floor's CPU", BATCH.name, "cpu_s_per_10k", most=1.3, ratio_to=FLOOR.name),
        *(_beside(peer) for peer in (OPENTELEMETRY, LANGSMITH)),
        *(_cpu_beside(peer) for peer in (OPENTELEMETRY, LANGSMITH)),
    ),
)

QUICK = Measurement("burst", "a burst", tuple(case(system) for system in QUICK_SYSTEMS), _ROWS)
