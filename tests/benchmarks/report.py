"""What the runs say: a table for each measurement, and which of its targets are met."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    """Medians (minimum–maximum), their ratios to the first case, and the targets, as Markdown."""
    first = measurement.cases[0].name
    heading = [f"x {first}" if n % 2 else row.label for row in measurement.rows for n in range(2)]
    rows = [
        [
            case.name,
            *(cell for row in measurement.rows for cell in _cells(runs, case.name, first, row.metric)),
        ]
        for case in measurement.cases
    ]
    verdicts = [verdict_line(verdict) for verdict in judge(measurement, runs)]
    parts = [f"## {measurement.title}", "", *_markdown(["", *heading], rows), "", *verdicts]
    return "\n".join([*parts, *failures(measurement, runs)])


def headline(command: str, described: dict[str, Any]) -> str:
    """What was run, where, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    shown = "{cpus} CPUs, {python}, {platform}; load before: {load_before:.1f}".format(**described)
    return f"`{command}`\n\n{shown}\n\n{versions}\n\nMedians (minimum–maximum); each call in its own process."


def judge(measurement: Measurement, runs: Sequence[Run]) -> list[Verdict]:
    """All targets of a measurement."""
    return [_judge(target, runs) for target in measurement.targets]


def verdict_line(verdict: Verdict, measurement: str = "") -> str:
    value = "not measured" if verdict.value is None else f"is {verdict.value:.3g}"
    named = f"{measurement}: " if measurement else ""
    return f"- {'met' if verdict.met else 'MISSED'}: {named}{verdict.text}: {value}"


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
    if target.ratio_to and not statistics.median(base):
        return Verdict(_bounded(target), None, met=False)
    if target.ratio_to:
        value /= statistics.median(base)
    if target.beyond:
        value -= statistics.median(base)
    within = (target.most is None or value <= target.most) and (target.least is None or value >= target.least)
    return Verdict(_bounded(target), value, within)


def _bounded(target: Target) -> str:
    bound = f"<= {target.most:.4g}" if target.least is None else f">= {target.least:.4g}"
    return f"{target.text} [{target.case}; {bound}]"


def _cells(runs: Sequence[Run], case: str, first: str, metric: str) -> tuple[str, str]:
    """A median with its spread, and its ratio to the first case's."""
    if not any(run.failure or metric in run.metrics for run in runs if run.case == case):
        return "", ""  # this case has no such metric
    measured, base = values(runs, case, metric), values(runs, first, metric)
    if not measured:
        return "FAILED", ""
    median = statistics.median(measured)
    spread = f" ({figure(min(measured))}–{figure(max(measured))})" if len(measured) > 1 else ""
    ratio = f"{median / statistics.median(base):.2f}" if base and statistics.median(base) else ""
    return figure(median) + spread, ratio


def _markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (heading, rule, *rows)
    ]


def _versions() -> Iterator[tuple[str, str]]:
    for name in (*DISTRIBUTIONS, *_OTHERS):
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)
