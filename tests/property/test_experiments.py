"""Routing over a million ids: splits as configured, experiments independent, nobody moved by more traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, islice

import pytest

from banyan_hp.experiments import Split

MILLION = 1_000_000
# The values of chi-squared that chance exceeds once in a thousand, by degrees of freedom.
CRITICAL = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467}


def chi_squared(observed: Iterable[int], expected: Iterable[float]) -> float:
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def choices(split: Split, number: int) -> list[int | None]:
    return [split.choose(f"user_{each}") for each in range(number)]


@pytest.mark.parametrize("percentages", [[50, 50], [90, 10], [33.33, 33.33, 33.34], [1, 4, 15, 30]])
def test_a_million_users_split_as_configured(percentages: Sequence[float]) -> None:
    """Chi-squared against the configured shares stays below what chance gives once in a thousand."""
    counted = Counter(choices(Split(f"exp-{percentages}", percentages), MILLION))
    shares = [share / 100 * MILLION for share in percentages]
    observed = [counted[index] for index in range(len(percentages))]
    if sum(percentages) < 99:
        shares.append((100 - sum(percentages)) / 100 * MILLION)
        observed.append(counted[None])
    assert sum(observed) == MILLION
    assert chi_squared(observed, shares) < CRITICAL[len(shares) - 1]


def test_experiments_are_independent_of_each_other() -> None:
    """For each pair of experiments, what a user gets in one tells nothing about the other."""
    taken = [choices(Split(f"exp-{each}", [25, 25]), MILLION) for each in range(3)]
    for one, other in combinations(taken, 2):
        table = Counter(zip(one, other, strict=True))
        rows, columns = Counter(one), Counter(other)
        cells = [(row, column) for row in rows for column in columns]
        expected = [rows[row] * columns[column] / MILLION for row, column in cells]
        assert chi_squared([table[cell] for cell in cells], expected) < CRITICAL[4]


def test_more_traffic_moves_nobody_who_is_in() -> None:
    """From 10 to 50 to 100 %, the proportions kept: who had a version still has it."""
    stages = [Split("exp", [share * 3, share * 7]) for share in (1, 5, 10)]
    taken = [choices(stage, MILLION // 10) for stage in stages]
    for before, after in zip(taken, islice(taken, 1, None), strict=False):
        assert all(was is None or was == now for was, now in zip(before, after, strict=True))
    assert [sum(choice is not None for choice in each) // 1000 for each in taken] == [
        pytest.approx(10, abs=1),
        pytest.approx(50, abs=1),
        100,
    ]
