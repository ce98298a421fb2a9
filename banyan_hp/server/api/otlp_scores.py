"""Scores that come as OpenTelemetry's event `gen_ai.evaluation.result`, as our own clients export them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ... import semconv
from ..otlp.signals import LogRecord
from ..spans.attributes import Attributes, first_text, flag, number, text
from ..spans.calls import call_id
from ..store.calls import Call, time_of
from ..store.scores import SCORE, VERSION
from .scores import call_of_score, score_refusal

_STATED = {
    "name": semconv.EVALUATION_NAME,
    "sticky_key": semconv.STICKY_KEY,
    "sticky_value": semconv.STICKY_VALUE,
    "experiment_id": semconv.EXPERIMENT_ID,
    "experiment_version_id": semconv.EXPERIMENT_VERSION_ID,
    "rater": semconv.RATER,
    "comment": semconv.EVALUATION_EXPLANATION,
}


def is_score(log: LogRecord) -> bool:
    """Whether a log record is one."""
    return log.name == semconv.EVALUATION_RESULT


def score_of(project: str, log: LogRecord) -> Call | str:
    """The score as a call, or why it is none."""
    body = {"input": "", "output": "", "metadata": {"banyan_hp": dict(_stated(log))}}
    named = text(log.attributes.get(semconv.PROMPT_NAME))
    if named is not None:
        body["prompt_name"] = named
    refusal = score_refusal(body)
    if refusal is not None:
        return f"{semconv.EVALUATION_RESULT}: {refusal.removeprefix('metadata.banyan_hp.')}"
    call = call_of_score(project, _id(log), time_of(log.time // 1000) if log.time else None, body)
    return call if call is not None else f"{semconv.EVALUATION_RESULT} says nothing"


def _stated(log: LogRecord) -> Mapping[str, Any]:
    told = log.attributes
    found: dict[str, Any] = {"kind": SCORE, "v": VERSION, "value": _value(told)}
    found |= {name: text(told.get(attribute)) for name, attribute in _STATED.items()}
    found["record_id"] = text(told.get(semconv.SCORED_RECORD_ID)) or _call_of_span(log)
    found["session_id"] = first_text(told, (semconv.SESSION_ID, semconv.CONVERSATION_ID))
    return {name: value for name, value in found.items() if value is not None}


def _value(told: Attributes) -> object:
    """A number, a category, or yes and no, which have both."""
    label, value = text(told.get(semconv.EVALUATION_LABEL)), told.get(semconv.EVALUATION_VALUE)
    if (yes := flag(label)) is not None and number(value) in (None, 0.0, 1.0):
        return yes
    return value if value is not None else label


def _call_of_span(log: LogRecord) -> str | None:
    """That of the span which the event is about, where it names no record."""
    return (
        call_id((log.trace_id, log.span_id)) if log.trace_id.strip("0") and log.span_id.strip("0") else None
    )


def _id(log: LogRecord) -> str:
    """Its record's, or one that is the same when it comes again."""
    is_ours = log.source.scope == semconv.SCOPE  # else the id may have been copied from a span or a request
    own = text(log.attributes.get(semconv.RECORD_ID)) if is_ours else None
    said = repr((log.trace_id, log.span_id, log.time, sorted(map(str, log.attributes.items()))))
    return own or hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]
