"""Changes of traffic by slots: exact shares, nobody moved who need not be, nobody lost by growing."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.experiments import SLOTS, Slots
from banyan_hp.server.allocation import Ranges, allocated

USERS = [f"user_{number}" for number in range(500)]


@st.composite
def percentages(draw: st.DrawFn) -> dict[str, float]:
    """Of some versions, to a hundredth of a percent, together at most 100."""
    names = draw(st.permutations("abcdef"))[: draw(st.integers(1, 6))]
    left, chosen = 10_000, {}
    for name in names:
        part = draw(st.integers(0, left))
        left -= part
        chosen[name] = part / 100
    return chosen


HISTORIES = st.lists(percentages(), min_size=2, max_size=8)


def owned(slots: dict[str, Ranges]) -> dict[str, set[int]]:
    """The hundredths of a percent that each version has: ranges begin and end at these."""
    step = SLOTS // 10_000
    assert all(edge % step == 0 for edge in chain.from_iterable(chain.from_iterable(slots.values())))
    return {
        name: set(chain.from_iterable(range(start // step, end // step) for start, end in ranges))
        for name, ranges in slots.items()
    }


def course(history: list[dict[str, float]]) -> list[dict[str, Ranges]]:
    states: list[dict[str, Ranges]] = [{}]
    for each in history:
        states.append(allocated(each, states[-1]))
    return states[1:]


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_shares_are_exact(history: list[dict[str, float]]) -> None:
    """After any number of changes each version has its percentage, and no slot has two versions."""
    for wanted, slots in zip(history, course(history), strict=True):
        have = owned(slots)
        assert {name: len(parts) for name, parts in have.items()} == {
            name: round(percentage * 100) for name, percentage in wanted.items()
        }
        assert max(Counter(chain.from_iterable(have.values())).values(), default=1) == 1


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_no_more_users_move_than_must(history: list[dict[str, float]]) -> None:
    """Those that shrink lose only what they must, those that grow or stay lose nobody; no change hands on
    more slots than the larger of what is given up and what is taken."""
    for before, after in pairwise(map(owned, course(history))):
        names = {*before, *after}
        had = {name: before.get(name, set()) for name in names}
        has = {name: after.get(name, set()) for name in names}
        for name in names:
            small, large = sorted((had[name], has[name]), key=len)
            assert small <= large
        grown = sum(len(has[name] - had[name]) for name in names)
        shrunk = sum(len(had[name] - has[name]) for name in names)
        touched = set(chain.from_iterable(had[name] ^ has[name] for name in names))
        assert len(touched) == max(grown, shrunk)


@settings(max_examples=20, deadline=None)
@given(HISTORIES)
def test_users_keep_the_version_that_grows(history: list[dict[str, float]]) -> None:
    """Whoever has a version that does not shrink has it still."""
    states = zip(history, course(history), strict=True)
    for (before, old), (after, new) in pairwise(states):
        earlier, later = choices(old), choices(new)
        for was, now in zip(earlier, later, strict=True):
            assert was is None or after.get(was, 0) < before[was] or was == now


def choices(slots: dict[str, Ranges]) -> list[str | None]:
    names, ready = list(slots), Slots("exp", list(slots.values()))
    found = [ready.choose(user) for user in USERS]
    return [None if index is None else names[index] for index in found]


def test_a_hundred_thousand_users_split_as_configured() -> None:
    """The hash spreads the users evenly over the slots, wherever a version's slots are."""
    slots = course([{"a": 10, "b": 20}, {"a": 5, "b": 25}, {"a": 30, "b": 25, "c": 5}])[-1]
    ready = Slots("exp", list(slots.values()))
    counted = Counter(ready.choose(f"user_{number}") for number in range(100_000))
    expected = {0: 30_000, 1: 25_000, 2: 5_000, None: 40_000}
    assert sum((counted[key] - number) ** 2 / number for key, number in expected.items()) < 16.266
