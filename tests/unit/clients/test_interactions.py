"""What callers hand to HuggingPlace's calls, made into bodies, without a client."""

from __future__ import annotations

import json
import math
from collections import deque
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp import HuggingPlace, PromptData
from banyan_hp.clients.arguments import DURATION, LOG_NUMBERS, keep_numbers, take_id, usage
from banyan_hp.clients.interactions import (
    interaction_body,
    problem_with_log,
    problem_with_step,
    session_defaults,
    step_record,
    without_none,
)
from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import freeze
from banyan_hp.server.api.intake import BANYAN, HUGGINGPLACE
from banyan_hp.testing import capture

LOG: dict[str, Any] = {"user_prompt": "q", "response": "a"}
STEP: dict[str, Any] = {"type": "sql", "user_question": "q", "prompt_response": "a"}


def sent(body: dict[str, Any]) -> Any:
    """What the backend gets to see."""
    return json.loads(encode(freeze(body).value))


def test_none_is_not_given() -> None:
    """In a record and in a step; what has no None is handed on as it is."""
    assert interaction_body({**LOG, "user_id": None, "metadata": None}) == LOG
    assert interaction_body(LOG) is LOG
    body = sent(step_record({**STEP, "token": None, "response_time": None, "llm_model": None}))
    assert body == {"user_prompt": "q", "response": "a", "step_data": [STEP]}


def test_values_are_not_asked_whether_they_are_none() -> None:
    """An array compares each of its items, and raises."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    options = {**LOG, "metadata": Array(), "user_id": None}
    assert without_none(options).keys() == {"user_prompt", "response", "metadata"}


def test_messages_are_taken_as_text() -> None:
    """As `log_prompt` takes them: as JSON."""
    messages = [{"role": "user", "content": "hi"}]
    with capture() as records:
        HuggingPlace("key", "org", base_url="http://127.0.0.1:9").log(
            {"user_prompt": messages, "response": "a"}
        )
    assert json.loads(records[0]["user_prompt"]) == messages


@pytest.mark.parametrize("step", [STEP, {**STEP, "token": 5}, {**STEP, "response_time": 0.5}])
def test_a_step_needs_neither_tokens_nor_a_time(step: dict[str, Any]) -> None:
    """Published code leaves them out."""
    assert problem_with_step(step) is None
    assert sent(step_record(dict(step)))["step_data"] == [step]


@pytest.mark.parametrize(
    "empty", [None, "", [], {}, (), b"", set(), deque(), bytearray(), math.nan, math.inf, range(0)]
)
def test_what_the_backend_sees_as_nothing_is_refused_at_once(empty: Any) -> None:
    """Whatever its type."""
    for name in LOG:
        assert f"{name} must not be empty" in str(problem_with_log({**LOG, name: empty}))


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.decimals(),
        st.timedeltas(),
        st.uuids(),
        st.builds(object),
        st.just(date(2026, 1, 1)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
        st.frozensets(st.integers(), max_size=2),
    ),
    max_leaves=6,
)
NAMES = [
    *("user_prompt", "response", "user_id", "session_id", "token_count", "response_time", "metadata"),
    *("user_metadata", "step_data", "llm_model", "record_id", "own"),
]


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING))
def test_what_log_accepts_our_backend_accepts(fields: dict[str, Any]) -> None:
    """Whatever the values."""
    options = {**LOG, **fields}
    if problem_with_log(options) is not None:
        return
    body = interaction_body(options)
    take_id(body, body.pop("record_id", None))
    keep_numbers(body, LOG_NUMBERS)
    assert HUGGINGPLACE.refusal(sent({**body, "org_id": "o", "mode": "prod"})) is None


@given(st.dictionaries(st.sampled_from([*STEP, "token", "response_time", "own", "llm_model"]), ANYTHING))
def test_what_log_step_accepts_our_backend_accepts(fields: dict[str, Any]) -> None:
    """Whatever the values."""
    step = {**STEP, **fields}
    if problem_with_step(step) is not None:
        return
    body = step_record(step)
    keep_numbers(body, LOG_NUMBERS)
    assert HUGGINGPLACE.refusal(sent({**body, "org_id": "o", "mode": "prod"})) is None


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.dictionaries(st.text(max_size=3), ANYTHING))
def test_what_log_prompt_accepts_our_backend_accepts(
    asked: Any, output: Any, model: Any, duration: Any, name: Any, metadata: dict[str, Any]
) -> None:
    """Whatever the values."""
    prompt = PromptData("id", "name", "Hello", experiment_id="e1", sticky_key="user_id", sticky_value="u")
    body, _ = usage(asked, output, metadata, model, prompt, (None, name, None, name), None)
    if duration is not None:
        body["duration_ms"] = duration
        keep_numbers(body, DURATION)
    assert BANYAN.refusal(sent(body)) is None


def test_a_session_s_defaults_in_their_published_form() -> None:
    """One dict that holds both; a dict of anything else is the metadata."""
    assert session_defaults({"metadata": {"a": 1}}, None) == ({"a": 1}, None)
    assert session_defaults({"metadata": None, "user_metadata": {"b": 1}}, None) == (None, {"b": 1})
    assert session_defaults({"a": 1}, None) == ({"a": 1}, None)
    assert session_defaults({"metadata": "text"}, None) == ({"metadata": "text"}, None)
    assert session_defaults({"metadata": {"a": 1}}, {}) == ({"metadata": {"a": 1}}, {})
    assert session_defaults({}, None) == ({}, None)
