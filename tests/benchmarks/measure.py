"""How long a caller waits, and how fast its records are delivered: the functions behind most measurements.

They run in a process of their own (`calls`), and return numbers by name.
"""

from __future__ import annotations

import json
import math
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.benchmarks.adapters import Adapter, construct
from tests.benchmarks.workload import Record, make_records

Metrics = dict[str, float]

_DOCUMENT = json.dumps([{"number": number, "text": "words " * 8} for number in range(300)])
_ALL_RUN_SECONDS = 0.2
_MEMORY = bytearray(4 << 20)  # more than a core's own caches hold


def paced(
    url: str,
    factory: str,
    options: Mapping[str, Any],
    records: int,
    rate: float,
    seed: int = 0,
    characters: int | None = None,
    *,
    busy: bool = True,
) -> Metrics:
    """What `log` costs a caller that does something else between two calls, `rate` times a second.

    `busy`: it serves a request; else it only sleeps.
    """
    adapter = construct(factory, url, options)
    made = make_records(records, seed, characters)
    durations = []
    refused = 0
    started = time.perf_counter()
    for number, record in enumerate(made):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        if busy:
            _serve_a_request()
        before = time.perf_counter_ns()
        accepted = adapter.log(record)
        durations.append(time.perf_counter_ns() - before)
        refused += not accepted
    last = time.perf_counter()
    adapter.flush()
    tail = time.perf_counter() - last
    adapter.close()
    return {**_caller(durations), "refused": refused, "tail_s": tail}


def burst(
    url: str,
    factory: str,
    options: Mapping[str, Any],
    records: int,
    seed: int = 0,
    characters: int | None = None,
    threads: int = 1,
) -> Metrics:
    """How fast records are delivered that are logged as fast as can be, and what CPU time that takes."""
    made = make_records(records, seed, characters)
    adapter = construct(factory, url, options)
    cpu_before = _cpu_seconds()
    started = time.perf_counter()
    durations, refused = _log_all(adapter, made, threads)
    adapter.flush()
    elapsed = time.perf_counter() - started
    cpu = _cpu_seconds() - cpu_before
    adapter.close()
    return {
        **_caller(durations),
        "refused": refused,
        "elapsed_s": elapsed,
        "records_per_s": records / elapsed,
        "cpu_s_per_10k": cpu * 10_000 / records,
    }


def paced_threads(
    url: str,
    factory: str,
    options: Mapping[str, Any],
    records: int,
    rate: float,
    threads: int,
    seed: int = 0,
) -> Metrics:
    """What `log` costs when so many threads call it, each `rate` times a second and at a time of its own."""
    adapter = construct(factory, url, options)
    made = make_records(records, seed)
    started = time.perf_counter() + _ALL_RUN_SECONDS

    def work(mine: Sequence[Record], late: float) -> tuple[list[int], int]:
        durations, refused = [], 0
        for number, record in enumerate(mine):
            time.sleep(max(0.0, started + late + number / rate - time.perf_counter()))
            before = time.perf_counter_ns()
            accepted = adapter.log(record)
            durations.append(time.perf_counter_ns() - before)
            refused += not accepted
        return durations, refused

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, *zip(*_shares(made, threads, rate), strict=True)))
    adapter.flush()
    adapter.close()
    durations = [duration for one, _ in results for duration in one]
    return {**_caller(durations), "refused": sum(refused for _, refused in results)}


def _shares(records: Sequence[Record], threads: int, rate: float) -> list[tuple[Sequence[Record], float]]:
    """For each thread: its records, and how late it begins."""
    return [(records[n::threads], n / threads / rate) for n in range(threads)]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with `share` of all at or below it."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def _serve_a_request() -> None:
    """Parse, allocate and walk through memory, as a request would: the next call finds its caches cold."""
    json.loads(_DOCUMENT)
    _MEMORY.count(1)


def _log_all(adapter: Adapter, records: Sequence[Record], threads: int) -> tuple[list[int], int]:
    """The duration of each call, and how many were refused."""
    if threads == 1:
        return _log(adapter, records)
    results: list[tuple[list[int], int]] = []
    start = threading.Barrier(threads)

    def work(mine: Sequence[Record]) -> None:
        start.wait()
        results.append(_log(adapter, mine))

    workers = [threading.Thread(target=work, args=(records[n::threads],)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [duration for durations, _ in results for duration in durations], sum(r for _, r in results)


def _log(adapter: Adapter, records: Sequence[Record]) -> tuple[list[int], int]:
    durations = []
    refused = 0
    for record in records:
        before = time.perf_counter_ns()
        accepted = adapter.log(record)
        durations.append(time.perf_counter_ns() - before)
        refused += not accepted
    return durations, refused


def _caller(durations_ns: Sequence[int]) -> Metrics:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
    return {f"caller_{name}_us": percentile(durations_ns, share) / 1_000 for name, share in shares.items()}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
