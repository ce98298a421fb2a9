"""Waking and locking: the two things that must work from destructors and signal handlers."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import pytest

from banyan_hp.engine.sync import Clock, EngineLock, ReleasingOnError, WakeUp
from tests.support.clock import LONGEST_STEP, FakeClock

LONG = 20.0


class Cycle:
    """Garbage that only the collector finds, and that acts when it does."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.me = self
        self.act = act

    def __del__(self) -> None:
        self.act()


# -- the bell ------------------------------------------------------------------------------------------------


def test_a_ring_before_the_wait_is_heard() -> None:
    """Nothing is missed between looking and waiting."""
    wake_up = WakeUp()
    wake_up.wake()
    assert wake_up.wait(LONG)


def test_many_rings_are_one() -> None:
    """Whoever wakes looks at everything: a second ring would only wake it for nothing."""
    wake_up = WakeUp()
    wake_up.wake()
    wake_up.wake()
    assert wake_up.wait(0)
    assert not wake_up.wait(0)


@pytest.mark.parametrize("seconds", [0, -1.0, 0.001])
def test_a_silent_bell_lets_time_run_out(seconds: float) -> None:
    """Without a ring the wait ends by itself and says so."""
    assert not WakeUp().wait(seconds)


def test_an_endless_wait_is_possible() -> None:
    """Infinity is more than a lock's timeout can hold; it must not raise."""
    wake_up = WakeUp()
    wake_up.wake()
    assert wake_up.wait(float("inf"))


def test_a_ring_wakes_a_waiting_thread() -> None:
    """The waiting thread goes on as soon as another one rings."""
    wake_up, heard = WakeUp(), []
    waiting = threading.Thread(target=lambda: heard.append(wake_up.wait(LONG)))
    waiting.start()
    wake_up.wake()
    waiting.join(LONG)
    assert heard == [True]


def test_the_garbage_collector_may_ring() -> None:
    """A destructor that rings in the middle of the waiting thread's own work can't deadlock it."""
    wake_up = WakeUp()
    Cycle(wake_up.wake)
    gc.collect()
    assert wake_up.wait(0)


def test_the_real_clock_waits_for_the_bell() -> None:
    """Clock.wait is the bell's wait."""
    wake_up, clock = WakeUp(), Clock()
    wake_up.wake()
    assert clock.wait(wake_up, LONG)
    assert not clock.wait(wake_up, 0.001)


# -- the fake clock ------------------------------------------------------------------------------------------


def test_the_fake_clock_moves_instead_of_waiting() -> None:
    """A wait takes no time and moves both times by what it would have taken."""
    clock = FakeClock(monotonic=5.0, wall=50.0)
    assert not clock.wait(WakeUp(), LONG)
    assert (clock.monotonic(), clock.wall()) == (5.0 + LONG, 50.0 + LONG)
    assert not clock.wait(WakeUp(), float("inf"))
    assert clock.monotonic() == 5.0 + LONG + LONGEST_STEP


def test_the_fake_clock_stands_still_when_the_bell_has_rung() -> None:
    """A wait that is over at once takes no time."""
    clock, wake_up = FakeClock(monotonic=5.0), WakeUp()
    wake_up.wake()
    assert clock.wait(wake_up, LONG)
    assert clock.monotonic() == 5.0


# -- the guard -----------------------------------------------------------------------------------------------


def test_the_guard_keeps_others_out() -> None:
    """Another thread gets in only when the section is over."""
    lock, order, inside = EngineLock(), [], threading.Event()

    def other() -> None:
        inside.set()
        with lock:
            order.append("other")

    thread = threading.Thread(target=other)
    with lock:
        thread.start()
        inside.wait(LONG)
        order.append("first")
    thread.join(LONG)
    assert order == ["first", "other"]


def is_free(lock: EngineLock) -> bool:
    """Whether another thread gets in."""
    entered = []

    def enter() -> None:
        with lock:
            entered.append(True)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(2)
    return entered == [True]


def test_a_thread_that_is_inside_knows_it() -> None:
    """Before the section, in it, in one inside it, and afterwards."""
    lock, seen = EngineLock(), []
    seen.append(lock.is_mine())
    with lock:
        seen.append(lock.is_mine())
        with lock:
            seen.append(lock.is_mine())
        seen.append(lock.is_mine())
    seen.append(lock.is_mine())
    assert seen == [False, True, True, True, False]
    assert is_free(lock)


def test_another_thread_s_section_is_not_mine() -> None:
    """What counts is that a thread interrupts itself."""
    lock, seen = EngineLock(), []
    with lock:
        thread = threading.Thread(target=lambda: seen.append(lock.is_mine()))
        thread.start()
        thread.join(LONG)
    assert seen == [False]


def test_a_destructor_inside_a_section_is_deferred() -> None:
    """What the collector runs in the middle of a section finds it so; its work is done afterwards."""
    lock, events = EngineLock(), []

    def destructor() -> None:
        if lock.is_mine():
            lock.defer(lambda: events.append("deferred work"))
        else:
            events.append("direct work")

    gc.collect()
    Cycle(destructor)
    with lock:
        gc.collect()
        events.append("section")
    lock.run_deferred()
    assert events == ["section", "deferred work"]


def test_deferred_work_runs_in_order_and_once() -> None:
    """Also what deferred work defers in its turn."""
    lock, events = EngineLock(), []

    def first() -> None:
        events.append("first")
        lock.defer(lambda: events.append("third"))

    lock.defer(first)
    lock.defer(lambda: events.append("second"))
    assert lock.deferred
    lock.run_deferred()
    lock.run_deferred()
    assert events == ["first", "second", "third"]
    assert not lock.deferred


def test_a_section_that_raises_lets_go() -> None:
    """The lock is free after an exception, too."""
    lock = EngineLock()
    with pytest.raises(KeyError), lock, lock:
        raise KeyError
    assert is_free(lock)


def test_a_signal_handler_that_raises_anywhere_leaves_the_lock_free() -> None:
    """Ctrl-C at any moment of a program that does nothing but enter and leave: never held, never nested.

    On CPython 3.14 the exception strikes behind entering, too: that is what the guard around it is for.
    """
    lock, raised = EngineLock(), 0

    def raise_an_error(*_: object) -> NoReturn:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, raise_an_error)
    try:
        for number in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number))
                for _ in range(20_000):
                    with ReleasingOnError((lock,)), lock, lock:
                        len("x")
            except InterruptedError:
                raised += 1
            assert not lock.is_mine()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised > 200
    assert is_free(lock)


def test_nothing_of_the_guard_s_own_can_be_interrupted() -> None:
    """Entering and leaving runs no line of Python, where an exception could strike."""
    lock = EngineLock()
    here, elsewhere = sys._getframe().f_code, []

    def trace(frame: FrameType, _event: str, _argument: object) -> None:
        if frame.f_code is not here:
            elsewhere.append(frame.f_code.co_name)

    sys.setprofile(trace)
    try:
        with lock:
            pass
    finally:
        sys.setprofile(None)
    assert elsewhere == []
