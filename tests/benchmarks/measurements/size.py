"""A large record beside a small one with the same keys: what the caller pays for bytes."""

from __future__ import annotations

from tests.benchmarks.adapters import BATCH
from tests.benchmarks.plan import Case, Measurement, Row, Target

_FUNCTION = "tests.benchmarks.measure:paced"
_SIZES = {"1 KB": 500, "100 KB": 99_000}

MEASUREMENT = Measurement(
    "size",
    "a paced caller with small and with large records, 100 calls/s",
    tuple(
        Case.of(BATCH, _FUNCTION, name=name, records=200, rate=100.0, characters=characters)
        for name, characters in _SIZES.items()
    ),
    (Row("caller_p50_us", "caller p50, µs"), Row("caller_p99_us", "caller p99, µs")),
    (Target("p50 at most 1.3 x the small one's", "100 KB", "caller_p50_us", most=1.3, ratio_to="1 KB"),),
)
