"""The gate: when the destination may be tried."""

from __future__ import annotations

import math

import pytest

from banyan_hp.engine.policy.circuit_breaker import HOLD_PROBE_SECONDS, HURRIED_PROBE_GAP, CircuitBreaker
from banyan_hp.engine.policy.retry import BACKOFF_CAP
from banyan_hp.engine.records.outcome import Outcome, Verdict

FAILED = Verdict(Outcome.RETRY)


def told_to_wait(seconds: float) -> Verdict:
    return Verdict(Outcome.RETRY, status=429, retry_after=seconds)


def breaker(max_retries: int = 3, retry_delay: float = 1.0, chance: float = 0.5) -> CircuitBreaker:
    return CircuitBreaker(max_retries, retry_delay, chance=lambda: chance)


def fail(subject: CircuitBreaker, *, at: float, times: int = 1) -> None:
    for _ in range(times):
        subject.fail(FAILED, began=at, now=at)


def test_a_new_gate_is_open_and_idle() -> None:
    """Nothing is known of the destination: try it at once."""
    subject = breaker()
    assert (subject.delay(0.0), subject.state, subject.is_open) == (0.0, "idle", False)


def test_success_makes_it_online() -> None:
    """The time of the last success is kept."""
    subject = breaker()
    subject.succeed(5.0)
    assert (subject.state, subject.last_success, subject.recoveries) == ("online", 5.0, 0)


def test_a_failure_backs_off_and_leaves_it_well() -> None:
    """Up to max_retries failures there is a growing delay and no breaker."""
    subject = breaker()
    delays = []
    for at in (0.0, 10.0, 20.0):
        fail(subject, at=at)
        delays.append(subject.delay(at))
    assert delays == [0.5, 1.0, 2.0]
    assert (subject.state, subject.is_open, subject.trips) == ("backing_off", False, 0)


def test_the_delay_runs_down() -> None:
    """It counts from the failure and ends at 0."""
    subject = breaker()
    fail(subject, at=100.0)
    assert subject.delay(100.25) == 0.25
    assert subject.delay(200.0) == 0.0


@pytest.mark.parametrize("max_retries", [0, 2])
def test_more_failures_than_retries_break_it(max_retries: int) -> None:
    """Then it is offline, and the next attempt is a probe after a real delay."""
    subject = breaker(max_retries, retry_delay=0.0)
    fail(subject, at=1.0, times=max_retries)
    assert not subject.broken
    fail(subject, at=1.0)
    assert (subject.state, subject.is_open, subject.trips) == ("offline", True, 1)
    assert 0.0 < subject.delay(1.0) <= BACKOFF_CAP


def test_failures_of_the_same_moment_count_once() -> None:
    """Senders that failed together saw one outage: attempts begun before the last failure tell nothing."""
    subject = breaker(max_retries=1)
    for _ in range(8):
        subject.fail(FAILED, began=1.0, now=2.0)
        subject.fail(FAILED, began=0.5, now=2.5)
    assert subject.failures == 1
    assert not subject.broken


def test_one_probe_at_a_time() -> None:
    """While a probe is under way nobody else may try, however long it takes."""
    subject = breaker(max_retries=0)
    fail(subject, at=0.0)
    subject.begin()
    assert subject.delay(1e9) == math.inf
    subject.fail(FAILED, began=100.0, now=101.0)
    subject.end(probe=True)
    assert subject.delay(101.0) < math.inf


def test_no_probe_while_well() -> None:
    """A healthy destination takes any number of attempts at once."""
    subject = breaker()
    subject.begin()
    assert subject.delay(0.0) == 0.0
    fail(subject, at=0.0)
    subject.begin()
    assert subject.delay(100.0) == 0.0


def test_a_probe_that_learns_nothing_makes_way() -> None:
    """Its place is free again, and nothing else has changed."""
    subject = breaker(max_retries=0)
    fail(subject, at=0.0)
    subject.begin()
    subject.end(probe=True)
    assert subject.delay(1e9) == 0.0
    assert subject.state == "offline"


def test_a_late_failure_of_another_attempt_does_not_end_the_probe() -> None:
    """An attempt from before the breaker opened, failing late, lets no second probe through."""
    subject = breaker(max_retries=0)
    subject.fail(FAILED, began=0.0, now=1.0)
    now = 1.0 + subject.delay(1.0)
    subject.begin()
    subject.fail(FAILED, began=0.5, now=now)
    assert subject.delay(now) == math.inf


def test_success_heals_everything() -> None:
    """Failures, the breaker and a hold are over, and the recovery is counted."""
    subject = breaker(max_retries=0)
    fail(subject, at=0.0)
    subject.begin()
    subject.succeed(9.0)
    assert (subject.state, subject.failures, subject.delay(9.0), subject.recoveries) == ("online", 0, 0.0, 1)
    subject.hold(Outcome.HOLD_AUTH, 10.0)
    subject.succeed(11.0)
    assert (subject.state, subject.delay(11.0), subject.recoveries) == ("online", 0.0, 2)


@pytest.mark.parametrize(
    ("outcome", "state"), [(Outcome.HOLD_AUTH, "auth_error"), (Outcome.HOLD_CONFIG, "misconfigured")]
)
@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_a_hold_is_probed_seldom(outcome: Outcome, state: str, chance: float) -> None:
    """With wrong credentials or a wrong address the next attempt is about a minute away."""
    subject = breaker(chance=chance)
    subject.hold(outcome, 100.0)
    assert (subject.state, subject.is_open, subject.trips) == (state, True, 1)
    assert 0.75 * HOLD_PROBE_SECONDS <= subject.delay(100.0) < 1.25 * HOLD_PROBE_SECONDS


def test_an_outage_takes_the_place_of_a_hold() -> None:
    """A 503 after a 401 says that the destination is unwell, no longer that the key is wrong."""
    subject = breaker()
    subject.hold(Outcome.HOLD_AUTH, 0.0)
    fail(subject, at=60.0)
    assert subject.state == "backing_off"


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_retry_after_is_obeyed(chance: float) -> None:
    """Never earlier than told, and with little jitter, however short the back-off would have been."""
    subject = breaker(chance=chance)
    subject.fail(told_to_wait(120.0), began=0.0, now=10.0)
    assert 120.0 <= subject.delay(10.0) <= 121.0


def test_retry_after_does_not_shorten_the_backoff() -> None:
    """`Retry-After: 0` is no invitation to hammer."""
    subject = breaker()
    subject.fail(told_to_wait(0.0), began=0.0, now=0.0)
    assert subject.delay(0.0) == 0.5


def test_retry_after_of_an_attempt_that_does_not_count_is_obeyed() -> None:
    """Several senders are told at once: the longest wait holds."""
    subject = breaker(chance=0.0)
    subject.fail(told_to_wait(10.0), began=0.0, now=5.0)
    subject.fail(told_to_wait(50.0), began=0.0, now=5.0)
    subject.fail(told_to_wait(20.0), began=0.0, now=5.0)
    assert subject.failures == 1
    assert subject.delay(5.0) == 50.0


@pytest.mark.parametrize("what", ["hold", "failure"])
def test_retry_after_outlasts_what_comes_later(what: str) -> None:
    """A wait that the backend asked for isn't cut short by the next bad answer."""
    subject = breaker(chance=0.0)
    subject.fail(told_to_wait(300.0), began=0.0, now=0.0)
    if what == "hold":
        subject.hold(Outcome.HOLD_AUTH, 1.0)
    else:
        fail(subject, at=1.0)
    assert subject.delay(1.0) >= 299.0


def test_a_late_success_does_not_cut_a_retry_after_short() -> None:
    """With a rate limit some senders succeed while others are told to wait; the wait holds for all."""
    subject = breaker(chance=0.0)
    subject.fail(told_to_wait(60.0), began=0.0, now=1.0)
    subject.succeed(1.1)
    assert subject.delay(1.1) > 58.0


def test_hurry_lets_a_probe_through_at_once() -> None:
    """Somebody flushes: the next attempt is now, or, where one has just failed, in a moment."""
    backing_off, broken, held = breaker(), breaker(max_retries=0), breaker()
    fail(backing_off, at=0.0)
    fail(broken, at=0.0)
    held.hold(Outcome.HOLD_CONFIG, 0.0)
    for subject in (backing_off, broken, held):
        assert subject.delay(0.0) > 0.0
        subject.hurry(0.0)
        assert subject.delay(0.0) <= HURRIED_PROBE_GAP
        assert subject.delay(HURRIED_PROBE_GAP) == 0.0


def test_hurry_does_not_override_the_backend() -> None:
    """Where it said when to come back, nobody comes earlier."""
    subject = breaker(chance=0.0)
    subject.fail(told_to_wait(60.0), began=0.0, now=0.0)
    subject.hurry(1.0)
    assert subject.delay(1.0) == 59.0


def test_hurry_never_makes_it_later() -> None:
    """It moves the next attempt towards now only."""
    subject = breaker()
    fail(subject, at=0.0)
    subject.hurry(0.1)
    subject.hurry(50.0)
    assert subject.delay(0.1) == 0.0


def test_break_now_gives_up_once() -> None:
    """At shutdown the first failure is the last; a gate that is unwell has no second setback."""
    subject = breaker()
    fail(subject, at=0.0)
    subject.break_now(now=1.0)
    subject.break_now(now=1.0)
    assert (subject.state, subject.trips) == ("offline", 1)


def test_without_a_chance_it_is_random() -> None:
    """Clients that fail together don't come back together."""
    delays = set()
    for _ in range(20):
        subject = CircuitBreaker(3, 1.0)
        fail(subject, at=0.0)
        delays.add(subject.delay(0.0))
    assert len(delays) > 10
    assert all(0.0 <= delay < 1.0 for delay in delays)
