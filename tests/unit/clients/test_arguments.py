"""What callers hand over, checked and made into bodies, without a client."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from banyan_hp import PromptData
from banyan_hp.clients.arguments import DURATION, InvalidRecordError, keep_numbers, usage

PROMPT = PromptData("id-1", "greeting", "Hello", version="3", branch="main", experiment_id="e1")
NO_NAMES = (None, None, None, None)
WRONG = "duration_ms must be a number of milliseconds, 0 or more, was a negative int; it is in the metadata"


def body(metadata: Any = None, prompt: Any = None, experiment: Any = None) -> dict[str, Any]:
    made, deferred = usage("q", None, metadata, None, prompt, NO_NAMES, experiment)
    assert deferred is None
    return made


def test_fields_without_a_value_are_left_out() -> None:
    """But for the three that each record has."""
    assert body() == {"input": "q", "output": "", "metadata": {}}
    assert body({"a": 1})["metadata"] == {"a": 1}
    assert body(prompt=PROMPT) == {
        **body(),
        "prompt_id": "id-1",
        "prompt_name": "greeting",
        "version": "3",
        "branch_name": "main",
        "experiment_id": "e1",
    }


def test_arguments_win_over_the_prompt() -> None:
    """Each by itself."""
    made, _ = usage("q", "a", None, "m", PROMPT, (None, None, "4", None), {"experiment_id": "e2"})
    assert (made["prompt_id"], made["version"], made["experiment_id"]) == ("id-1", "4", "e2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"prompt": {"name": "x"}},
            r"prompt_data must be a PromptData \(from get_prompt\) or None, was dict",
        ),
        ({"metadata": "text"}, "metadata must be a dict or None, was str"),
        ({"experiment": []}, "experiment_context must be a dict or None, was an empty list"),
        ({"experiment": {"secret": 1}}, r"not allowed \(str\); allowed are experiment_id, "),
    ],
)
def test_a_wrong_argument_is_named_and_its_value_is_not_shown(arguments: Any, message: str) -> None:
    """The message goes to the log."""
    with pytest.raises(InvalidRecordError, match=message) as caught:
        body(**arguments)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept", "wrong"),
    [
        (12, 12, []),
        (timedelta(seconds=1.5), 1500.0, []),
        (None, None, []),
        (
            -1,
            None,
            [WRONG],
        ),
    ],
)
def test_a_number_field_holds_numbers_only(given: Any, kept: Any, wrong: list[str]) -> None:
    """Another value goes into the metadata."""
    record: dict[str, Any] = {"metadata": {"a": 1}, "duration_ms": given}
    assert keep_numbers(record, DURATION) == wrong
    assert record.get("duration_ms") == kept
    assert record["metadata"] == ({"a": 1, "duration_ms": given} if wrong else {"a": 1})
