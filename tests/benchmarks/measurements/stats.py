"""`get_stats()`: its cost at rest, and its longest wait while the worker is busy with the disk."""

from __future__ import annotations

import statistics
import threading
import time
import timeit

from tests.benchmarks.adapters import BATCH, BanyanAdapter, BanyanDown
from tests.benchmarks.measure import Metrics, percentile
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.workload import make_records

_CALLS = 2_000


def at_rest(url: str, seed: int = 0) -> Metrics:
    """The median of 50 rounds of calls in a row."""
    adapter = BanyanAdapter(url)
    for record in make_records(200, seed):
        adapter.log(record)
    adapter.flush()
    rounds = timeit.repeat(adapter.logger.get_stats, repeat=50, number=_CALLS // 50)
    adapter.close()
    return {"stats_us": statistics.median(rounds) / (_CALLS // 50) * 1e6}


def while_spilling(url: str, seed: int = 0) -> Metrics:
    """Single calls, while another thread logs to a backend that is down and the records go to disk."""
    adapter = BanyanDown(url, queue_size=1_000)
    records = make_records(20_000, seed)
    logging = threading.Thread(target=lambda: [adapter.log(record) for record in records])
    logging.start()
    durations: list[float] = []
    while logging.is_alive():
        before = time.perf_counter_ns()
        adapter.logger.get_stats()
        durations.append((time.perf_counter_ns() - before) / 1_000)
        time.sleep(0.0005)
    logging.join()
    adapter.close()
    return {"stats_us": percentile(durations, 0.5), "stats_p99_us": percentile(durations, 0.99)}


MEASUREMENT = Measurement(
    "stats",
    "get_stats()",
    (
        Case("at rest", f"{__name__}:at_rest", sink=BATCH.sink),
        Case("while spilling to disk", f"{__name__}:while_spilling"),
    ),
    (Row("stats_us", "median, µs"), Row("stats_p99_us", "p99, µs")),
    (Target("under 5 µs at rest", "at rest", "stats_us", most=5),),
)
