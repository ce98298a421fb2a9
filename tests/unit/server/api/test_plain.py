"""Bodies that are taken by their types alone are those that the models take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.server.api.intake import Envelope, Interaction, Usage
from banyan_hp.server.api.plain import is_interaction, is_usage, plain_entries

USAGE: dict[str, Any] = {"input": "a", "output": "b", "metadata": {}}
INTERACTION: dict[str, Any] = {"user_prompt": "a", "response": "b", "org_id": "o", "mode": "dev"}
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "dev", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def _bodies(good: dict[str, Any], *others: str) -> st.SearchStrategy[Any]:
    changes = st.dictionaries(st.sampled_from([*good, *others, "unknown"]), _values, max_size=3)
    return _values | st.builds(lambda changed, gone: {k: v for k, v in (good | changed).items() if k != gone},
                               changes, st.sampled_from(["", *good]))  # fmt: skip


@given(_bodies(USAGE, "duration_ms", "model", "prompt_id"))
def test_a_usage_record_is_plain_only_if_the_model_takes_it(body: Any) -> None:
    """The model raises at what it refuses."""
    if is_usage(body):
        Usage.model_validate(body)


@given(_bodies(INTERACTION, "token_count", "response_time", "step_data"))
def test_an_interaction_is_plain_only_if_the_model_takes_it(body: Any) -> None:
    """Likewise."""
    if is_interaction(body):
        Interaction.model_validate(body)


@given(_bodies({"id": "i", "ts": "t", "body": {}}))
def test_a_batch_is_plain_only_if_the_model_takes_it(entry: Any) -> None:
    """Likewise; what comes out is the same."""
    value = {"records": [entry]}
    if (plain := plain_entries(value)) is not None:
        records = Envelope.model_validate(value).records
        assert [(each.id, each.ts, each.body, None) for each in records] == plain


@pytest.mark.parametrize(
    "value", [None, [], {}, {"records": None}, {"records": [[]]}, {"records": [], "x": 1}]
)
def test_what_is_no_batch_is_not_plain(value: object) -> None:
    assert plain_entries(value) is None


def test_usual_records_are_plain() -> None:
    """As our clients send them: otherwise it would be for nothing."""
    usual = {"prompt_name": "n", "version": "1", "model": "m", "duration_ms": 1.5, "sticky_key": None}
    assert is_usage({**USAGE, **usual, "metadata": {"session_id": "s", "tags": ["a", {"b": 1}]}})
    steps = {"step_data": [{"id": 1, "name": "n"}], "token_count": 3, "session_id": "s", "metadata": {}}
    assert is_interaction({**INTERACTION, **steps})
    assert plain_entries({"records": [{"id": "i", "ts": "t", "body": None}]}) == [("i", "t", None, None)]
