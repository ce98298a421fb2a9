"""What each client logged, as the one shape `Call`: the table of columns in `server/README.md`, as code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..store.calls import UNDATED, Call

_USUAL = {"session": "session_id", "user": "user_id", "error": "error"}
_TOKENS = ("input_tokens", "output_tokens")

Body = Mapping[str, Any]


def call_of_banyan(project: str, call_id: str, time: datetime | None, body: Body) -> Call:
    """The call of a usage record. What has no field of its own there is looked up in its metadata."""
    metadata = _object(body.get("metadata"))
    return Call(
        **_common(project, call_id, time, body, metadata),
        source="banyan",
        prompt_id=_text(body.get("prompt_id")),
        prompt_name=_text(body.get("prompt_name")),
        version=_text(body.get("version")),
        branch=_text(body.get("branch_name")),
        model=_text(body.get("model")),
        latency_ms=_number(body.get("duration_ms")),
        experiment_id=_text(body.get("experiment_id")),
        experiment_version_id=_text(body.get("experiment_version_id")),
        sticky_key=_text(body.get("sticky_key")),
        sticky_value=_text(body.get("sticky_value")),
    )


def call_of_huggingplace(project: str, call_id: str, time: datetime | None, body: Body) -> Call:
    """The call of an interaction. Times are seconds there; tokens are a sum, and split in the metadata."""
    metadata = _object(body.get("metadata"))
    seconds = _number(body.get("response_time"))
    common = _common(project, call_id, time, body, metadata)
    return Call(
        **{**common, "session": _text(body.get("session_id")) or common["session"]},
        source="huggingplace",
        model=_text(body.get("llm_model")),
        latency_ms=seconds * 1000 if seconds is not None else None,
    )


def _common(project: str, call_id: str, time: datetime | None, body: Body, metadata: Body) -> dict[str, Any]:
    arrived = datetime.now(UTC)
    person = _object(body.get("user_metadata"))
    found: dict[str, Any] = {column: _text(metadata.get(name)) for column, name in _USUAL.items()}
    found["user"] = found["user"] or _text(person.get("user_id")) or _text(person.get("id"))
    found |= {name: _count(metadata.get(name)) for name in _TOKENS}
    return {
        "project": project,
        "id": call_id,
        "day": time.date() if time is not None else UNDATED,
        "event_time": time or arrived,
        "received_at": arrived,
        "body": body,
        "cost": _number(metadata.get("cost")),
        **found,
    }


def _object(value: object) -> Body:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """A text that isn't empty; a number, as ids may be, as its text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e15:
        return None
    return float(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None else None
