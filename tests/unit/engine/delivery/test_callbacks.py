"""What the application's callbacks are told, and what happens when they raise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from banyan_hp.engine.delivery.callbacks import KEPT_ERRORS, Callbacks, Hooks, Notices
from banyan_hp.engine.delivery.shared import Shared
from banyan_hp.engine.delivery.stepwise import Watchers
from banyan_hp.engine.records.ledger import Ledger
from banyan_hp.engine.sync import Clock, EngineLock
from banyan_hp.errors import DeliveryError
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine


def error(text: str) -> DeliveryError:
    return DeliveryError(text, reason="status", status=503)


def explode(*_: object) -> NoReturn:
    raise ValueError("the secret of the callback")


def notices_of(
    lock: EngineLock,
    ledger: Ledger,
    on_error: Callable[[DeliveryError], object] | None,
    on_drop: Callable[[str, int], object] | None,
) -> Notices:
    policies = SteppedEngine(FakeBackend(), FakeClock()).parts.policies
    shared = Shared(lock, Clock(), ledger, policies, Watchers())
    return Notices(shared, Callbacks(shared, Hooks(on_error=on_error, on_drop=on_drop)))


def is_pending(notices: Notices) -> bool:
    return notices.pending


class Ear:
    """Hears what is told, and looks whether the lock is free meanwhile."""

    def __init__(self, lock: EngineLock) -> None:
        self.lock = lock
        self.errors: list[str] = []
        self.drops: list[tuple[str, int]] = []
        self.lock_was_free: list[bool] = []

    def on_error(self, reported: DeliveryError) -> None:
        self.errors.append(str(reported))
        self._look()

    def on_drop(self, reason: str, count: int) -> None:
        self.drops.append((reason, count))
        self._look()

    def _look(self) -> None:
        done = threading.Event()

        def enter() -> None:
            with self.lock:
                done.set()

        thread = threading.Thread(target=enter, daemon=True)
        thread.start()
        self.lock_was_free.append(done.wait(5))


def test_callbacks_are_told_what_happened() -> None:
    """Each error by itself and in order; drops as one number for each reason."""
    lock = EngineLock()
    ear = Ear(lock)
    notices = notices_of(lock, Ledger(), ear.on_error, ear.on_drop)
    assert not is_pending(notices)
    with lock:
        notices.failed(error("first"))
        notices.failed(error("second"))
        notices.dropped("overflow", 2)
        notices.dropped("spool_full", 1)
        notices.dropped("overflow", 3)
    assert is_pending(notices)
    assert (ear.errors, ear.drops) == ([], [])
    notices.report()
    assert ear.errors == ["first", "second"]
    assert sorted(ear.drops) == [("overflow", 5), ("spool_full", 1)]
    assert all(ear.lock_was_free)


def test_nothing_is_told_twice() -> None:
    """What has been told is no longer pending."""
    lock = EngineLock()
    ear = Ear(lock)
    notices = notices_of(lock, Ledger(), ear.on_error, ear.on_drop)
    with lock:
        notices.failed(error("once"))
        notices.dropped("overflow", 1)
    notices.report()
    assert not notices.pending
    notices.report()
    assert (ear.errors, ear.drops) == (["once"], [("overflow", 1)])


def test_errors_that_nobody_hears_are_bounded() -> None:
    """A thousand failures before anybody is told are the last hundred of them."""
    lock = EngineLock()
    ear = Ear(lock)
    notices = notices_of(lock, Ledger(), lambda reported: ear.errors.append(str(reported)), None)
    for number in range(KEPT_ERRORS + 50):
        with lock:
            notices.failed(error(str(number)))
    notices.report()
    assert ear.errors == [str(number) for number in range(50, KEPT_ERRORS + 50)]
    for number in range(KEPT_ERRORS + 50):
        with lock:
            notices.failed(error(str(number)))
    notices.report()
    assert len(ear.errors) == 2 * KEPT_ERRORS


def test_without_callbacks_nothing_is_gathered() -> None:
    """The last error is kept for the stats, and no more."""
    lock = EngineLock()
    notices = notices_of(lock, Ledger(), None, None)
    with lock:
        notices.failed(error("seen in stats"))
        notices.dropped("overflow", 5)
    assert not notices.pending
    assert notices.last_error == "seen in stats"
    notices.report()


def test_a_callback_that_raises_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others are still called; the log names the callback and the kind of error, not its text."""
    lock, ledger, heard = EngineLock(), Ledger(), []
    notices = notices_of(lock, ledger, explode, lambda reason, count: heard.append((reason, count)))
    with lock:
        notices.failed(error("x"))
        notices.failed(error("y"))
        notices.dropped("overflow", 1)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        notices.report()
    assert ledger.counters.callback_errors == 2
    assert heard == [("overflow", 1)]
    assert [record.getMessage() for record in caplog.records] == ["the callback on_error raised ValueError"]


def test_a_callback_may_cause_news() -> None:
    """What happens during a callback is told by the next one, not in an endless round."""
    lock, reported = EngineLock(), []
    notices: Notices

    def on_error(heard: DeliveryError) -> None:
        reported.append(str(heard))
        with lock:
            notices.failed(error("again"))

    notices = notices_of(lock, Ledger(), on_error, None)
    with lock:
        notices.failed(error("first"))
    notices.report()
    assert reported == ["first"]
    assert notices.pending
