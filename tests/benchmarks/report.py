"""What the runs say: a table for each measurement, and which of its targets are met."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from tests.benchmarks.peers import DISTRIBUTIONS
from tests.benchmarks.plan import Measurement, Target
from tests.benchmarks.runner import Run

_OTHERS = ("orjson", "urllib3", "requests", "gunicorn", "flask")


@dataclass(frozen=True)
class Verdict:
    """A target, and what was measured."""

    text: str
    value: float | None
    """None: could not be measured, as a case failed."""
    met: bool


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpus": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "load_before": os.getloadavg()[0],
        "versions": dict(_versions()),
    }


def table(measurement: Measurement, runs: Sequence[Run]) -> str:
    """Medians (minimum–maximum), and their ratios to the first case."""
    first = measurement.cases[0].name
    lines = [f"## {measurement.title}"]
    for row in measurement.rows:
        base = values(runs, first, row.metric)
        cases = [case.name for case in measurement.cases if _has(runs, case.name, row.metric)]
        lines += ["", f"{row.label:<32}{'median (min–max)':<34}x {first}"]
        lines += [_line(name, values(runs, name, row.metric), base) for name in cases]
    verdicts = [_verdict_line(verdict) for verdict in judge(measurement, runs)]
    return "\n".join([*lines, "", *verdicts, *failures(measurement, runs)])


def judge(measurement: Measurement, runs: Sequence[Run]) -> list[Verdict]:
    """All targets of a measurement."""
    return [_judge(target, runs) for target in measurement.targets]


def failures(measurement: Measurement, runs: Sequence[Run]) -> list[str]:
    return [
        f"FAILED {measurement.name}: {run.case}, turn {run.repetition + 1}: {run.failure}"
        for run in runs
        if run.failure
    ]


def values(runs: Sequence[Run], case: str, metric: str) -> list[float]:
    """Of one metric in all turns; none where any of them failed, as the rest would flatter."""
    mine = [run for run in runs if run.case == case]
    if any(run.failure or metric not in run.metrics for run in mine):
        return []
    return [run.metrics[metric] for run in mine]


def figure(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _judge(target: Target, runs: Sequence[Run]) -> Verdict:
    measured = values(runs, target.case, target.metric)
    reference = target.ratio_to or target.beyond
    base = values(runs, reference, target.metric) if reference else []
    if not measured or (reference and not base):
        return Verdict(_bounded(target), None, met=False)
    value = statistics.median(measured)
    if target.ratio_to:
        value /= statistics.median(base)
    if target.beyond:
        value -= statistics.median(base)
    within = (target.most is None or value <= target.most) and (target.least is None or value >= target.least)
    return Verdict(_bounded(target), value, within)


def _bounded(target: Target) -> str:
    bound = f"<= {target.most:.4g}" if target.least is None else f">= {target.least:.4g}"
    return f"{target.text} [{target.case}; {bound}]"


def _verdict_line(verdict: Verdict) -> str:
    value = "not measured" if verdict.value is None else f"is {verdict.value:.3g}"
    return f"{'met   ' if verdict.met else 'MISSED'}  {verdict.text}: {value}"


def _has(runs: Sequence[Run], case: str, metric: str) -> bool:
    """Whether a case has this metric at all; a failed one is shown as such."""
    return any(run.failure or metric in run.metrics for run in runs if run.case == case)


def _line(name: str, measured: list[float], base: list[float]) -> str:
    if not measured:
        return f"  {name:<30}FAILED"
    median = statistics.median(measured)
    spread = f" ({figure(min(measured))}–{figure(max(measured))})" if len(measured) > 1 else ""
    ratio = f"{median / statistics.median(base):.2f}" if base and statistics.median(base) else "–"
    return f"  {name:<30}{figure(median) + spread:<34}{ratio}"


def _versions() -> Iterator[tuple[str, str]]:
    for name in (*DISTRIBUTIONS, *_OTHERS):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
