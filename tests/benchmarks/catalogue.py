"""All measurements, in the order in which `make bench` makes them."""

from __future__ import annotations

from tests.benchmarks.measurements import (
    application,
    burst,
    collector,
    compression,
    down,
    far,
    growth,
    idle,
    imports,
    memory,
    one_by_one,
    otlp,
    paced,
    prompts,
    put,
    size,
    stats,
    tls,
    web,
)
from tests.benchmarks.plan import Measurement

QUICK = (paced.QUICK, burst.QUICK)
ALL: tuple[Measurement, ...] = (
    paced.MEASUREMENT,
    paced.PLAIN,
    paced.THREADS,
    burst.MEASUREMENT,
    put.MEASUREMENT,
    otlp.MEASUREMENT,
    size.MEASUREMENT,
    down.MEASUREMENT,
    one_by_one.MEASUREMENT,
    one_by_one.DISTANT,
    one_by_one.STREAM,
    *far.BURSTS,
    *far.STREAMS,
    tls.BATCHES,
    tls.SINGLE,
    tls.CONNECTIONS,
    compression.MEASUREMENT,
    memory.MEASUREMENT,
    memory.OUTAGE,
    idle.MEASUREMENT,
    stats.MEASUREMENT,
    imports.MEASUREMENT,
    prompts.MEASUREMENT,
    web.MEASUREMENT,
    collector.MEASUREMENT,
    growth.MEASUREMENT,
    growth.THREADS,
    growth.SIZES,
    application.MEASUREMENT,
)
OTHERS = ("tests.benchmarks.spool", "tests.benchmarks.tracking")
"""Programs with a report of their own, run at the end where they exist; they exit with 1 on a failure."""
