"""A score as OpenTelemetry has it: a log record of the event `gen_ai.evaluation.result`. Pure.

A score's body is that of a usage record, with the score in `metadata.banyan_hp`. It says which record it is
about by that record's id. It has trace and span ids only where it was given inside a span: a late score can't
join one that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import semconv
from .attributes import SESSION, Attributes, put_text
from .items import LogRecord
from .messages import plain
from .spans import parent_in

MARK = b'"banyan_hp":'
"""In the JSON of each score: within a text the quotation marks would be escaped."""
_TEXTS = {
    "record_id": (semconv.SCORED_RECORD_ID,),
    "session_id": SESSION,
    "sticky_key": (semconv.STICKY_KEY,),
    "sticky_value": (semconv.STICKY_VALUE,),
    "experiment_id": (semconv.EXPERIMENT_ID,),
    "experiment_version_id": (semconv.EXPERIMENT_VERSION_ID,),
    "rater": (semconv.RATER,),
}


def score_in(body: object) -> Mapping[str, Any] | None:
    """The score that a record is, or None if it is a call of a model."""
    metadata = body.get("metadata") if type(body) is dict else None
    own = metadata.get("banyan_hp") if type(metadata) is dict else None
    return own if type(own) is dict and own.get("kind") == "score" else None


def log_record_of(
    ident: str, time: float, body: Mapping[str, Any], score: Mapping[str, Any], *, content: bool
) -> LogRecord:
    """The score's log record; `content`: with its comment."""
    found: Attributes = {semconv.RECORD_ID: ident, semconv.EVALUATION_NAME: plain(score.get("name"))}
    _add_value(found, score.get("value"))
    for name, keys in _TEXTS.items():
        if score.get(name) is not None:
            put_text(found, keys, score[name])
    if content and score.get("comment") is not None:
        found[semconv.EVALUATION_EXPLANATION] = plain(score["comment"])
    if body.get("prompt_name") is not None:
        found[semconv.PROMPT_NAME] = plain(body["prompt_name"])
    trace, span = parent_in(body["metadata"]) or ("", "")
    return LogRecord(int(time * 1_000_000) * 1000, trace, span, semconv.EVALUATION_RESULT, found)


def _add_value(found: Attributes, value: object) -> None:
    """A number, a category, or yes and no: both the number and its name."""
    if isinstance(value, bool):
        found[semconv.EVALUATION_LABEL] = "true" if value else "false"
    if isinstance(value, (int, float)):
        found[semconv.EVALUATION_VALUE] = float(value)
    elif value is not None:
        found[semconv.EVALUATION_LABEL] = plain(value)
