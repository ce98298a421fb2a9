"""Steps and nested calls over time."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.server.store.calls import Call
from banyan_hp.server.ui.sessions import turns_of
from banyan_hp.server.ui.waterfalls import WIDTH, Bar, waterfall
from tests.unit.server.store.samples import call


def made(number: int = 1, seconds: float = 1, **metadata: Any) -> Call:
    body = {"input": f"question {number}", "output": "answer", "metadata": metadata}
    return call(number, body=body, latency_ms=seconds * 1000, seq=number)


def placed(bars: list[Bar]) -> list[tuple[str, int, float | None, float, float]]:
    return [(each.name, each.depth, each.start, each.x, each.width) for each in bars]


STEPS: dict[str, Any] = {
    "step_data": [
        {"id": 1, "type": "find", "response_time": 0.5},
        {"id": 2, "type": "rank", "response_time": 0.25},
        {"id": 3, "type": "write", "response_time": 0.5},
    ],
    "step_details": [
        {"id": 1, "start_ms": 0},
        {"id": 2, "start_ms": 250, "parent": 1},
        {"id": 3, "start_ms": 500},
    ],
}


def test_steps_are_placed_by_their_start_below_what_they_are_in() -> None:
    assert placed(waterfall(made(**STEPS), {})) == [
        ("call", 0, 0, 0, WIDTH),
        ("find", 1, 0, 0, 500),
        ("rank", 2, 250, 250, 250),
        ("write", 1, 500, 500, 500),
    ]


def test_a_call_by_itself_has_no_waterfall() -> None:
    assert waterfall(made(), {}) == []


def test_a_step_without_a_time_is_listed_and_not_drawn() -> None:
    (_, bar) = waterfall(made(step_data=[{"type": "find"}]), {})
    assert (bar.name, bar.start, bar.width) == ("find", None, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"step_data": "x", "step_details": 7},
        {"step_data": [1, None, {"id": {}, "type": []}]},
        {
            "step_data": [{"id": 1}, {"id": 2}],
            "step_details": [{"id": 1, "parent": 2}, {"id": 2, "parent": 1}],
        },
        {"step_data": [{"id": 1, "response_time": -1}, {"id": 1, "response_time": True}]},
        {"step_data": [{"id": number, "parent": number - 1} for number in range(1000)]},
    ],
)
def test_odd_steps_break_nothing(odd: dict[str, Any]) -> None:
    for bar in waterfall(made(**odd), {}):
        assert 0 <= bar.x <= WIDTH


def test_calls_inside_another_one_belong_to_its_turn() -> None:
    inner = made(1, 1, interaction_id="inner", parent_interaction_id="outer")
    outer = made(2, 4, interaction_id="outer")
    later = made(10, 2)
    first, second = turns_of([later, outer, inner])
    assert (first.call, [bar.call_id for bar in first.bars]) == (outer, ["id-2", "id-1"])
    assert [bar.start for bar in first.bars] == [0, 2000]
    assert (second.call, second.pause, second.bars) == (later, 6000, [])


def test_calls_that_name_each_other_break_nothing() -> None:
    twin = made(1, interaction_id="a", parent_interaction_id="a")
    other = made(2, interaction_id="a", parent_interaction_id="a")
    assert len(turns_of([twin, other])) == 2
    ring = [made(n, interaction_id=f"{n}", parent_interaction_id=f"{(n + 1) % 3}") for n in range(3)]
    assert len(turns_of(ring)) == 3
    turns_of([made(1, interaction_id="a"), made(2, interaction_id="a", parent_interaction_id="a")])
