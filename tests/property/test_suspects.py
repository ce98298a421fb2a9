"""Whatever a backend refuses or fails at: good records arrive, and only bad ones are put aside."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.ledger import Term
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, json_answer

KINDS = st.sampled_from(["good", "good", "good", "bad", "poison"])
MOODS = st.sampled_from([None, None, 400, 503])


class Model(FakeBackend):
    """Refuses what is bad, fails at poison, and has moods in which it does so with everything."""

    def __init__(self, *, batches: bool, whole: bool) -> None:
        super().__init__(batches=batches)
        self.whole = whole
        self.mood: int | None = None
        self.behaviour = self.judge
        self.refuses = lambda body: body["input"] == "bad"

    def judge(self, request: Request) -> Response:
        kinds = {body["input"] for body in _bodies(request)}
        if self.mood is not None:
            return json_answer(self.mood, {"error": "everything"})
        if "poison" in kinds:
            return json_answer(503, {"error": "poison"})
        if self.whole and "bad" in kinds:
            return json_answer(400, {"error": "one of these"})
        answer = self.well(request)
        assert isinstance(answer, Response)
        return answer


def _bodies(request: Request) -> list[Any]:
    body = json.loads(request.body or b"{}")
    return [each["body"] for each in body["records"]] if "records" in body else [body] if body else []


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(MOODS, st.lists(KINDS, max_size=12), st.floats(0.1, 200)), max_size=8),
    batches=st.booleans(),
    whole=st.booleans(),
    spool=st.booleans(),
)
def test_good_records_arrive_and_only_refused_ones_are_put_aside(
    steps: list[tuple[int | None, list[str], float]], *, batches: bool, whole: bool, spool: bool
) -> None:
    """Through outages of refusals and of errors, with batches or without, with a disk or without."""
    folder = Path(tempfile.mkdtemp(prefix="banyan-hp-suspects-"))
    try:
        _live(steps, Model(batches=batches, whole=whole), folder if spool else None)
    finally:
        shutil.rmtree(folder)


def _live(steps: list[tuple[int | None, list[str], float]], model: Model, folder: Path | None) -> None:
    clock = FakeClock()
    engine = SteppedEngine(
        model, clock, folder, batching="always" if model.batches else "never", batch_size=5
    )
    logged: list[tuple[str, str]] = []

    def log(kind: str) -> None:
        record = engine.log(kind)
        assert record is not None
        logged.append((record.id, kind))

    for mood, kinds, seconds in steps:
        model.mood = mood
        for kind in kinds:
            log(kind)
        _run(engine, seconds)
        if mood is not None and not model.taken:
            assert not engine.ledger.own[Term.QUARANTINED] + engine.ledger.own[Term.DROPPED]
    model.mood = None
    for _ in range(8):
        log("good")
        _run(engine, 100.0)
    assert {ident for ident, kind in logged if kind == "good"} == set(model.taken)
    assert max(model.taken.values()) == 1
    ended = engine.ledger.own[Term.QUARANTINED] + engine.ledger.own[Term.DROPPED]
    assert ended == sum(kind == "bad" for _, kind in logged)
    assert engine.balanced()


def _run(engine: SteppedEngine, seconds: float) -> None:
    end = engine.clock.monotonic() + seconds
    steps = 0
    while engine.clock.monotonic() < end:
        engine.step(longest_wait=max(0.0, end - engine.clock.monotonic()))
        steps += 1
        assert steps < 5000, "it spins"
