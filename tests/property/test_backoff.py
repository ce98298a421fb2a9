"""Waiting: never longer than the cap, never negative, never less than a backend asked for."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.engine.policy.circuit_breaker import CircuitBreaker
from banyan_hp.engine.policy.retry import (
    BACKOFF_CAP,
    RETRY_AFTER_CAP,
    backoff,
    parse_retry_after,
    probe_delay,
)
from banyan_hp.engine.records.outcome import Outcome, Verdict

QUICK = settings(max_examples=200, deadline=None)
FAILURES = st.integers(1, 10**6)
BASE = st.floats(0, 1e9)
CHANCE = st.floats(0, 1, exclude_max=True)
NOW = 1_767_225_600.0


@QUICK
@given(FAILURES, BASE, CHANCE)
def test_backoff_stays_within_its_step(failures: int, base: float, chance: float) -> None:
    """Between 0 and the step, and the step is never above the cap."""
    assert 0 <= backoff(failures, base, chance) <= min(BACKOFF_CAP, base * 2.0 ** min(failures - 1, 100))


@QUICK
@given(FAILURES, BASE, CHANCE)
def test_more_failures_never_wait_less(failures: int, base: float, chance: float) -> None:
    """By the same chance, a further failure waits at least as long."""
    assert backoff(failures, base, chance) <= backoff(failures + 1, base, chance)
    assert probe_delay(failures, base, chance) <= probe_delay(failures + 1, base, chance)


@QUICK
@given(FAILURES, BASE, CHANCE)
def test_a_probe_always_waits(failures: int, base: float, chance: float) -> None:
    """An open breaker never hammers, whatever the settings."""
    assert 0.05 <= probe_delay(failures, base, chance) <= BACKOFF_CAP


@QUICK
@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_any_retry_after_is_bounded_or_missing(text: str) -> None:
    """Whatever stands in the header, a wait within bounds or none comes of it."""
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_CAP


@QUICK
@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, RETRY_AFTER_CAP)), min_size=1), CHANCE)
def test_a_gate_that_only_fails_waits_a_bounded_time(
    failures: list[tuple[float, float | None]], chance: float
) -> None:
    """After any run of failures the next attempt comes, at the latest after the caps."""
    breaker = CircuitBreaker(3, 1.0, chance=lambda: chance)
    now = 0.0
    for pause, retry_after in failures:
        now += pause
        probe = breaker.begin()
        breaker.fail(Verdict(Outcome.RETRY, retry_after=retry_after), now, now)
        breaker.end(probe=probe)
        delay = breaker.delay(now)
        assert 0 <= delay <= max(BACKOFF_CAP, RETRY_AFTER_CAP + 1.0) + 1e-6
        assert delay >= (retry_after or 0) - 1e-6
    assert breaker.delay(math.inf) == 0
    breaker.succeed(now)
    assert not breaker.is_open
