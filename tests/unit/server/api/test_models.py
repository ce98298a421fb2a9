"""What bodies may be, and the one sentence that says what is wrong with one, without the backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import AfterValidator, Field, ValidationError

from banyan_hp.server.api.intake import BANYAN, Envelope
from banyan_hp.server.api.models import (
    REFUSED,
    Amount,
    Name,
    Query,
    Strict,
    inconsistent,
    is_storable,
    shown,
)
from banyan_hp.server.nesting import MAX_DEPTH

record_refusal = BANYAN.refusal

RECORD: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {}}
ENTRY: dict[str, Any] = {"id": "1", "ts": "2026-01-02T03:04:05Z", "body": RECORD}


def envelope_refusal(value: object) -> str | None:
    """Why a value is no batch, or None."""
    try:
        Envelope.model_validate(value)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None


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
        ({"duration_ms": -5}, "duration_ms must be a number >= 0, was -5"),
        ({"duration_ms": True}, "duration_ms must be a number >= 0, was True"),
        ({"duration_ms": "5"}, "duration_ms must be a number >= 0, was '5'"),
        ({"duration_ms": float("nan")}, "duration_ms must be a number >= 0, was nan"),
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


def _pair(value: list[str]) -> list[str]:
    if len(value) != 2:
        raise inconsistent(f" must have two strings, had {len(value)}")
    return value


class _Part(Strict):
    called: ClassVar[str] = "part"

    name: Name
    size: Amount = None


class _Whole(Strict):
    called: ClassVar[str] = "whole"

    parts: Annotated[Sequence[_Part], Field(description="a list of parts")] = ()
    either: Annotated[str | list[_Part] | None, Field(description="a string, or a list of parts")] = None
    few: Annotated[int, Field(description="1 or 2", ge=1, le=2)] | None = None
    pair: Annotated[list[str], AfterValidator(_pair), Field(description="two strings")] | None = None


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (5, "whole must be a JSON object, was 5"),
        ({"more": 5}, "more is no field of the whole, was 5; the fields are parts, either, few, pair"),
        ({"m\n": 5}, "'m\\n' is no field of the whole, was 5; the fields are parts, either, few, pair"),
        ({"parts": 5}, "parts must be a list of parts, was 5"),
        ({"parts": [5]}, "parts[0] must be a JSON object, was 5"),
        (
            {"parts": [{"name": "n"}, {}]},
            "parts[1].name must be a string of 1 to 255 characters, was ",
        ),
        (
            {"parts": [{"name": "n", "more": 1}]},
            "parts[0].more is no field of the part, was 1; the fields ",
        ),
        ({"either": 5}, "either must be a string, or a list of parts, was 5"),
        (
            {"either": [{"name": "", "size": -1}]},
            "either[0].name must be a string of 1 to 255 characters",
        ),
        ({"either": [{"name": "n", "size": -1}]}, "either[0].size must be a number >= 0, was -1"),
        ({"few": 3}, "few must be 1 or 2, was 3"),
        ({"few": "1"}, "few must be 1 or 2, was '1'"),
        ({"pair": ["a"]}, "pair must have two strings, had 1"),
        ({"pair": ["a", 5]}, "pair[1] must be a string, was 5"),
    ],
)
def test_a_refusal_names_the_place_and_what_is_allowed(value: object, refusal: str) -> None:
    """However deep it is, and whichever of several things it may be; nothing of pydantic's words shows."""
    with pytest.raises(ValidationError) as refused:
        _Whole.model_validate(value)
    (error,) = refused.value.errors()
    assert (error["type"], error["msg"][: len(refusal)]) == (REFUSED, refusal)


def test_null_counts_as_not_given() -> None:
    """For a field that need not be there; one that must be there must not be null."""
    assert _Whole.model_validate({"parts": None, "few": None}) == _Whole()
    with pytest.raises(ValidationError, match="name must be a string of 1 to 255 characters, was None"):
        _Part.model_validate({"name": None})


class _Asked(Query):
    limit: Annotated[int, Field(description="a whole number from 1 to 9", ge=1, le=9)] = 5
    failed: Annotated[bool | None, Field(description="true or false")] = None


def test_a_query_turns_texts_into_values() -> None:
    """And refuses those that are none in the same words."""
    assert _Asked.model_validate({"limit": "7", "failed": "true"}) == _Asked(limit=7, failed=True)
    for wrong, refusal in (
        ({"limit": "x"}, "limit must be a whole number from 1 to 9, was 'x'"),
        ({"failed": "perhaps"}, "failed must be true or false, was 'perhaps'"),
    ):
        with pytest.raises(ValidationError, match=refusal):
            _Asked.model_validate(wrong)


def test_a_storable_text_is_one_that_both_databases_hold() -> None:
    """PostgreSQL takes no NUL, and UTF-8 no lone surrogate."""
    assert [is_storable(text) for text in ("", "ä\n", "a\x00b", "\udfff")] == [True, True, False, False]
