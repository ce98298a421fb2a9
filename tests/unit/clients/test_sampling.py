"""Which keys are logged at which rate."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.clients.sampling import is_logged

KEYS = [f"session-{number}" for number in range(20_000)]
VECTORS = {"session-1": 129_891, "session-2": 883_046, "s": 13_489, "": 840_329, "é ❄": 527_088}
"""The lowest rate, in millionths, at which each key is logged."""


def number_of(key: str) -> int:
    """As the guide says it, for other languages."""
    return int(sha256(b"banyan_hp sampling\0" + key.encode()).hexdigest()[:16], 16)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1))
def test_a_key_decides_as_the_guide_says(key: str, rate: float) -> None:
    """In every process and language alike."""
    assert is_logged(rate, key) == (number_of(key) < rate * 2**64)


@pytest.mark.parametrize(("key", "millionths"), VECTORS.items())
def test_the_rule_stays_what_it_is(key: str, millionths: int) -> None:
    """Another one would log other sessions than the processes that run already."""
    assert not is_logged((millionths - 1) / 1e6, key)
    assert is_logged(millionths / 1e6, key)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_a_rate_is_the_share_that_is_logged(rate: float) -> None:
    """Within three standard deviations, for ids that are numbered."""
    logged = sum(is_logged(rate, key) for key in KEYS)
    deviation = (len(KEYS) * rate * (1 - rate)) ** 0.5
    assert abs(logged - len(KEYS) * rate) < 3 * deviation


def test_what_is_logged_at_a_rate_is_logged_at_each_higher_one() -> None:
    """A rate that is raised cuts no session off."""
    rates = [0.0, 0.001, 0.2, 0.7, 1.0]
    chosen = [{key for key in KEYS if is_logged(rate, key)} for rate in rates]
    assert all(lower < higher for lower, higher in pairwise(chosen))
    assert (chosen[0], chosen[-1]) == (set(), set(KEYS))
