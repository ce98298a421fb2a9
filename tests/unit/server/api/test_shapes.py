"""What each client logged, as the one shape: which field fills which column."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from banyan_hp.server.api.shapes import call_of_banyan as priced_banyan
from banyan_hp.server.api.shapes import call_of_huggingplace as priced_huggingplace
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.calls import UNDATED, Call

TIME = datetime(2026, 1, 2, 23, 59, 59, 999_999, UTC)
USAGE: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {}}
INTERACTION: dict[str, Any] = {"user_prompt": "q", "response": "a", "org_id": "o", "mode": "prod"}


def call_of_banyan(project: str, call_id: str, time: datetime | None, body: Any) -> Call:
    return priced_banyan(project, call_id, time, body, bundled())


def call_of_huggingplace(project: str, call_id: str, time: datetime | None, body: Any) -> Call:
    return priced_huggingplace(project, call_id, time, body, bundled())


def filled(call: Any) -> dict[str, Any]:
    """The columns that hold anything, without those that each call has."""
    own = ("project", "id", "day", "event_time", "received_at", "source", "body", "deliveries", "seq")
    return {name: value for name, value in asdict(call).items() if value is not None and name not in own}


def test_a_usage_records_fields_are_the_columns() -> None:
    """Under their own names, but for the branch and the duration."""
    same = {
        name: name
        for name in (
            *("prompt_id", "prompt_name", "version", "model", "experiment_id", "experiment_version_id"),
            *("sticky_key", "sticky_value"),
        )
    }
    call = call_of_banyan("p", "i", TIME, {**USAGE, **same, "branch_name": "dev", "duration_ms": 1.5})
    assert (call.project, call.id, call.source, call.body["input"]) == ("p", "i", "banyan", "question")
    assert filled(call) == {**same, "branch": "dev", "latency_ms": 1.5}


def test_an_interactions_seconds_are_milliseconds() -> None:
    """And its session is a field of its own, before that of the metadata."""
    more = {"llm_model": "m", "response_time": 0.25, "session_id": "s", "metadata": {"session_id": "other"}}
    call = call_of_huggingplace("p", "i", TIME, {**INTERACTION, **more})
    assert call.source == "huggingplace"
    assert filled(call) == {"model": "m", "latency_ms": 250.0, "session": "s"}


@pytest.mark.parametrize("make", [call_of_banyan, call_of_huggingplace])
def test_what_has_no_field_of_its_own_is_in_the_metadata(make: Any) -> None:
    """Session, user, tokens, cost and error, wherever a client can put them."""
    metadata = {
        "session_id": "s",
        "user_id": 5,
        "input_tokens": 10,
        "output_tokens": 20.0,
        "cost": 0.5,
        "error": "timeout",
    }
    assert filled(make("p", "i", TIME, {"metadata": metadata})) == {
        "session": "s",
        "user": "5",
        "input_tokens": 10,
        "output_tokens": 20,
        "cost": 0.5,
        "error": "timeout",
    }


@pytest.mark.parametrize("person", [{"user_id": "u"}, {"id": "u"}])
def test_a_user_is_in_the_users_metadata_too(person: dict[str, str]) -> None:
    """By either name."""
    call = call_of_huggingplace("p", "i", TIME, {**INTERACTION, "user_metadata": person})
    assert filled(call) == {"user": "u"}


@pytest.mark.parametrize("value", ["", None, True, [1], {"a": 1}])
@pytest.mark.parametrize("make", [call_of_banyan, call_of_huggingplace])
def test_what_is_no_text_fills_no_column_of_texts(make: Any, value: object) -> None:
    """The record is taken all the same, and keeps what was sent."""
    body = {"metadata": {"session_id": value, "user_id": value, "error": value}, "model": value}
    call = make("p", "i", TIME, body)
    assert filled(call) == {}
    assert call.body == body


@pytest.mark.parametrize("value", [-1, 1e300, 10**400, True, "5", None, [1]])
@pytest.mark.parametrize("make", [call_of_banyan, call_of_huggingplace])
def test_what_is_no_number_fills_no_column_of_numbers(make: Any, value: object) -> None:
    """Nor does one that a column can't hold."""
    names = ("input_tokens", "output_tokens", "cost")
    body = {"metadata": dict.fromkeys(names, value), "duration_ms": value, "response_time": value}
    assert filled(make("p", "i", TIME, body)) == {}


@pytest.mark.parametrize("metadata", [None, "text", ["list"], 5])
def test_metadata_may_be_anything(metadata: object) -> None:
    """HuggingPlace's may."""
    assert filled(call_of_huggingplace("p", "i", TIME, {**INTERACTION, "metadata": metadata})) == {}


def test_the_day_is_that_of_the_event_in_utc() -> None:
    """It stays the same through all repeats; what has no time has one day, and the time of its arrival."""
    call = call_of_banyan("p", "i", TIME, USAGE)
    assert (call.day.isoformat(), call.event_time) == ("2026-01-02", TIME)
    undated = call_of_banyan("p", "i", None, USAGE)
    assert (undated.day, undated.event_time) == (UNDATED, undated.received_at)
