"""The fake backend's records: which bodies are good ones, and how each is kept once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from . import fake_scores

_CONFLICT = {"error": "this id belongs to a record with another content", "code": "id_conflict"}


class Kind(NamedTuple):
    """What sets one client's records apart from the other's.

    Attributes:
        refusal: why a body is not such a record; None if it is.
        new: the status for a new record.
        bad: the status for one that is refused.
        thanks: the first fields of a response.
    """

    refusal: Callable[[object], str | None]
    new: int
    bad: int
    thanks: Mapping[str, object]


class Records:
    """What was logged: each id once, in the order of arrival; scores apart. `arrived` is notified of each."""

    def __init__(self, arrived: threading.Condition) -> None:
        self.bodies: list[dict[str, Any]] = []  # guarded by the condition's lock, as the contents are
        self.scores: list[fake_scores.Stored] = []
        self.deliveries = 0
        self._contents: dict[tuple[str, str], object] = {}  # by day and id
        self._arrived = arrived

    def store(
        self, kind: Kind, record_id: str, time: str | None, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """The status of one delivery, by its day and id, and what a single record's response says."""
        given = {name: value for name, value in body.items() if value is not None}
        content, key = json.dumps(given, sort_keys=True), (_day(time), record_id)
        with self._arrived:
            known = self._contents.setdefault(key, content)
            if known != content:
                return 409, {"id": record_id, **_CONFLICT}
            self.deliveries += 1
            if known is not content:
                return 200, {**kind.thanks, "id": record_id, "repeat": True}
            score = fake_scores.content_of(body)
            if score is None:
                self.bodies.append(body)
            else:
                self.scores.append(fake_scores.Stored(record_id, time, fake_scores.listed(score)))
            self._arrived.notify_all()
        return kind.new, {**kind.thanks, "id": record_id}

    def rate(self, score: fake_scores.Score) -> None:
        """Keep a score that came with a token."""
        with self._arrived:
            self.scores.append(fake_scores.Stored(f"feedback-{len(self.scores)}", None, score))
            self._arrived.notify_all()


def _day(time: str | None) -> str:
    """The UTC day of a record, within which an id names one; records without a time share a day."""
    if time is None:
        return ""
    moment = datetime.fromisoformat(time)
    return str((moment if moment.tzinfo is None else moment.astimezone(UTC)).date())


_TEXT = ("a string", lambda value: isinstance(value, str))
_USAGE: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    **dict.fromkeys(
        ("input", "output", "prompt_id", "prompt_name", "version", "branch_name", "model", "experiment_id",
         "experiment_version_id", "sticky_key", "sticky_value"), _TEXT,
    ),
    "metadata": ("an object", lambda value: isinstance(value, dict)),
    "duration_ms": ("a number of milliseconds >= 0", lambda value: _is_amount(value)),
}  # fmt: skip


def _usage_refusal(body: object) -> str | None:
    if not isinstance(body, dict):
        return f"body must be a JSON object, was {body!r:.80}"
    for name in ("input", "output", "metadata"):
        if body.get(name) is None:
            return f"{name} must be {_USAGE[name][0]}, was missing"
    for name, value in body.items():
        if name not in _USAGE:
            return f"{name!r} is no field of the body; the fields are {', '.join(_USAGE)}"
        expected, accepts = _USAGE[name]
        if value is not None and not accepts(value):
            return f"{name} must be {expected}, was {value!r:.80}"
    return fake_scores.refusal(body)


def _interaction_refusal(body: object) -> str | None:
    if not isinstance(body, dict):
        return f"body must be a JSON object, was {body!r:.80}"
    for name in ("user_prompt", "response", "org_id"):
        if body.get(name) in (None, "", [], {}):
            return f"{name} must be a value that isn't empty, was {body.get(name, 'missing')!r:.80}"
    if body.get("mode") not in ("prod", "dev"):
        return f"mode must be 'prod' or 'dev', was {body.get('mode', 'missing')!r:.80}"
    for name in ("token_count", "response_time"):
        if body.get(name) is not None and not _is_amount(body[name]):
            return f"{name} must be a number >= 0 or null, was {body[name]!r:.80}"
    return fake_scores.refusal(body)


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


USAGES = Kind(_usage_refusal, 201, 422, {})
INTERACTIONS = Kind(_interaction_refusal, 200, 400, {"message": "stored"})
