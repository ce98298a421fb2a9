"""What interactions may be, without the backend."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.server.api.intake import HUGGINGPLACE
from banyan_hp.server.nesting import MAX_DEPTH

interaction_refusal = HUGGINGPLACE.refusal

INTERACTION: dict[str, Any] = {
    "user_prompt": "question",
    "response": "answer",
    "org_id": "org",
    "mode": "dev",
}
CONTENT = f"must be a value, not null or empty, nested at most {MAX_DEPTH} deep"
RESPONSE = f"response {CONTENT}"


def nested(depth: int) -> list[Any]:
    value: list[Any] = ["end"]
    for _ in range(depth - 1):
        value = [value]
    return value


def test_an_interaction_with_every_field_is_good() -> None:
    """All the fields that are known are taken together."""
    full = INTERACTION | {
        "token_count": 12,
        "response_time": 0.5,
        "step_data": [{"type": "search", "token": 3}],
        "metadata": {"a": [1]},
        "user_metadata": {"plan": "free"},
        "session_id": "s",
    }
    assert interaction_refusal(full) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "prod"},
        {"user_prompt": "\ud800"},
        {"response": ["one", 2]},
        {"response": {"text": ""}},
        {"response": nested(MAX_DEPTH)},
        {"token_count": 0, "response_time": 10**400},
        {"step_data": []},
        {"metadata": {}, "user_metadata": {}},
        {"session_id": ""},
        {"session_id": 5},
        {"session_id": "\ud800"},
        {"user_prompt": [{"role": "user", "content": "q"}]},
        {"user_prompt": 5, "response": False},
        {"token_count": None, "response_time": None, "step_data": None, "session_id": None},
        {"metadata": None, "user_metadata": "free", "step_data": {"type": "search"}},
        {"llm_model": "m", "any thing": None, "ai_response": [1.5]},
    ],
)
def test_unusual_values_within_the_rules_are_good(changes: dict[str, Any]) -> None:
    """Structured responses, zeros, empty extras and fields that nobody knows are a caller's business."""
    assert interaction_refusal(INTERACTION | changes) is None


@pytest.mark.parametrize("missing", INTERACTION)
def test_a_missing_field_is_named(missing: str) -> None:
    """Each required field is asked for by name."""
    body = {name: value for name, value in INTERACTION.items() if name != missing}
    assert str(interaction_refusal(body)).startswith(f"{missing} must be ")
    assert str(interaction_refusal(body)).endswith(", was missing")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"user_prompt": ""}, f"user_prompt {CONTENT}, was ''"),
        ({"user_prompt": None}, f"user_prompt {CONTENT}, was None"),
        ({"user_prompt": []}, f"user_prompt {CONTENT}, was []"),
        ({"org_id": ""}, "org_id must be a string that isn't empty, was ''"),
        ({"org_id": 5}, "org_id must be a string that isn't empty, was 5"),
        ({"mode": "test"}, "mode must be prod or dev, was 'test'"),
        ({"mode": ["dev"]}, "mode must be prod or dev, was ['dev']"),
        ({"response": ""}, f"{RESPONSE}, was ''"),
        ({"response": []}, f"{RESPONSE}, was []"),
        ({"response": {}}, f"{RESPONSE}, was {{}}"),
        ({"response": None}, f"{RESPONSE}, was None"),
        ({"token_count": -1}, "token_count must be a number >= 0, was -1"),
        ({"token_count": True}, "token_count must be a number >= 0, was True"),
        ({"response_time": "5"}, "response_time must be a number >= 0, was '5'"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_was(changes: dict[str, Any], refusal: str) -> None:
    """A refusal names the field, what it should be and what it was."""
    assert interaction_refusal(INTERACTION | changes) == refusal


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"response": nested(MAX_DEPTH + 1)}, RESPONSE),
        ({"step_data": [{"deep": nested(100_000)}]}, f"step_data must be nested at most {MAX_DEPTH} deep"),
        ({"more": nested(100_000)}, f"more must be nested at most {MAX_DEPTH} deep"),
        ({"m\n" * 1000: nested(201)}, "'m\\nm\\n"),
    ],
)
def test_what_is_nested_too_deeply_is_refused_by_name(changes: dict[str, Any], start: str) -> None:
    """What could not be written again is refused, in unknown fields too, and the message stays a line."""
    refusal = str(interaction_refusal(INTERACTION | changes))
    assert refusal.startswith(start)
    assert "\n" not in refusal
    assert len(refusal) < 250


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_an_interaction_is_an_object(body: object) -> None:
    """Any other JSON value is refused."""
    assert interaction_refusal(body) == f"body must be a JSON object, was {body!r}"
