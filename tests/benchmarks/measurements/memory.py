"""Memory while nothing can be delivered: a burst against a backend that hangs, and a long outage.

The records are made while they are logged, so that what grows is what the library keeps.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from tests.benchmarks.adapters import BanyanDown
from tests.benchmarks.measure import Metrics
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.process import MB, forget_peak, peak_bytes, resident_bytes
from tests.benchmarks.sink import Mode
from tests.benchmarks.workload import stream_records

MIB = 1024 * 1024
_QUEUE_BYTES = 64 * MIB
_SPOOL_CAP = 64 * MIB
_CHUNK = 10_000
OFFERS = int(os.environ.get("BENCH_OFFERS", "1000000"))
"""Of the long outage."""


def hang(url: str, records: int, queue_size: int, seed: int = 0) -> Metrics:
    """Peak memory of a burst that a hanging backend doesn't take; nothing may be lost."""
    adapter = BanyanDown(url, queue_size=queue_size, queue_bytes=_QUEUE_BYTES)
    made = stream_records(records, seed)
    before = _settled_bytes()
    for record in made:
        adapter.log(record)
    peak = peak_bytes() - before
    adapter.check()
    adapter.close()
    return {"peak_mb": peak / MB, "beyond_queue_bytes_mb": max(0.0, (peak - _QUEUE_BYTES) / MB)}


def outage(url: str, records: int, seed: int = 0) -> Metrics:
    """Peak memory and disk of a long outage; what is lost is what the spool's cap says, and it is counted."""
    adapter = BanyanDown(url, spool_max_bytes=_SPOOL_CAP)
    made = stream_records(records, seed)
    before = _settled_bytes()
    disk = 0
    half_way = 0
    started = time.perf_counter()
    for number, record in enumerate(made, 1):
        adapter.log(record)
        if number % _CHUNK == 0:
            disk = max(disk, _spool_bytes())
        if number == records // 2:
            half_way = peak_bytes()
    elapsed = time.perf_counter() - started
    peak = peak_bytes()
    stats = adapter.logger.get_stats()
    dropped = sum(stats["drops"].values())
    adapter.logger.shutdown(timeout=1)
    kept = stats["logs_spooled"] + stats["queue_size"] + stats["in_flight"]
    return {
        "peak_mb": (peak - before) / MB,
        "second_half_mb": (peak - half_way) / MB,
        "spool_mb": disk / MB,
        "spool_beyond_cap_mb": max(0.0, (disk - _SPOOL_CAP) / MB),
        "unaccounted": records - kept - dropped,
        "dropped": dropped,
        "offers_per_s": records / elapsed,
    }


def _settled_bytes() -> int:
    gc.collect()
    forget_peak()
    return resident_bytes()


def _spool_bytes() -> int:
    return sum(_size(path) for path in Path(os.environ["BANYAN_HP_SPOOL_DIR"]).rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _hanging(name: str, queue_size: int) -> Case:
    arguments = {"records": 100_000, "queue_size": queue_size}
    return Case(name, f"{__name__}:hang", arguments, Mode(hang=True))


MEASUREMENT = Measurement(
    "memory",
    "memory: a burst of 100,000 records while the backend hangs",
    (_hanging("queue_size default", 10_000), _hanging("bounded by bytes", 1_000_000)),
    (Row("peak_mb", "peak over the start, MB"), Row("beyond_queue_bytes_mb", "beyond queue_bytes, MB")),
    tuple(
        Target(f"{case}: inside queue_bytes + 20 MB", case, "beyond_queue_bytes_mb", most=20)
        for case in ("queue_size default", "bounded by bytes")
    ),
)

OUTAGE = Measurement(
    "outage",
    f"a long outage: {OFFERS:,} offers, a spool of {_SPOOL_CAP // MIB} MiB",
    (Case("backend down", f"{__name__}:outage", {"records": OFFERS}),),
    (
        Row("peak_mb", "peak over the start, MB"),
        Row("second_half_mb", "of it in the second half, MB"),
        Row("spool_mb", "spool at its most, MB"),
        Row("dropped", "dropped by the cap, counted"),
        Row("offers_per_s", "offers/s"),
    ),
    (
        Target("memory inside queue_bytes + 20 MB", "backend down", "peak_mb", most=_QUEUE_BYTES / MB + 20),
        Target("nothing grows in the second half (5 MB)", "backend down", "second_half_mb", most=5),
        Target("the spool inside its cap (+ 1 MB)", "backend down", "spool_beyond_cap_mb", most=1),
        Target("every record accounted for", "backend down", "unaccounted", most=0),
    ),
    repetitions=1,
)
