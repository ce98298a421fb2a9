"""Everything goes wrong at once, by a seed; see `tests.support.chaos`.

`SEED=n pytest tests/lifecycle/test_chaos.py -m soak` plays one seed again; `CHAOS_SEEDS=n` plays so many.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.chaos.judge import violations
from tests.support.chaos.run import Evidence, play

_SHOWN = 12
_MANY = int(os.environ.get("CHAOS_SEEDS") or 50)


def seeds_of_today() -> range:
    """Other ones in each run: what happens follows the seed, and who comes first does not."""
    given = os.environ.get("SEED")
    first = int(given) if given else random.randrange(10**6)
    return range(first, first + (1 if given else _MANY))


def verdict(evidence: Evidence) -> str:
    """What is wrong, for people; empty if nothing is."""
    found = violations(evidence)
    if not found:
        return ""
    shown = "\n".join(found[:_SHOWN])
    return (
        f"SEED={evidence.plan.seed}: {len(found)} violations\n{shown}\n"
        f"plan: {evidence.plan}\nstderr: {evidence.stderr[-3000:]}"
    )


@pytest.mark.soak
@pytest.mark.parametrize("seed", seeds_of_today())
def test_every_accepted_record_is_accounted_for_whatever_happens(seed: int, tmp_path: Path) -> None:
    """Six processes that log, fork and die; a backend and a disk with moods: nothing is lost or repeated."""
    found = verdict(play(seed, tmp_path))
    assert not found, found


@pytest.mark.alone
@pytest.mark.parametrize("seed", [4, 13])
def test_a_short_run_of_chaos(seed: int, tmp_path: Path) -> None:
    """The same with three processes, for a moment."""
    found = verdict(play(seed, tmp_path, seconds=1.5, workers=3))
    assert not found, found
