"""The quick benchmark: the library beside a hand-written floor, done within a minute.

Every measurement runs in a fresh process; the systems take turns. What it means: README.md beside this file.
Exit status 1 when any record is missing or any measurement failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.adapters import SYSTEMS, System
from tests.benchmarks.sink import ROOT, Mode, Sink

RATE = 500.0
_MEASUREMENT_SECONDS = 100.0
_ROWS = (
    ("latency", "caller_p50_us", "paced: caller p50, µs"),
    ("latency", "caller_p99_us", "paced: caller p99, µs"),
    ("burst", "caller_p50_us", "burst: caller p50, µs"),
    ("burst", "records_per_s", "burst: records/s"),
    ("burst", "requests", "burst: requests"),
    ("burst", "cpu_s", "burst: CPU s"),
    ("burst", "cpu_s_per_10k", "burst: CPU s per 10,000"),
)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often; the first system is the one that the others are compared with."""

    systems: tuple[System, ...] = SYSTEMS
    repetitions: int = 3
    seconds: float = 3.0


@dataclass(frozen=True)
class Run:
    """One measurement in one process."""

    system: str
    kind: str
    repetition: int
    records: int
    metrics: dict[str, float]
    failure: str | None


def run(plan: Plan) -> list[Run]:
    """Measure everything, one after the other."""
    with ExitStack() as stack:
        modes = {system.sink for system in plan.systems}
        sinks = {mode: stack.enter_context(Sink(mode)) for mode in modes}
        return list(_runs(plan, sinks))


def _runs(plan: Plan, sinks: dict[Mode, Sink]) -> Iterator[Run]:
    for repetition in range(plan.repetitions):
        for kind in ("latency", "burst"):
            for system in plan.systems:
                count = system.burst_records if kind == "burst" else round(plan.seconds * RATE)
                yield _run_one(system, sinks[system.sink], kind, repetition, count)


def _run_one(system: System, sink: Sink, kind: str, repetition: int, count: int) -> Run:
    sink.reset()
    metrics: dict[str, float] = {}
    failure: str | None = None
    try:
        metrics = _measure(system, sink.url, kind, count, seed=repetition)
    except subprocess.TimeoutExpired:
        failure = f"not done within {_MEASUREMENT_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        failure = _last_line(error.stderr)  # the end of its traceback
    received = sink.stats()
    missing = count - received.distinct
    if failure is None and missing:
        failure = f"{missing} of {count} records missing ({metrics['refused']:.0f} refused by log)"
    metrics |= {"requests": received.requests, "bytes": received.bytes}
    return Run(system.name, kind, repetition, count, metrics, failure)


def _measure(system: System, url: str, kind: str, count: int, *, seed: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.measure", system.factory, url, kind]
    command += ["--records", str(count), "--rate", str(RATE), "--seed", str(seed)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=_MEASUREMENT_SECONDS,
    )
    metrics: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return metrics


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "failed without a word"


# The report


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpus": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }


def report(plan: Plan, runs: Sequence[Run], command: str) -> str:
    """A table of medians (minimum–maximum) and their ratios to the first system."""
    first = plan.systems[0].name
    lines = [
        "{cpus} CPUs, {python}, {platform}".format(**machine()),
        command,
        f"medians (min–max) of {plan.repetitions}, each in its own process; paced: {RATE:g} calls/s for "
        f"{plan.seconds:g} s; burst of " + ", ".join(f"{s.burst_records:,} ({s.name})" for s in plan.systems),
        "",
        f"{'':<25}{'system':<22}{'median (min–max)':<34}{'x ' + first:>8}",
    ]
    for row in _ROWS:
        lines += _rows(plan, runs, *row)
    return "\n".join([*lines, *_failures(runs)])


def _rows(plan: Plan, runs: Sequence[Run], kind: str, metric: str, label: str) -> Iterator[str]:
    floor = _values(runs, plan.systems[0].name, kind, metric)
    for system in plan.systems:
        yield _row(label, system.name, _values(runs, system.name, kind, metric), floor)
        label = ""


def _values(runs: Sequence[Run], system: str, kind: str, metric: str) -> list[float]:
    """Of one metric in all repetitions; none where any of them failed, as the rest would flatter."""
    mine = [run for run in runs if (run.system, run.kind) == (system, kind)]
    return [] if any(run.failure for run in mine) else [run.metrics[metric] for run in mine]


def _row(label: str, system: str, values: list[float], floor: list[float]) -> str:
    if not values:
        return f"{label:<25}{system:<22}FAILED"
    median = statistics.median(values)
    shown = f"{_figure(median)} ({_figure(min(values))}–{_figure(max(values))})"
    ratio = f"{median / statistics.median(floor):.2f}" if floor else "–"
    return f"{label:<25}{system:<22}{shown:<34}{ratio:>8}"


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _failures(runs: Sequence[Run]) -> list[str]:
    return [
        f"FAILED {run.system}, {run.kind} {run.repetition + 1}: {run.failure}" for run in runs if run.failure
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    chosen = tuple(s for s in SYSTEMS if not options.system or s.name in options.system)
    plan = Plan(chosen, options.repetitions, options.seconds)
    command = shlex.join(["python", "-m", "tests.benchmarks.quick", *arguments])
    runs = run(plan)
    print(report(plan, runs, command))
    if options.json:
        options.json.write_text(_as_json(plan, runs, command), encoding="utf-8")
    return 1 if _failures(runs) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quick", description=__doc__)
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--system", action="append", choices=names, help="only this one (may be repeated)")
    parser.add_argument("--repetitions", type=int, default=Plan.repetitions)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="of the paced measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result, too")
    return parser


def _as_json(plan: Plan, runs: Sequence[Run], command: str) -> str:
    results = {
        "command": command,
        "machine": machine(),
        "plan": asdict(plan),
        "runs": [asdict(r) for r in runs],
    }
    return json.dumps(results, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
