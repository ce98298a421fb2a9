"""Two pictures of a run's JSON, as SVG: what a call costs the caller, and how fast a burst is delivered.

    python -m tests.benchmarks.plot bench.json DIRECTORY

writes caller.svg and throughput.svg. Needs matplotlib, which is in the environment of `make bench` only.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Any]
_QUANTILES = {"caller_p50_us": "median", "caller_p99_us": "99th percentile", "caller_p999_us": "99.9th"}
_MARKERS = "o|x"
_OURS, _OTHERS = "#1b6e53", "#8a8f98"


def medians(results: Results, measurement: str, metric: str) -> dict[str, float]:
    """Of one metric, by case, in the order of the plan; failed cases are left out.

    Raises:
        KeyError: the run has no such measurement.
    """
    found = {one["plan"]["name"]: one for one in results["measurements"]}
    cases = [case["name"] for case in found[measurement]["plan"]["cases"]]
    by_case = {case: _values(found[measurement]["runs"], case, metric) for case in cases}
    return {case: statistics.median(values) for case, values in by_case.items() if values}


def caller(results: Results) -> Figure:
    """Quantiles of a paced call, on a logarithmic axis."""
    figure = _blank(4.5)
    axes = figure.subplots()
    for (metric, label), marker in zip(_QUANTILES.items(), _MARKERS, strict=True):
        values = medians(results, "paced", metric)
        axes.scatter(
            list(values.values()), list(values), marker=marker, color=_colours(list(values)), label=label
        )
    axes.set(xscale="log", xlabel="µs a call, at 500 calls a second", title="What a call costs the caller")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(_MARKERS), frameon=False)
    return figure


def throughput(results: Results) -> Figure:
    """Records a second of a burst."""
    figure = _blank(4.0)
    axes = figure.subplots()
    values = medians(results, "burst", "records_per_s")
    axes.barh(list(values), list(values.values()), color=_colours(list(values)))
    axes.set(xlabel="records a second, until all are delivered", title="A burst to a batch backend")
    axes.invert_yaxis()
    return figure


def _blank(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), layout="constrained")


def _values(runs: Sequence[Mapping[str, Any]], case: str, metric: str) -> list[float]:
    mine = [run for run in runs if run["case"] == case]
    return [] if any(run["failure"] for run in mine) else [run["metrics"][metric] for run in mine]


def _colours(cases: Sequence[str]) -> list[str]:
    return [_OURS if case.startswith("banyan_hp") else _OTHERS for case in cases]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plot", description=__doc__)
    parser.add_argument("results", type=Path, help="what `make bench` wrote")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    for draw in (caller, throughput):
        # Without a date the same results give the same file.
        draw(results).savefig(options.directory / f"{draw.__name__}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
