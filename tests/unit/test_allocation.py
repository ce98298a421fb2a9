"""Allocation by slots: the published vectors, who keeps what, and configurations that can't be used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.experiments import SLOTS, Slots, Split, experiment_from_config, slot
from banyan_hp.guide import page
from banyan_hp.server.allocation import Ranges, allocated

VECTORS: dict[str, Any] = json.loads(Path("tests/vectors/allocation.json").read_text("utf-8"))
CONFIG: dict[str, Any] = {
    "experiment_id": "exp-1",
    "status": "running",
    "sticky_type": "user_id",
    "allocation": 2,
    "versions": [
        {"experiment_version_id": each, "version": each, "content": each, "traffic_percentage": 10}
        for each in ("a", "b")
    ],
    "slots": VECTORS["assignments"]["slots"],
}


@pytest.mark.parametrize("vector", VECTORS["slots"], ids=str)
def test_the_slots_of_the_vectors(vector: dict[str, Any]) -> None:
    """The formula gives these numbers, whatever the platform and the Python version."""
    assert slot(vector["salt"], vector["value"]) == vector["slot"]


def test_the_assignments_of_the_vectors() -> None:
    """A client looks them up in the configuration; who has no version gets the default one."""
    experiment = experiment_from_config(CONFIG)
    got = {value: experiment.version_for(value) for value in VECTORS["assignments"]["versions"]}
    named = {value: version and version.experiment_version_id for value, version in got.items()}
    assert named == VECTORS["assignments"]["versions"]


@pytest.mark.parametrize("history", VECTORS["histories"], ids=lambda history: str(history["what"]))
def test_the_histories_of_the_vectors(history: dict[str, Any]) -> None:
    """Change after change, each from the slots of the one before."""
    slots: dict[str, Ranges] = {}
    for step in history["steps"]:
        slots = allocated(step["percentages"], slots)
        assert json.loads(json.dumps(slots)) == step["slots"]


def test_the_guide_shows_the_vectors() -> None:
    """Each row of its table is one of them."""
    section = page("prompts").text.partition("| salt | value | slot |")[2].partition("\n\n")[0]
    shown = re.findall(r"^\| `(.*)` \| `(.*)` \| ([\d,]+) \|", section, re.MULTILINE)
    known = {(each["salt"], each["value"], each["slot"]) for each in VECTORS["slots"]}
    assert len(shown) >= 4
    assert {(salt, value, int(number.replace(",", ""))) for salt, value, number in shown} <= known


def test_boundaries_are_exact() -> None:
    """A range begins with its first slot and ends before its second number."""
    place = slot("s", "u")
    assert Slots("s", [[(place, place + 1)]]).choose("u") == 0
    assert Slots("s", [[(place + 1, SLOTS)], [(0, place)]]).choose("u") is None
    assert Slots("s", [[], [(0, SLOTS)]]).choose("u") == 1
    assert Slots("s", []).choose("u") is None


def test_an_experiment_without_an_allocation_routes_as_it_did() -> None:
    """Nothing, null and 1 are the first rule, to the bit; slots count for nothing there."""
    plain = {name: value for name, value in CONFIG.items() if name not in ("allocation", "slots")}
    split = Split("exp-1", [10, 10])
    for more in ({}, {"allocation": None}, {"allocation": 1}, {"allocation": 1, "slots": CONFIG["slots"]}):
        experiment = experiment_from_config({**plain, **more})
        assert experiment.split == split


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"allocation": 3}, "allocation must be 1 or 2, was 3"),
        ({"allocation": True}, "allocation must be 1 or 2, was True"),
        ({"allocation": "2"}, "allocation must be 1 or 2, was '2'"),
        ({"slots": None}, "slots must be an object"),
        ({"slots": {"c": []}}, "by the ids of different versions"),
        ({"versions": [CONFIG["versions"][0]] * 2, "slots": {}}, "by the ids of different versions"),
        ({"slots": {"a": None}}, "lists of ranges"),
        ({"slots": {"a": [5]}}, "lists of ranges"),
        ({"slots": {"a": [[0, 1, 2]]}}, "lists of ranges"),
        ({"slots": {"a": [[0, 1.5]]}}, "lists of ranges"),
        ({"slots": {"a": [[False, True]]}}, "lists of ranges"),
        ({"slots": {"a": [[5, 5]]}}, r"that don't overlap, was \[5, 5\]"),
        ({"slots": {"a": [[-1, 5]]}}, r"ranges from 0 to 1000000"),
        ({"slots": {"a": [[0, SLOTS + 1]]}}, r"ranges from 0 to 1000000"),
        ({"slots": {"a": [[0, 5]], "b": [[4, 6]]}}, r"that don't overlap, was \[4, 6\]"),
    ],
)
def test_slots_that_make_no_sense_are_named(change: dict[str, Any], message: str) -> None:
    """The experiment is ignored: its users get the default version, never a wrong one."""
    with pytest.raises(ValueError, match=f"experiment 'exp-1' is ignored: .*{message}"):
        experiment_from_config({**CONFIG, **change})


def test_a_share_too_small_for_a_slot_is_none() -> None:
    """A percentage is rounded to a slot, a ten-thousandth of a percent."""
    slots = allocated({"a": 0.0001, "b": 0.00004, "c": 0.00016, "d": 1e-30}, {})
    assert slots == {"a": ((0, 1),), "b": (), "c": ((1, 3),), "d": ()}
