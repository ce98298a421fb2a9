"""Three pictures of the history of runs, as SVG.

    python -m tests.benchmarks.plot [HISTORY] DIRECTORY

writes caller.svg and throughput.svg, what the last run says of all systems, and history.svg, how this
library's ratios to the floor went from run to run. Needs matplotlib, which only `make bench` installs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import history
from tests.benchmarks.adapters import BATCH
from tests.benchmarks.history import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUANTILES = {"caller_p50_us": "median", "caller_p99_us": "99th percentile", "caller_p999_us": "99.9th"}
_MARKERS = "o|x"
_OURS, _OTHERS = "#1b6e53", "#8a8f98"
_FOLLOWED = {
    "paced call, p50": ("paced", "caller_p50_us"),
    "paced call, p99": ("paced", "caller_p99_us"),
    "burst, records/s": ("burst", "records_per_s"),
    "burst, CPU": ("burst", "cpu_s_per_10k"),
}


def caller(entries: Sequence[Entry]) -> Figure:
    """Quantiles of a paced call, on a logarithmic axis."""
    figure = _blank(4.5)
    axes = figure.subplots()
    for (metric, label), marker in zip(_QUANTILES.items(), _MARKERS, strict=True):
        values = history.medians(entries[-1], "paced", metric)
        axes.scatter(
            list(values.values()), list(values), marker=marker, color=_colours(list(values)), label=label
        )
    axes.set(xscale="log", xlabel="µs a call, at 500 calls a second", title="What a call costs the caller")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(_MARKERS), frameon=False)
    return figure


def throughput(entries: Sequence[Entry]) -> Figure:
    """Records a second of a burst."""
    figure = _blank(4.0)
    axes = figure.subplots()
    values = history.medians(entries[-1], "burst", "records_per_s")
    axes.barh(list(values), list(values.values()), color=_colours(list(values)))
    axes.set(xlabel="records a second, until all are delivered", title="A burst to a batch backend")
    axes.invert_yaxis()
    return figure


def followed(entries: Sequence[Entry]) -> dict[str, list[float | None]]:
    """This library's ratios to the floor, run by run; None where a run has none."""
    return {
        label: [made["ratios"].get(measurement, {}).get(metric, {}).get(BATCH.name) for made in entries]
        for label, (measurement, metric) in _FOLLOWED.items()
    }


def ratios(entries: Sequence[Entry]) -> Figure:
    """How they went from run to run."""
    figure = _blank(4.0)
    axes = figure.subplots()
    runs = [f"{made['date'][:10]}\n{made['commit']}" for made in entries]
    for label, values in followed(entries).items():
        shown = [float("nan") if value is None else value for value in values]
        axes.plot(range(len(runs)), shown, marker="o", label=label)
    axes.set_xticks(range(len(runs)), runs, fontsize="small")
    axes.set(yscale="log", ylabel="x floor", title="This library beside the floor, run by run")
    axes.grid(visible=True, axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(_FOLLOWED), frameon=False)
    return figure


PICTURES = {"caller.svg": caller, "throughput.svg": throughput, "history.svg": ratios}


def _blank(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), layout="constrained")


def _colours(cases: Sequence[str]) -> list[str]:
    return [_OURS if case.startswith("banyan_hp") else _OTHERS for case in cases]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plot", description=__doc__)
    parser.add_argument("history", type=Path, nargs="?", default=history.FILE, help="the runs, one a line")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args(arguments)
    entries = history.read(options.history)
    if not entries:
        raise SystemExit(f"{options.history} has no runs: `make bench` adds one")
    for name, draw in PICTURES.items():
        # Without a date the same results give the same file.
        draw(entries).savefig(options.directory / name, metadata={"Date": None})


if __name__ == "__main__":
    main()
