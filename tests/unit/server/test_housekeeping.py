"""What a server does beside answering, without a database."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any, cast

import pytest

from banyan_hp.server import housekeeping
from banyan_hp.server.housekeeping import Housekeeping
from banyan_hp.server.store.database import BusyError


class Indexed:
    """Calls of which there is always one to index; it notes whether intake was busy then."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.while_busy: list[bool] = []
        self.twice = threading.Event()

    def maintain(self, now: datetime) -> None: ...

    def index(self, limit: int) -> int:
        self.while_busy.append(self.busy.is_set())
        if len(self.while_busy) == 2:
            self.twice.set()
        return limit


def test_indexing_gives_way_to_intake_but_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """While calls come without a pause it takes a step now and then."""
    monkeypatch.setattr(housekeeping, "MOST_GIVEN_WAY", 0.2)
    calls = Indexed()
    calls.busy.set()
    with Housekeeping(cast("Any", calls), calls.busy.is_set):
        assert calls.twice.wait(10)
    assert len(calls.while_busy) <= 3
    assert calls.while_busy[:2] == [True, True]


def test_indexing_does_not_wait_where_nothing_comes() -> None:
    """One step follows the other."""
    calls = Indexed()
    with Housekeeping(cast("Any", calls), calls.busy.is_set):
        assert calls.twice.wait(10)
    assert calls.while_busy[0] is False


def test_what_fails_keeps_nothing_else_from_being_done() -> None:
    """Each step is tried by itself, again and again."""
    calls, done = Indexed(), threading.Event()

    def fail(limit: int) -> int:
        raise BusyError("not now")

    def count(limit: int) -> int:
        done.set()
        return 0

    with Housekeeping(cast("Any", calls), calls.busy.is_set, [fail, count]):
        assert done.wait(10)
        assert calls.twice.wait(10)


def test_what_could_not_be_done_is_done_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not left for an hour where the database was busy."""
    monkeypatch.setattr(housekeeping, "RETRY_SECONDS", 0.0)

    class Busy(Indexed):
        tries = 0
        done = threading.Event()

        def maintain(self, now: datetime) -> None:
            self.tries += 1
            if self.tries < 3:
                raise BusyError("not now")
            self.done.set()

        def index(self, limit: int) -> int:
            return limit

    calls = Busy()
    with Housekeeping(cast("Any", calls)):
        assert calls.done.wait(10)
    assert calls.tries == 3


def test_it_begins_with_room_for_the_calls_that_come() -> None:
    """Nothing is served before: what comes earlier would move while others read it."""

    class Slow(Indexed):
        made = False

        def maintain(self, now: datetime) -> None:
            threading.Event().wait(0.05)
            self.made = True

    calls = Slow()
    with Housekeeping(cast("Any", calls)):
        assert calls.made
