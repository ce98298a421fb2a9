"""What `log` costs at a steady pace: in requests, in a plain loop, on many threads at a time."""

from __future__ import annotations

import queue
from dataclasses import replace

from tests.benchmarks.adapters import BATCH, BATCH_PLAIN, FLOOR, ONE_BY_ONE, QUICK_SYSTEMS, System
from tests.benchmarks.peers import BANYAN_SDK, OPENTELEMETRY, PEERS
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.workload import Record

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

_DEFAULTS = replace(BATCH, options={})

PLAIN = Measurement(
    "paced-plain",
    f"a plain loop: {RATE:g} calls/s for {SECONDS:g} s, nothing but sleep between",
    tuple(
        Case.of(system, _FUNCTION, records=round(RATE * SECONDS), rate=RATE, busy=False)
        for system in (FLOOR, _DEFAULTS, BANYAN_SDK, OPENTELEMETRY)
    ),
    _ROWS,
    (
        Target("p50 at most banyan-sdk's", BATCH.name, "caller_p50_us", most=1, ratio_to=BANYAN_SDK.name),
        Target("p99 at most 4 x the floor's", BATCH.name, "caller_p99_us", most=4, ratio_to=FLOOR.name),
    ),
)

THREAD_RATE = 100.0
_THREAD_SECONDS = 5.0
_THREADS = (4, 16, 64)


class BareQueue:
    """A queue of the standard library, and no more: nobody takes anything out."""

    def __init__(self, _url: str, kind: str) -> None:
        self._put = getattr(queue, kind)().put

    def log(self, record: Record) -> bool:
        self._put(record)
        return True

    def flush(self) -> None:
        """Nothing is sent."""

    def close(self) -> None:
        """Nothing is open."""


def _on_threads(system: System, threads: int) -> Case:
    return Case.of(
        system,
        "tests.benchmarks.measure:paced_threads",
        name=_name(system, threads),
        records=round(threads * THREAD_RATE * _THREAD_SECONDS),
        rate=THREAD_RATE,
        threads=threads,
    )


def _name(system: System, threads: int) -> str:
    return f"{system.name}, {threads}"


def _bare(kind: str, threads: int) -> Case:
    bare = System(kind, f"{__name__}:BareQueue", options={"kind": kind})
    return replace(_on_threads(bare, threads), sink=None, records=None)


THREADS = Measurement(
    "threads-paced",
    f"threads that log {THREAD_RATE:g} records/s each for {_THREAD_SECONDS:g} s",
    tuple(
        case
        for threads in _THREADS
        for case in (
            _bare("SimpleQueue", threads),
            _bare("Queue", threads),
            _on_threads(_DEFAULTS, threads),
        )
    ),
    (
        Row("caller_p50_us", "caller p50, µs"),
        Row("caller_p99_us", "caller p99, µs"),
        Row("caller_p999_us", "caller p99.9, µs"),
    ),
    tuple(
        target
        for threads in _THREADS
        for target in (
            Target(
                f"{threads} threads: p99 at most 100 µs", _name(BATCH, threads), "caller_p99_us", most=100
            ),
            Target(
                f"{threads} threads: p99.9 at most 2 ms", _name(BATCH, threads), "caller_p999_us", most=2_000
            ),
        )
    ),
)

QUICK = Measurement("paced", "a paced caller", tuple(case(s, 2.0) for s in QUICK_SYSTEMS), _ROWS)
