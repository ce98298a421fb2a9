"""The history of runs: one line of JSON each, from which the pictures are made.

Figures of two runs can't be compared, their ratios can. So a line holds, by measurement and metric, the
median of the first case (`base`) and the ratio of each case to it (`ratios`); the verdicts on the targets;
and what the figures depend on: date (UTC), commit (with `+` where files differ from it), machine. Failed
cases are left out.

    {"date": "2026-11-28T12:00:00+00:00", "commit": "47dbb7d", "machine": {"cpus": 2, …},
     "base": {"burst": {"records_per_s": 170437.0}},
     "ratios": {"burst": {"records_per_s": {"floor": 1.0, "banyan_hp batch": 0.7}}},
     "targets": {"burst": [{"text": "…", "value": 0.7, "met": false}]}}
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.plan import Measurement
from tests.benchmarks.runner import Run
from tests.benchmarks.sink import ROOT

FILE = Path(__file__).parent / "history.jsonl"
Entry = dict[str, Any]
Results = Sequence[tuple[Measurement, Sequence[Run]]]


def entry(machine: Mapping[str, Any], results: Results) -> Entry:
    """A run's line."""
    base, ratios = {}, {}
    for measurement, runs in results:
        base[measurement.name] = first = _base(measurement, runs)
        ratios[measurement.name] = {
            metric: _ratios(measurement, runs, metric, value) for metric, value in first.items()
        }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": dict(machine),
        "base": base,
        "ratios": ratios,
        "targets": {
            measurement.name: [asdict(verdict) for verdict in report.judge(measurement, runs)]
            for measurement, runs in results
            if measurement.targets
        },
    }


def append(path: Path, made: Entry) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(made, ensure_ascii=False) + "\n")


def read(path: Path) -> list[Entry]:
    """All lines, the oldest first; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def medians(made: Entry, measurement: str, metric: str) -> dict[str, float]:
    """Of one metric, by case, in the order of the plan.

    Raises:
        KeyError: the run has no such figures.
    """
    base: float = made["base"][measurement][metric]
    return {case: ratio * base for case, ratio in made["ratios"][measurement][metric].items()}


def _base(measurement: Measurement, runs: Sequence[Run]) -> dict[str, float]:
    """The first case's medians; those that are 0 are nothing to compare with."""
    first = measurement.cases[0].name
    found = {row.metric: report.values(runs, first, row.metric) for row in measurement.rows}
    middles = {metric: statistics.median(values) for metric, values in found.items() if values}
    return {metric: middle for metric, middle in middles.items() if middle}


def _ratios(measurement: Measurement, runs: Sequence[Run], metric: str, base: float) -> dict[str, float]:
    found = {case.name: report.values(runs, case.name, metric) for case in measurement.cases}
    return {case: statistics.median(values) / base for case, values in found.items() if values}


def _commit() -> str:
    """Empty outside of a repository."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "--short", "HEAD") + "+" * bool(changes)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
