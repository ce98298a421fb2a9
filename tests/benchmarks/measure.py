"""One measurement of one system, run as a child process of its own by `quick`; prints a line of JSON.

python -m tests.benchmarks.measure FACTORY URL {latency,burst} --records N [--rate R] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Sequence

from tests.benchmarks.adapters import Adapter, construct
from tests.benchmarks.workload import Record, make_records

Metrics = dict[str, float]


def latency(adapter: Adapter, records: Sequence[Record], rate: float) -> Metrics:
    """How long a caller waits for `log` when it logs at `rate` calls a second."""
    durations = []
    refused = 0
    started = time.perf_counter()
    for number, record in enumerate(records):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        before = time.perf_counter_ns()
        accepted = adapter.log(record)
        durations.append(time.perf_counter_ns() - before)
        refused += not accepted
    adapter.flush()
    return {**_caller(durations), "refused": refused}


def burst(adapter: Adapter, records: Sequence[Record]) -> Metrics:
    """How fast records are delivered that are logged as fast as can be, and what CPU time that takes."""
    durations = []
    refused = 0
    cpu_before = _cpu_seconds()
    started = time.perf_counter()
    for record in records:
        before = time.perf_counter_ns()
        accepted = adapter.log(record)
        durations.append(time.perf_counter_ns() - before)
        refused += not accepted
    adapter.flush()
    elapsed = time.perf_counter() - started
    cpu = _cpu_seconds() - cpu_before
    return {
        **_caller(durations),
        "refused": refused,
        "records_per_s": len(records) / elapsed,
        "cpu_s": cpu,
        "cpu_s_per_10k": cpu * 10_000 / len(records),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with `share` of all at or below it."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def _caller(durations_ns: Sequence[int]) -> Metrics:
    return {
        "caller_p50_us": percentile(durations_ns, 0.5) / 1_000,
        "caller_p99_us": percentile(durations_ns, 0.99) / 1_000,
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.measure", description=__doc__)
    parser.add_argument("factory")
    parser.add_argument("url")
    parser.add_argument("kind", choices=["latency", "burst"])
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    records = make_records(options.records, options.seed)
    adapter = construct(options.factory, options.url)
    if options.kind == "latency":
        metrics = latency(adapter, records, options.rate)
    else:
        metrics = burst(adapter, records)
    adapter.close()
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
