"""The local backend's checks of bodies, without the backend."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import pytest
from banyan_hp.server.experiments import choose
from banyan_hp.server.requests import gunzip
from banyan_hp.server.validation import (
    MAX_DEPTH,
    envelope_refusal,
    parse_json,
    record_refusal,
    shown,
    timestamp_refusal,
)
from starlette.exceptions import HTTPException

RECORD: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {}}
ENTRY: dict[str, Any] = {"id": "1", "ts": "2026-01-02T03:04:05Z", "body": RECORD}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"inner": value}
    return value


def test_a_record_with_every_field_is_good() -> None:
    """All the fields of the wire protocol are taken."""
    text = "prompt_id prompt_name version branch_name model experiment_id experiment_version_id sticky_key"
    full = RECORD | dict.fromkeys([*text.split(), "sticky_value"], "x") | {"duration_ms": 12.5}
    assert record_refusal(full) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"input": "", "output": ""},
        {"input": "\ud800"},
        {"duration_ms": 0},
        {"duration_ms": 10**400},
        {"metadata": {"list": [1, [2.5, None]], "flag": True}},
        {"metadata": nested(MAX_DEPTH)},
        {"model": ""},
        {"prompt_id": None, "model": None, "duration_ms": None, "sticky_value": None},
    ],
)
def test_unusual_values_within_the_rules_are_good(changes: dict[str, Any]) -> None:
    """Empty strings, lone surrogates, zero and deep metadata are a caller's business."""
    assert record_refusal(RECORD | changes) is None


@pytest.mark.parametrize("missing", ["input", "output", "metadata"])
def test_a_missing_field_is_named(missing: str) -> None:
    """Each required field is asked for by name."""
    body = {name: value for name, value in RECORD.items() if name != missing}
    assert str(record_refusal(body)).startswith(f"{missing} must be ")
    assert str(record_refusal(body)).endswith(", was missing")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"input": 5}, "input must be a string, was 5"),
        ({"output": None}, "output must be a string, was None"),
        ({"metadata": []}, f"metadata must be an object, nested at most {MAX_DEPTH} deep, was []"),
        ({"duration_ms": -5}, "duration_ms must be a number of milliseconds >= 0, was -5"),
        ({"duration_ms": True}, "duration_ms must be a number of milliseconds >= 0, was True"),
        ({"duration_ms": "5"}, "duration_ms must be a number of milliseconds >= 0, was '5'"),
        ({"duration_ms": float("nan")}, "duration_ms must be a number of milliseconds >= 0, was nan"),
        ({"model": ["gpt"]}, "model must be a string, was ['gpt']"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_was(changes: dict[str, Any], refusal: str) -> None:
    """A refusal names the field, what it should be and what it was."""
    assert record_refusal(RECORD | changes) == refusal


def test_metadata_too_deep_is_refused() -> None:
    """One level more than the limit is too deep."""
    assert str(record_refusal(RECORD | {"metadata": nested(MAX_DEPTH + 1)})).startswith(
        "metadata must be an object"
    )


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    """A body holds exactly what the protocol says; the refusal helps with the spelling."""
    refusal = str(record_refusal(RECORD | {"promptname": "x"}))
    assert refusal.startswith("promptname is no field of the body, was 'x'; the fields are input, output, ")


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_a_record_is_an_object(body: object) -> None:
    """Any other JSON value is refused."""
    assert record_refusal(body) == f"body must be a JSON object, was {body!r}"


def test_values_too_deep_for_repr_are_refused_all_the_same() -> None:
    """What the parser lets in can be refused without an exception."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert str(record_refusal(RECORD | {"input": deep})).endswith("was a deeply nested list")
    assert record_refusal(RECORD | {"metadata": {"deep": deep}}) is not None


def test_long_values_are_cut_in_refusals() -> None:
    """However long a value, the message stays a line."""
    assert shown("x" * 80) == "'" + "x" * 78 + "…"
    assert len(str(record_refusal(RECORD | {"model": ["x" * 10_000]}))) < 120


@pytest.mark.parametrize(
    ("envelope", "refusal"),
    [
        ([], "body must be a JSON object, was []"),
        ({}, "records must be a list, was missing"),
        ({"records": {}}, "records must be a list, was {}"),
        ({"records": [], "more": 1}, "more is no field of the body, was 1; the fields are records"),
        ({"records": [5]}, "records[0] must be a JSON object, was 5"),
        (
            {"records": [ENTRY, ENTRY | {"id": 5}]},
            "records[1].id must be a string of 1 to 255 characters, was 5",
        ),
        ({"records": [ENTRY | {"id": ""}]}, "records[0].id must be a string of 1 to 255 characters, was ''"),
        ({"records": [ENTRY | {"ts": 5}]}, "records[0].ts must be an ISO-8601 string, was 5"),
        ({"records": [{"id": "1", "ts": ENTRY["ts"]}]}, "records[0].body must be present, was missing"),
    ],
)
def test_an_envelope_that_cannot_be_answered_entry_by_entry_is_refused(
    envelope: object, refusal: str
) -> None:
    """The place of the mistake is part of the refusal."""
    assert envelope_refusal(envelope) == refusal


def test_a_lone_surrogate_in_an_id_is_refused() -> None:
    """An id has to fit in the database's UTF-8."""
    assert str(envelope_refusal({"records": [ENTRY | {"id": "a\ud800"}]})).startswith("records[0].id must be")


def test_bad_bodies_are_no_matter_of_the_envelope() -> None:
    """A batch with a bad record is a good batch; the record is answered for itself."""
    assert envelope_refusal({"records": [ENTRY | {"body": 5, "ts": "yesterday"}]}) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456+00:00",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02 03:04:05.1-0330",
        "2026-01-02T03:04:05",
    ],
)
def test_a_timestamp_is_iso_8601(text: str) -> None:
    """The shapes that are met in practice are taken."""
    assert timestamp_refusal("ts", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-02",
        "2026-13-01T00:00:00Z",
        "2026-01-02T25:00:00Z",
        "1767322800",
        "2026-01-02T03:04:05Zx",
    ],
)
def test_a_malformed_timestamp_is_refused(text: str) -> None:
    """Another shape, or a time that no calendar has, is refused by name."""
    assert timestamp_refusal("ts", text) == f"ts must be an ISO-8601 date and time, was {text!r}"


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "[" * 100_000]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """Python's parser is held to the standard, and to what can be written again."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(text.encode())


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    """JSON travels as UTF-8 and nothing else."""
    with pytest.raises(ValueError, match="utf-8"):
        parse_json(json.dumps({"a": "ä"}, ensure_ascii=False).encode("latin-1"))


def test_unpacking_takes_no_more_memory_than_the_limit() -> None:
    """A gzip bomb is refused after its first bytes, not after all of them."""
    bomb = gzip.compress(b" " * 20_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException, match="413"):
            gunzip(bomb, limit=1_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_unpacking_up_to_the_limit_is_whole() -> None:
    """A body of just the limit's size is a good one."""
    assert gunzip(gzip.compress(b"x" * 1_000), limit=1_000) == b"x" * 1_000


def test_routing_never_changes_its_mind() -> None:
    """One salt and value make one choice; another salt deals the values anew."""
    values = [f"user-{number}/ä" for number in range(200)]
    of_one, again, of_other = ([choose(salt, each, [50, 50]) for each in values] for salt in ("a", "a", "b"))
    assert of_one == again
    assert of_one != of_other


def test_routing_follows_the_percentages() -> None:
    """Of 10,000 values, each version gets its share, and the rest gets none."""
    chosen = [choose("exp", f"user-{number}", [20, 50]) for number in range(10_000)]
    assert chosen.count(0) == pytest.approx(2_000, abs=200)
    assert chosen.count(1) == pytest.approx(5_000, abs=250)
    assert chosen.count(None) == pytest.approx(3_000, abs=230)


def test_full_traffic_leaves_nobody_out() -> None:
    """Percentages that sum up to 100 route every value; 0 routes none."""
    values = [f"user-{number}" for number in range(2_000)]
    assert {choose("exp", value, [50, 50]) for value in values} == {0, 1}
    assert {choose("exp", value, [0]) for value in values} == {None}
