"""The caller while the backend is down, beside the same while it is up; no record may be lost."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.adapters import BATCH, System
from tests.benchmarks.measurements import paced
from tests.benchmarks.plan import Case, Measurement, Row, Target

DOWN = replace(BATCH, name="backend down", factory="tests.benchmarks.adapters:BanyanDown")


def _case(system: System, *, down: bool) -> Case:
    return Case.of(
        system,
        "tests.benchmarks.measure:paced",
        name="backend down" if down else "backend up",
        down=down,
        records=round(paced.RATE * paced.SECONDS),
        rate=paced.RATE,
    )


MEASUREMENT = Measurement(
    "down",
    "a paced caller while the backend is down",
    (_case(BATCH, down=False), _case(DOWN, down=True)),
    (Row("caller_p50_us", "caller p50, µs"), Row("caller_p99_us", "caller p99, µs")),
    (
        Target("p50 as with it up", "backend down", "caller_p50_us", most=1.1, ratio_to="backend up"),
        Target("p99 as with it up", "backend down", "caller_p99_us", most=1.25, ratio_to="backend up"),
    ),
)
