"""What each client logged, as the one shape `Call`: the table of columns in `server/README.md`, as code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..prices import Prices
from ..store.calls import UNDATED, Call
from .costs import cost_of
from .scores import call_of_score
from .values import Body, count_of, number_of, object_of, text_of

_USUAL = {"session": "session_id", "user": "user_id", "error": "error"}
_TOKENS = ("input_tokens", "output_tokens")


def call_of_banyan(
    project: str, call_id: str, time: datetime | None, body: Body, prices: Prices, text: str | None = None
) -> Call:
    """The call of a usage record. What has no field of its own there is looked up in its metadata."""
    if (score := call_of_score(project, call_id, time, body)) is not None:
        return score
    metadata = object_of(body.get("metadata"))
    common = _common(project, call_id, time, body, metadata)
    model = text_of(body.get("model"))
    return Call(
        **common,
        text=text,
        source="banyan",
        cost=_cost(metadata, model, metadata.get("step_data"), common["event_time"], prices),
        prompt_id=text_of(body.get("prompt_id")),
        prompt_name=text_of(body.get("prompt_name")),
        version=text_of(body.get("version")),
        branch=text_of(body.get("branch_name")),
        model=model,
        latency_ms=number_of(body.get("duration_ms")),
        experiment_id=text_of(body.get("experiment_id")),
        experiment_version_id=text_of(body.get("experiment_version_id")),
        sticky_key=text_of(body.get("sticky_key")),
        sticky_value=text_of(body.get("sticky_value")),
    )


def call_of_huggingplace(
    project: str, call_id: str, time: datetime | None, body: Body, prices: Prices, text: str | None = None
) -> Call:
    """The call of an interaction. Times are seconds there; tokens are a sum, and split in the metadata."""
    if (score := call_of_score(project, call_id, time, body)) is not None:
        return score
    metadata = object_of(body.get("metadata"))
    metadata = {**_only_step(body), **metadata}
    seconds = number_of(body.get("response_time"))
    common = _common(project, call_id, time, body, metadata)
    model = text_of(body.get("llm_model"))
    return Call(
        **{**common, "session": text_of(body.get("session_id")) or common["session"]},
        text=text,
        source="huggingplace",
        cost=_cost(metadata, model, body.get("step_data"), common["event_time"], prices),
        model=model,
        latency_ms=seconds * 1000 if seconds is not None else None,
    )


def _common(project: str, call_id: str, time: datetime | None, body: Body, metadata: Body) -> dict[str, Any]:
    arrived = datetime.now(UTC)
    person = object_of(body.get("user_metadata"))
    found: dict[str, Any] = {column: text_of(metadata.get(name)) for column, name in _USUAL.items()}
    found["user"] = found["user"] or text_of(person.get("user_id")) or text_of(person.get("id"))
    found |= {name: count_of(metadata.get(name)) for name in _TOKENS}
    return {
        "project": project,
        "id": call_id,
        "day": time.date() if time is not None else UNDATED,
        "event_time": time or arrived,
        "received_at": arrived,
        "body": body,
        **found,
    }


def _only_step(body: Body) -> dict[str, Any]:
    """The tokens of a step that was logged by itself: only the step tells them apart."""
    steps = body.get("step_data")
    step = object_of(steps[0]) if isinstance(steps, list) and len(steps) == 1 else {}
    if step.get("token") != body.get("token_count"):
        return {}
    return {name: step[name] for name in _TOKENS if name in step}


def _cost(metadata: Body, model: str | None, steps: object, at: datetime, prices: Prices) -> float | None:
    given = number_of(metadata.get("cost"))
    if given is not None:
        return given
    return cost_of(metadata, model, steps if isinstance(steps, list) else [], at, prices)
