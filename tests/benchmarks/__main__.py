"""The benchmarks: every measurement beside the floor and the peers, with the targets they have.

Each call is made in a fresh process; the cases of a measurement take turns. What it means: README.md beside
this file. Exit status 1 when any record is missing or any case failed; a missed target is reported, and
fails nothing: a noisy machine misses some.

    python -m tests.benchmarks [--quick] [--only NAME …] [--repetitions N] [--json FILE] [--history FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.benchmarks import distance, history, report
from tests.benchmarks.adapters import find
from tests.benchmarks.catalogue import ALL, OTHERS, QUICK
from tests.benchmarks.measurements import application, far, imports
from tests.benchmarks.plan import Measurement
from tests.benchmarks.runner import Backends, Run, run
from tests.benchmarks.sink import ROOT

_NOTES = {
    imports.MEASUREMENT.name: imports.notes,
    **{measurement.name: distance.means for measurement in (*far.BURSTS, *far.STREAMS)},
}


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    measurements, others = _chosen(options.quick, options.only)
    if application.MEASUREMENT in measurements and (missing := application.missing_tool()):
        raise SystemExit(missing)
    command = shlex.join(["python", "-m", "tests.benchmarks", *arguments])
    machine = report.machine()
    print(report.headline(command, machine))
    results = _measure_all(measurements, options.repetitions)
    failed = [line for measurement, runs, _ in results for line in report.failures(measurement, runs)]
    failed += [f"FAILED {module}" for module in others if not _run_other(module)]
    print(_summary(results, failed))
    if options.json:
        options.json.write_text(_as_json(command, machine, results, failed), encoding="utf-8")
    if options.history:
        measured = [(measurement, runs) for measurement, runs, _ in results]
        history.append(options.history, history.entry(machine, measured))
    return 1 if failed else 0


_Result = tuple[Measurement, list[Run], float]
"""With the seconds it took."""


def _measure_all(measurements: Sequence[Measurement], repetitions: int | None) -> list[_Result]:
    results = []
    with Backends() as available:
        for measurement in measurements:
            obstacle = find(measurement.obstacle)() if measurement.obstacle else None
            if obstacle:
                print(f"\n## {measurement.title}\n\nSKIPPED: {obstacle}", flush=True)
                continue
            started = time.monotonic()
            runs = run(measurement, available, repetitions=repetitions)
            took = time.monotonic() - started
            print(f"\n{report.table(measurement, runs)}\n\n({took:.0f} s)", flush=True)
            if measurement.name in _NOTES:
                print(f"\n{_NOTES[measurement.name]()}")
            results.append((measurement, runs, took))
    return results


def _chosen(quick: bool, only: Sequence[str] | None) -> tuple[Sequence[Measurement], Sequence[str]]:
    if quick:
        return QUICK, ()
    others = [module for module in OTHERS if importlib.util.find_spec(module)]
    if not only:
        return ALL, others
    return (
        [measurement for measurement in ALL if measurement.name in only],
        [module for module in others if _short(module) in only],
    )


def _run_other(module: str) -> bool:
    print(f"\n## {_short(module)}\n", flush=True)
    return subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=False).returncode == 0


def _summary(results: Sequence[_Result], failed: Sequence[str]) -> str:
    verdicts = [
        (measurement, verdict)
        for measurement, runs, _ in results
        for verdict in report.judge(measurement, runs)
    ]
    count = sum(verdict.met for _, verdict in verdicts)
    met = f"{count} of {len(verdicts)} targets met, " if verdicts else ""
    lines = [f"\n## {met}done in {sum(seconds for _, _, seconds in results):.0f} s", ""]
    lines += [report.verdict_line(verdict, measurement.name) for measurement, verdict in verdicts]
    return "\n".join([*lines, *(["", *failed] if failed else [])])


def _short(module: str) -> str:
    return module.rpartition(".")[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = [measurement.name for measurement in ALL] + [_short(module) for module in OTHERS]
    parser.add_argument("--quick", action="store_true", help="the floor and this library, within a minute")
    parser.add_argument("--only", action="append", choices=names, help="only this one (may be repeated)")
    parser.add_argument("--repetitions", type=int, help="instead of each measurement's own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single result, too")
    parser.add_argument("--history", type=Path, metavar="FILE", help="append the ratios, as one line")
    return parser


def _as_json(command: str, machine: dict[str, Any], results: Sequence[_Result], failed: Sequence[str]) -> str:
    value = {
        "command": command,
        "machine": machine,
        "failed": list(failed),
        "measurements": [
            {
                "plan": asdict(replace(measurement, targets=())),
                "runs": [asdict(one) for one in runs],
                "targets": [asdict(verdict) for verdict in report.judge(measurement, runs)],
                "seconds": took,
            }
            for measurement, runs, took in results
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
