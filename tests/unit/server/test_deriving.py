"""The thread that makes calls of spans."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any, cast

import pytest

from banyan_hp.server import deriving
from banyan_hp.server.deriving import Deriving
from banyan_hp.server.store.database import BusyError


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
