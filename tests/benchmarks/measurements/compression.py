"""What compressing a batch costs and saves: gzip's levels and zstd's, on a batch of the workload.

zstd is measured for comparison only; nothing sends it.
"""

from __future__ import annotations

import gzip
import importlib
import json
import time
from collections.abc import Callable

from tests.benchmarks.measure import Metrics
from tests.benchmarks.plan import Case, Measurement, Row
from tests.benchmarks.workload import make_records

_RECORDS = 500  # of a batch, by default
_TIMES = 15


def compress(url: str, way: str, level: int, seed: int = 0) -> Metrics:
    """CPU for a megabyte of body, the least of some times, and the share of it that is left."""
    records = [{"id": str(number), "body": body} for number, body in enumerate(make_records(_RECORDS, seed))]
    body = json.dumps({"records": records}, separators=(",", ":")).encode()
    squeeze = _gzip(level) if way == "gzip" else _zstd(level)
    megabytes = len(body) / 1e6
    least = min(_cpu_seconds(squeeze, body) for _ in range(_TIMES)) / megabytes
    left = len(squeeze(body)) / len(body)
    return {"cpu_ms_per_mb": least * 1_000, "left": left, "mb_saved_per_cpu_s": (1 - left) / least}


def _gzip(level: int) -> Callable[[bytes], bytes]:
    return lambda body: gzip.compress(body, level, mtime=0)


def _zstd(level: int) -> Callable[[bytes], bytes]:
    compressor = importlib.import_module("zstandard").ZstdCompressor(level)
    return lambda body: bytes(compressor.compress(body))


def _cpu_seconds(squeeze: Callable[[bytes], bytes], body: bytes) -> float:
    before = time.process_time()
    squeeze(body)
    return time.process_time() - before


MEASUREMENT = Measurement(
    "compression",
    f"a batch of {_RECORDS} records, compressed",
    tuple(
        Case(f"{way} -{level}", f"{__name__}:compress", {"way": way, "level": level})
        for way, levels in (("gzip", range(1, 10)), ("zstd", (1, 3, 6)))
        for level in levels
    ),
    (
        Row("cpu_ms_per_mb", "CPU ms a MB"),
        Row("left", "size left"),
        Row("mb_saved_per_cpu_s", "MB saved a CPU second"),
    ),
)
