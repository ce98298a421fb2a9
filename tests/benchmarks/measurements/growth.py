"""How cost grows with the number of records, the threads that log, and the size of a record."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.adapters import BATCH
from tests.benchmarks.plan import Case, Measurement, Row, Target

_FUNCTION = "tests.benchmarks.measure:burst"
_COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_THREADS = (1, 4, 16, 64)
_SIZES = {"0.2 KB": 50, "1.5 KB": 800, "10 KB": 9_500, "100 KB": 99_000, "1 MB": 990_000}
_RECORDS_OF_SIZE = {"100 KB": 300, "1 MB": 40}
# Everything in memory, whatever the number and size: what is measured is the queue, not the spool.
_ROOMY = replace(BATCH, options={"queue_size": 1_100_000, "queue_bytes": 8 * 1024**3})
_CALLER = (Row("caller_p50_us", "caller p50, µs"), Row("caller_p99_us", "caller p99, µs"))
_ALL = (*_CALLER, Row("cpu_s_per_10k", "CPU s per 10,000"))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


MEASUREMENT = Measurement(
    "counts",
    "growth: records in one burst",
    tuple(Case.of(_ROOMY, _FUNCTION, name=f"{count:,}", records=count) for count in _COUNTS),
    _ALL,
    (
        Target(
            "caller flat from 1,000 to 1,000,000", "1,000,000", "caller_p50_us", most=1.3, ratio_to="1,000"
        ),
        Target(
            "CPU a record flat from 10,000 on",
            "1,000,000",
            "cpu_s_per_10k",
            most=1.2,
            ratio_to="10,000",
        ),
    ),
    repetitions=3,
)

THREADS = Measurement(
    "threads",
    "growth: threads that log 20,000 records as fast as they can",
    tuple(
        Case.of(_ROOMY, _FUNCTION, name=_threads(threads), records=20_000, threads=threads)
        for threads in _THREADS
    ),
    _ALL,
    (Target("p99 below 1 ms at 16 threads", "16 threads", "caller_p99_us", most=1_000),),
)

SIZES = Measurement(
    "sizes",
    "growth: the size of a record",
    tuple(
        Case.of(
            _ROOMY,
            _FUNCTION,
            name=name,
            records=_RECORDS_OF_SIZE.get(name, 2_000),
            characters=characters,
        )
        for name, characters in _SIZES.items()
    ),
    _ALL,
)
