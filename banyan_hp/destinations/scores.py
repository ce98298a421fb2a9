"""A score as OpenTelemetry has it: a log record of the event `gen_ai.evaluation.result`. Pure.

A score's body is that of a usage record, with the score in `metadata.banyan_hp`. It says which record it is
about by that record's id. It has trace and span ids only where it was given inside a span: a late score can't
join one that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import semconv
from . import attributes as as_attribute
from .attributes import Attribute
from .messages import plain
from .spans import parent_in

LogRecord = dict[str, Any]
MARK = b'"banyan_hp":'
"""In the JSON of each score: within a text the quotation marks would be escaped."""
_INFO = 9
_TEXTS = {
    "record_id": (semconv.SCORED_RECORD_ID,),
    "session_id": (semconv.SESSION_ID, semconv.CONVERSATION_ID),
    "sticky_key": (semconv.STICKY_KEY,),
    "sticky_value": (semconv.STICKY_VALUE,),
    "experiment_id": (semconv.EXPERIMENT_ID,),
    "experiment_version_id": (semconv.EXPERIMENT_VERSION_ID,),
    "rater": (semconv.RATER,),
}


def score_in(body: object) -> Mapping[str, Any] | None:
    """The score that a record is, or None if it is a call of a model."""
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    own = metadata.get("banyan_hp") if isinstance(metadata, Mapping) else None
    return own if isinstance(own, Mapping) and own.get("kind") == "score" else None


def log_record_of(
    ident: str, time: float, body: Mapping[str, Any], score: Mapping[str, Any], *, content: bool
) -> LogRecord:
    """The score's log record; `content`: with its comment."""
    at = str(int(time * 1_000_000) * 1000)
    log_record: LogRecord = {
        "timeUnixNano": at,
        "observedTimeUnixNano": at,
        "severityNumber": _INFO,
        "eventName": semconv.EVALUATION_RESULT,
        "attributes": _attributes(ident, body, score, content=content),
    }
    around = parent_in(body)
    if around is not None:
        log_record["traceId"], log_record["spanId"] = around
    return log_record


def _attributes(
    ident: str, body: Mapping[str, Any], score: Mapping[str, Any], *, content: bool
) -> list[Attribute]:
    found = [
        as_attribute.text(semconv.RECORD_ID, ident),
        as_attribute.text(semconv.EVALUATION_NAME, score.get("name")),
        *_value(score.get("value")),
    ]
    for name, keys in _TEXTS.items():
        value = score.get(name)
        if value is not None:
            found += [as_attribute.text(key, value) for key in keys]
    if content and score.get("comment") is not None:
        found.append(as_attribute.text(semconv.EVALUATION_EXPLANATION, score["comment"]))
    if body.get("prompt_name") is not None:
        found.append(as_attribute.text(semconv.PROMPT_NAME, body["prompt_name"]))
    return found


def _value(value: object) -> list[Attribute]:
    """A number, a category, or yes and no: both the number and its name."""
    if isinstance(value, bool):
        label = as_attribute.text(semconv.EVALUATION_LABEL, str(value).lower())
        return [as_attribute.double(semconv.EVALUATION_VALUE, value), label]
    if isinstance(value, (int, float)):
        return [as_attribute.double(semconv.EVALUATION_VALUE, value)]
    return [] if value is None else [as_attribute.text(semconv.EVALUATION_LABEL, plain(value))]
