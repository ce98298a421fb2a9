"""The thread that makes calls of spans."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest

from banyan_hp.server import deriving
from banyan_hp.server.deriving import Deriving, rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.spans.facts import Facts, Told, facts_of
from banyan_hp.server.store.database import BusyError
from tests.support.senders import neighbourhood_of, stored_of

RULE = rule_of(bundled())


class Arriving:
    """Spans of which calls are made twice, once after trouble."""

    def __init__(self) -> None:
        self.steps = 0
        self.done = threading.Event()
        self.maintained = 0

    def maintain(self, now: datetime) -> None:
        self.maintained += 1

    def derive(self, limit: int, rule: object) -> int:
        self.steps += 1
        if self.steps == 1:
            raise BusyError("others have it")
        if self.steps == 3:
            self.done.set()
        return 0


def test_it_goes_on_after_trouble(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And says so; room for the days to come is made once an hour."""
    monkeypatch.setattr(deriving, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(deriving, "RETRY_SECONDS", 0.01)
    spans = Arriving()
    with Deriving(cast("Any", spans), lambda found: []):
        assert spans.done.wait(10)
    assert spans.maintained == 1
    assert "calls are made of spans later: others have it" in caplog.text
    assert "banyan_hp-deriving" not in [thread.name for thread in threading.enumerate()]


class Failing(Arriving):
    """Spans of which calls can't be made once, for a reason that nobody has thought of."""

    def derive(self, limit: int, rule: object) -> int:
        self.steps += 1
        if self.steps == 1:
            raise TypeError("unhashable")
        self.done.set()
        return 0


def test_it_goes_on_after_any_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread makes the calls of all projects: no span of one may end it."""
    monkeypatch.setattr(deriving, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(deriving, "PAUSE_SECONDS", 0.01)
    spans = Failing()
    with Deriving(cast("Any", spans), lambda found: []):
        assert spans.done.wait(10)
    assert "unhashable" in caplog.text


def test_events_that_can_t_be_read_keep_no_call_from_being_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The span's own words count then, and other spans are not concerned."""
    found = neighbourhood_of(stored_of("oi-openai-0.1.66"))
    whole = [each.call.id for each in RULE(found)]

    def failing(span: Told) -> Facts:
        if "broken" in span.attributes:
            raise TypeError("unhashable")
        return facts_of(span)

    monkeypatch.setattr(deriving, "facts_of", failing)
    broken = {each.key: [{"attributes": {"broken": 1}}] for each in found.spans}
    assert [each.call.id for each in RULE(replace(found, events=broken))] == whole
    assert "can't be read" in caplog.text
