"""Scores as tests see them: told from other records, checked, and listed; and the tokens of feedback."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import feedback_tokens

FEEDBACK_PATH = "/api/feedback"
SCORES_PATH = "/api/scores"
ASKED = ("record_id", "session_id", "user", "limit", "after")
_TARGETS = ("record_id", "session_id", "sticky_value")
_TEXTS = {"record_id": 255, "session_id": 255, "sticky_key": 255, "sticky_value": 255, "comment": 2_000}
_NOTHING = dict.fromkeys((*_TEXTS, "experiment_id", "experiment_version_id", "rater"))
_MARKS = ("kind", "v")
Score = dict[str, Any]


class Stored(NamedTuple):
    """A score as it is kept: `time` as it was sent; None: it came without one."""

    id: str
    time: str | None
    content: Score


def content_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a record says of a score; None if it is none: a call with such metadata is a call."""
    metadata = body.get("metadata")
    content = metadata.get("banyan_hp") if isinstance(metadata, dict) else None
    if not isinstance(content, dict) or (content.get("kind"), content.get("v")) != ("score", 1):
        return None
    texts = [body.get(name) for name in ("input", "output", "user_prompt", "response")]
    return content if texts in (["", "", None, None], [None, None, "[score]", "[score]"]) else None


def listed(content: Mapping[str, Any]) -> Score:
    """A score as tests look at it: its name, its value, and what else was given."""
    return {name: value for name, value in content.items() if name not in _MARKS}


def found(scores: Sequence[Stored], query: Mapping[str, str]) -> list[Score]:
    """Those that are about what is asked for, the last to arrive first. All fit on a page."""
    wanted = {("sticky_value" if name == "user" else name): value for name, value in query.items()}
    about = {name: wanted[name] for name in _TARGETS if name in wanted}
    chosen = [each for each in scores if about.items() <= each.content.items()]
    return [{**_NOTHING, **each.content, "id": each.id, "at": each.time} for each in reversed(chosen)]


def refusal(body: object) -> str | None:
    """Why a record that says it is a score is not a good one; None: it is, or it is another record."""
    content = content_of(body) if isinstance(body, dict) else None
    if content is None:
        return None
    name, value = content.get("name"), content.get("value")
    where = "metadata.banyan_hp"
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        return f"{where}.name must be a string of 1 to 100 characters, was {name!r:.80}"
    if not _is_value(value):
        return f"{where}.value must be true, false, a number, or 1 to 200 characters, was {value!r:.80}"
    for field, most in _TEXTS.items():
        text = content.get(field)
        if text is not None and not (isinstance(text, str) and 1 <= len(text) <= most):
            return f"{where}.{field} must be a string of 1 to {most} characters, was {text!r:.80}"
    if all(content.get(target) is None for target in _TARGETS):
        return f"{where} must have a record_id, a session_id or a sticky_value"
    return None


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return 1 <= len(value) <= 200
    return isinstance(value, (bool, int, float)) and abs(value) <= 1e15


def feedback_of(body: object, key: str) -> tuple[int, str | Score]:
    """What `POST /api/feedback` makes of a body: a status, and a score, or why it is none."""
    if not isinstance(body, dict) or not isinstance(body.get("token"), str):
        return 422, "token must be a string"
    permission = feedback_tokens.read(body["token"])
    digest = feedback_tokens.digest_of(key)
    if permission is None or not feedback_tokens.is_signed(body["token"], digest):
        return 403, "the token is not valid"
    if permission.expires <= time.time():
        return 403, "the token has expired"
    if body.get("name") not in permission.names:
        return 422, f"name must be one of {', '.join(permission.names)}, was {body.get('name')!r:.80}"
    if not _is_value(body.get("value")):
        return 422, f"value must be true, false, a number, or a text, was {body.get('value')!r:.80}"
    score = {"name": body["name"], "value": body["value"], "record_id": permission.record_id, "rater": "user"}
    return 201, {**score, "comment": body["comment"]} if body.get("comment") else score
