"""How many senders are worth having: by how long answers take, and whether a request hangs."""

from __future__ import annotations

import itertools

from banyan_hp.engine.delivery.tasks import NEVER, Send, Task, Wait
from banyan_hp.engine.policy.concurrency_limit import LOOK_AGAIN_SECONDS, ConcurrencyLimit
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine


def worth(concurrency: ConcurrencyLimit, now: float) -> int:
    """How many senders it takes, begun at `now`, until another one is not worth it."""
    for sender in itertools.count():
        if concurrency.enough(now):
            return sender
        concurrency.begin(sender, now)
    raise AssertionError


def test_one_sender_is_enough_for_quick_answers() -> None:
    """Loopback, say: another one would wait for the interpreter, not for the backend."""
    concurrency = ConcurrencyLimit()
    concurrency.took(30e-6)
    assert worth(concurrency, now=1.0) == 1


def test_slow_answers_are_worth_many_senders() -> None:
    """While one waits for 5 ms, others can send."""
    concurrency = ConcurrencyLimit()
    concurrency.took(5e-3)
    assert 10 <= worth(concurrency, now=1.0) <= 100


def test_before_the_first_answer_a_second_sender_waits_a_moment() -> None:
    """Nothing is known yet; a request that takes longer than a moment tells."""
    concurrency = ConcurrencyLimit()
    concurrency.begin(1, now=1.0)
    assert concurrency.enough(now=1.0 + LOOK_AGAIN_SECONDS / 2)
    assert not concurrency.enough(now=1.0 + 2 * LOOK_AGAIN_SECONDS)


def test_a_request_that_hangs_is_no_sender_at_work() -> None:
    """However quick answers are usually."""
    concurrency = ConcurrencyLimit()
    concurrency.took(30e-6)
    concurrency.begin(1, now=1.0)
    assert concurrency.enough(now=1.001)
    assert not concurrency.enough(now=2.0)
    concurrency.end(1)
    concurrency.begin(2, now=2.0)
    assert concurrency.enough(now=2.001)


def test_a_late_answer_now_and_then_changes_nothing_but_a_slower_backend_does() -> None:
    """A busy machine makes some answers late; a backend that has become slow makes all late."""
    concurrency = ConcurrencyLimit()
    for _ in range(10):
        concurrency.took(5e-3)
        concurrency.took(30e-6)
    assert worth(concurrency, now=1.0) == 1
    for sender in range(10):
        concurrency.end(sender)
        concurrency.took(5e-3)
    assert worth(concurrency, now=2.0) > 1


def test_whoever_is_on_watch_and_gets_other_work_is_relieved() -> None:
    """Else nobody would look while a request hangs, as long as no further record comes."""
    clock = FakeClock()
    engine = SteppedEngine(FakeBackend(), clock, batching="never")
    scheduler, concurrency = engine.scheduler, engine.parts.policies.concurrency
    concurrency.begin(1, clock.monotonic())
    watch, other = WakeUp(), WakeUp()
    engine.add_sleeper(other)
    engine.add_sleeper(watch, on_watch=True)
    engine.log()
    assert scheduler.sleepers.idle == [other, watch], "those at work do enough, and one is on watch"
    with engine.lock:
        scheduler.sleepers.wake_one()
    engine.log()
    assert scheduler.sleepers.idle == [], "nobody is on watch: the next one takes it over"


def test_one_of_those_who_stand_by_looks_again_soon() -> None:
    """The second sender sleeps a moment, the third until it is rung; after the moment a hang is seen."""
    clock = FakeClock()
    engine = SteppedEngine(FakeBackend(), clock, batching="never")
    concurrency = engine.parts.policies.concurrency

    def next_task(now: float, *, one_of_many: bool = False) -> Task:
        with engine.lock:
            return engine.scheduler.next_task(now, one_of_many=one_of_many)

    for _ in range(3):
        engine.log()
    now = clock.monotonic()
    first = next_task(now, one_of_many=True)
    assert isinstance(first, Send)
    concurrency.begin(id(first.records), now)
    second = next_task(now, one_of_many=True)
    assert second == Wait(LOOK_AGAIN_SECONDS, on_watch=True)
    engine.add_sleeper(WakeUp(), on_watch=True)
    assert next_task(now, one_of_many=True) == Wait(NEVER)
    assert isinstance(next_task(now), Send), "a caller who does the work itself waits for nobody"
    assert isinstance(next_task(now + 2 * LOOK_AGAIN_SECONDS, one_of_many=True), Send)
