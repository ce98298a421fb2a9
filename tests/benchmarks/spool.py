"""The on-disk queue: what write-ahead costs a caller, how fast records are spilled and replayed.

    python -m tests.benchmarks.spool [--records N] [--repetitions N]

Each measurement is a process of its own. Exit status 1 when a record is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from banyan_hp import PromptStackLogger
from banyan_hp.engine.engine import Engine
from tests.benchmarks.measure import percentile
from tests.benchmarks.sink import ROOT, Mode, Sink
from tests.benchmarks.workload import make_records
from tests.support.parts import part_of

_DEADLINE_SECONDS = 120.0
_NOWHERE = "http://127.0.0.1:9"  # nothing listens on the port of "discard"
Metrics = dict[str, float]


def _logger(url: str, directory: Path, **options: Any) -> PromptStackLogger:
    settings: dict[str, Any] = {
        "retry_delay": 0.05,
        "flush_interval": 0.05,
        "spool_max_bytes": 2**33,
        **options,
    }
    return PromptStackLogger("psk_bench", url, spool_dir=directory, batching="always", **settings | options)


def _durations(url: str, directory: Path, count: int, **options: Any) -> Metrics:
    """Microseconds a call, at a rate that the worker keeps up with."""
    logger = _logger(url, directory, queue_size=count + 1, **options)
    durations = []
    for record in make_records(count):
        before = time.perf_counter_ns()
        assert logger.log_prompt(**record)
        durations.append((time.perf_counter_ns() - before) / 1000)
        time.sleep(0.0005)
    assert logger.flush(_DEADLINE_SECONDS)
    logger.shutdown(_DEADLINE_SECONDS)
    return {"p50_us": percentile(durations, 0.5), "p99_us": percentile(durations, 0.99)}


def memory(url: str, directory: Path, count: int) -> Metrics:
    """`durability="memory"`: the floor."""
    return _durations(url, directory, count)


def disk(url: str, directory: Path, count: int) -> Metrics:
    """`durability="disk"`: one write before each call returns."""
    return _durations(url, directory, count, durability="disk")


def spill(_url: str, directory: Path, count: int) -> Metrics:
    """Records are logged and brought to disk while nobody answers: the calls count, too."""
    logger = _logger(_NOWHERE, directory, queue_size=count + 1, max_retries=0, flush_interval=600.0)
    records = make_records(count)
    began = time.perf_counter()
    for record in records:
        assert logger.log_prompt(**record)
    logger.shutdown(_DEADLINE_SECONDS)
    seconds = time.perf_counter() - began
    stats = logger.get_stats()
    assert stats["logs_spooled"] == count, stats
    return {"records_per_s": count / seconds}


def replay(url: str, directory: Path, count: int) -> Metrics:
    """What an earlier process left, from the page cache to the backend."""
    logger = _logger(_NOWHERE, directory, queue_size=count + 1, max_retries=0, flush_interval=600.0)
    for record in make_records(count):
        assert logger.log_prompt(**record)
    logger.shutdown(_DEADLINE_SECONDS)
    where = next((directory / "spool").iterdir())
    successor = _logger(url, directory)
    here = part_of(successor, Engine).core.parts.spool
    assert here is not None
    where.rename(here.directory)  # the same records, for the backend that answers
    began = time.perf_counter()
    assert successor.log_prompt(input="the one that starts the worker", output="a")
    deadline = began + _DEADLINE_SECONDS
    while successor.get_stats()["logs_recovered"] < count and time.perf_counter() < deadline:
        time.sleep(0.005)  # the replay is what is being measured
    seconds = time.perf_counter() - began
    assert successor.get_stats()["logs_recovered"] == count, successor.get_stats()
    successor.shutdown(_DEADLINE_SECONDS)
    return {"records_per_s": count / seconds}


MEASUREMENTS: dict[str, Callable[[str, Path, int], Metrics]] = {
    "memory": memory,
    "disk": disk,
    "spill": spill,
    "replay": replay,
}


def _measure_in_a_process(name: str, url: str, count: int) -> Metrics:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.spool",
        "--measure",
        name,
        url,
        "--records",
        str(count),
    ]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    metrics: Metrics = json.loads(done.stdout)
    return metrics


def _report(name: str, runs: list[Metrics]) -> None:
    for metric in runs[0]:
        values = sorted(run[metric] for run in runs)
        print(
            f"{name:8} {metric:14} {statistics.median(values):12,.1f}   {values[0]:,.1f} to {values[-1]:,.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.spool", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--measure", nargs=2, metavar=("NAME", "URL"), help="one measurement, in this process"
    )
    options = parser.parse_args()
    if options.measure is not None:
        name, url = options.measure
        with tempfile.TemporaryDirectory(prefix="banyan-hp-spool-") as directory:
            print(json.dumps(MEASUREMENTS[name](url, Path(directory), options.records)))
        return
    with Sink(Mode()) as sink:
        for name in MEASUREMENTS:
            count = options.records if name in ("spill", "replay") else min(options.records, 4_000)
            runs = []
            for _ in range(options.repetitions):
                sink.reset()
                runs.append(_measure_in_a_process(name, sink.url, count))
                expected = 0 if name == "spill" else count  # the one that starts the worker has no number
                received = sink.stats().distinct
                if received != expected:
                    sys.exit(f"{name}: {received} records at the backend, {expected} expected")
            _report(name, runs)


if __name__ == "__main__":
    main()
