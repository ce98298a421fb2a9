"""What tests of tracking share: a client with a clock that ticks, and what it has logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp.tracking.client_sinks import BanyanSink
from banyan_hp.tracking.methods import BanyanTracking
from banyan_hp.tracking.scopes import current


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Logged:
    """A logger that keeps what it is given, and can be told to fail."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.failing = False
        self.faults: list[str] = []

    def failed(self, doing: str, _error: BaseException) -> None:
        self.faults.append(doing)

    def log_prompt(self, input: Any, output: Any, **fields: Any) -> bool:  # noqa: A002
        if self.failing:
            raise RuntimeError("the logger is broken")
        metadata = {**current().metadata, **fields.pop("metadata")}
        self.records.append({"input": input, "output": output, **fields, **metadata})
        return True

    def score(self, name: str, value: Any, **given: Any) -> bool:
        self.records.append({"score": name, "value": value, **given})
        return True


class Tracker(BanyanTracking):
    def __init__(self) -> None:
        self.logged = Logged()

    def sink(self) -> BanyanSink:
        return self._sink()

    def _sink(self) -> BanyanSink:
        return BanyanSink(self.logged, self, self.logged.failed)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker()


@pytest.fixture
def records(tracker: Tracker) -> Iterator[list[dict[str, Any]]]:
    yield tracker.logged.records
    assert tracker.logged.faults == [] or tracker.logged.failing
