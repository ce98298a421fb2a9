"""Where a record's time goes, by function: on the caller's thread, and on the library's own.

    python -m tests.benchmarks.breakdown [--records N] [--most N]

cProfile makes calls of Python functions dearer than they are: read shares, not microseconds. The two sides
are profiled in runs of their own, as an interpreter has one profiler. Needs Python 3.11 or older: later ones
profile the whole process, not a thread.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.adapters import BATCH, construct
from tests.benchmarks.sink import ROOT, Sink
from tests.benchmarks.workload import Record, make_records


@dataclass(frozen=True)
class Share:
    """Of one function, without what it calls."""

    function: str
    seconds: float
    calls: int


def caller(records: Sequence[Record], url: str) -> list[Share]:
    """The calling thread, from call to return."""
    profile = cProfile.Profile()

    def log(adapter: Any) -> None:
        with profile:
            for record in records:
                adapter.log(record)

    _run(url, log)
    return shares([profile])


def worker(records: Sequence[Record], url: str) -> list[Share]:
    """All threads that the library starts; waiting is left out."""

    def log(adapter: Any) -> None:
        for record in records:
            adapter.log(record)

    with _profiled_threads() as profiles:
        _run(url, log)
    return [share for share in shares(profiles) if "acquire" not in share.function]


def shares(profiles: Sequence[cProfile.Profile]) -> list[Share]:
    """The functions of some profiles together, the dearest first."""
    together = pstats.Stats(*[profile for profile in profiles if profile.getstats()])
    rows: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = together.stats  # type: ignore[attr-defined]  # not in the stubs
    found = [Share(_name(*key), row[2], row[1]) for key, row in rows.items()]
    return sorted(found, key=lambda share: share.seconds, reverse=True)


def table(title: str, found: Sequence[Share], records: int, most: int) -> str:
    """Markdown: the dearest functions and all others."""
    total = sum(share.seconds for share in found)
    rest = sum(share.seconds for share in found[most:])
    rows = [f"| `{s.function}` | {s.seconds / total:.0%} | {s.calls / records:.2g} |" for s in found[:most]]
    heading = [f"| {title} | share | calls a record |", "|---|---|---|"]
    return "\n".join([*heading, *rows, f"| all others | {rest / total:.0%} | |"])


def _run(url: str, log: Callable[[Any], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="banyan-hp-bench-") as spool:
        adapter = construct(BATCH.factory, url, {**BATCH.options, "spool_dir": spool})
        log(adapter)
        adapter.flush()
        adapter.close()


@contextmanager
def _profiled_threads() -> Iterator[list[cProfile.Profile]]:
    """Each thread that starts within is profiled, from its first call to its end."""
    profiles: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled_run(self: threading.Thread) -> None:
        profile = cProfile.Profile()
        profiles.append(profile)
        with profile:
            run(self)

    patched: Any = threading.Thread
    patched.run = profiled_run
    try:
        yield profiles
    finally:
        patched.run = run


def _name(file: str, line: int, function: str) -> str:
    path = Path(file)
    if path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)
    return function if file == "~" else f"{'/'.join(path.parts[-2:])}:{line} {function}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.breakdown", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--most", type=int, default=12, help="functions to show")
    options = parser.parse_args()
    records = make_records(options.records)
    with Sink(BATCH.sink) as sink:
        for title, side in (("caller", caller), ("worker", worker)):
            print(table(title, side(records, sink.url), options.records, options.most), end="\n\n")


if __name__ == "__main__":
    main()
