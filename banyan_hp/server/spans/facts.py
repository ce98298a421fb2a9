"""What one span says about a call, whoever wrote it: its attributes, and those of log events that join it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ... import semconv
from ..otlp.signals import ERROR
from ..store.spans import record_of
from .attributes import (
    Attributes,
    first,
    first_text,
    flag,
    mapping,
    number,
    parsed,
    text,
    texts,
)
from .content import Message, input_of, output_of, plain_text
from .kinds import Role, role_of
from .packed import unpacked
from .usage import Usage, usage_of

_FAILED = "failed"
_MAKERS = {"gemini": "google", "gcp.gemini": "google", "gcp.gen_ai": "google", "gcp.vertex_ai": "google"}
_TRACEBACK = "Traceback (most recent call last)"
_REQUEST = "gen_ai.request."
_PARAMETERS = (
    "llm.invocation_parameters",
    "embedding.invocation_parameters",
    "langfuse.observation.model.parameters",
    "gen_ai.request.parameters",  # traceAI
    "langwatch.params",
)
_NO_PARAMETERS = frozenset({"model", "stream", "model_name", "_type", "parameters"})
_COSTS = ("operation.cost", "gen_ai.cost.total_cost", "llm.cost.total", "gen_ai.usage.cost")
_LEVEL = "langfuse.observation.level"
_ERRORS = ("error.message", "langfuse.observation.status_message", semconv.ERROR_TYPE)
_STREAMS = (semconv.REQUEST_STREAM, "gen_ai.is_streaming", "llm.is_streaming", "stream")
_CHUNKS = (
    "First Token Stream Event",  # OpenInference
    "gen_ai.content.completion.chunk",  # OpenLLMetry
    "llm.content.completion.chunk",  # lmnr
    "mlflow.chunk.item.0",
)
_FINISHED = (semconv.FINISH_REASONS, "llm.finish_reason", "anthropic.message.stop_reason")
_WHOLE_REQUESTS = (
    "input.value",
    "mlflow.spanInputs",
    "langfuse.observation.input",
    "llm.invocation_parameters",
    "gen_ai.request.parameters",
)
_WHOLE_RESPONSES = ("output.value", "mlflow.spanOutputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A span as it is kept. Times are microseconds since 1970, those of events too."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int
    status: int
    message: str
    scope: str
    resource: Attributes
    attributes: Attributes
    events: Sequence[tuple[str, int, Attributes]] = ()
    received_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a span says. None or empty: it says nothing about that."""

    role: Role
    operation: str | None
    provider: str | None
    model: str | None
    request_model: str | None
    usage: Usage
    response_id: str | None
    session: str | None
    user: str | None
    error: str | None
    cost: float | None
    stream: bool | None
    first_chunk_ms: float | None
    finish_reasons: Sequence[str]
    input: Sequence[Message]
    output: Sequence[Message]
    parameters: Attributes
    record_id: str | None
    question: str | None
    """The last thing that was said to the model, the same text for the same words."""
    answer: str | None
    """What the model said, likewise."""


def facts_of(span: Told) -> Facts:
    """What a span says."""
    events = [(name, fields) for name, _, fields in span.events]
    attributes = unpacked(span.attributes, events)
    span = replace(span, attributes=attributes)
    usage, said = usage_of(attributes), output_of(attributes, events)
    asked = input_of(attributes, events)
    failed = _error(span, answered=usage.known or bool(said))
    record = record_of(span.span_id, attributes)
    return Facts(
        role=role_of(attributes, own=record is not None),
        operation=text(attributes.get(semconv.OPERATION)),
        provider=_provider(attributes),
        model=_model(attributes, (*semconv.RESPONSE_MODELS, *semconv.REQUEST_MODELS)),
        request_model=_model(attributes, semconv.REQUEST_MODELS),
        usage=usage,
        response_id=None if failed else _response_id(attributes),
        session=first_text(attributes, semconv.SESSIONS),
        user=first_text(attributes, semconv.USERS) or _requests_user(attributes),
        error=failed,
        cost=_cost(attributes),
        stream=_stream(span),
        first_chunk_ms=_first_chunk(span),
        finish_reasons=texts(first(attributes, _FINISHED)),
        input=asked,
        output=said,
        parameters=dict(_parameters(attributes)),
        record_id=text(record),
        question=plain_text([each for each in asked if each.role in ("user", "tool")][-1:]),
        answer=plain_text(said),
    )


def _provider(attributes: Attributes) -> str | None:
    """Who served the model. strands gives itself, Google's instrumentation its model family."""
    found = first_text(attributes, semconv.PROVIDERS)
    named = found.lower() if found else None  # agno's: OpenAI
    return None if named in semconv.FRAMEWORKS else _MAKERS.get(named or "", named)


def _model(attributes: Attributes, names: Sequence[str]) -> str | None:
    return first_text(attributes, names) or next(
        filter(None, (text(whole.get("model")) for whole in _wholes(attributes, _WHOLE_REQUESTS))), None
    )


def _wholes(attributes: Attributes, names: Sequence[str]) -> Iterator[Attributes]:
    """Requests or responses that are there as a whole."""
    yield from (mapping(attributes[name]) for name in names if name in attributes)


def _response_id(attributes: Attributes) -> str | None:
    given = text(attributes.get(semconv.RESPONSE_ID))
    return given or next(
        filter(None, (text(whole.get("id")) for whole in _wholes(attributes, _WHOLE_RESPONSES))), None
    )


def _requests_user(attributes: Attributes) -> str | None:
    """The user of OpenInference's metadata, or OpenAI's parameter where the whole request is there."""
    requests = _wholes(attributes, ("llm.invocation_parameters", "mlflow.spanInputs"))
    told = (
        text(mapping(attributes.get("metadata")).get("user_id")),
        *(text(each.get("user")) for each in requests),
    )
    return next(filter(None, told), None)


def _error(span: Told, *, answered: bool) -> str | None:
    """The message of a call that failed: without the traceback that some senders put behind it.

    langsmith may give a call that failed the status OK: what was raised, and no answer, says more.
    """
    attributes = span.attributes
    raised = [fields for name, _, fields in reversed(span.events) if name == semconv.EXCEPTION_EVENT]
    told = attributes.get(semconv.ERROR_TYPE) or attributes.get(_LEVEL) == "ERROR"
    if span.status != ERROR and not told and (answered or not raised):
        return None
    said = [span.message, *(text(each.get(semconv.EXCEPTION_MESSAGE)) for each in raised)]
    said += [text(attributes.get(name)) for name in _ERRORS]
    words = (each.partition(_TRACEBACK)[0].strip() for each in said if each)
    return next(filter(None, words), _FAILED)


def _cost(attributes: Attributes) -> float | None:
    """In USD, as the sender reckons it."""
    details = mapping(attributes.get("langfuse.observation.cost_details"))
    own, langwatch = (mapping(attributes.get(name)) for name in (semconv.METADATA, "langwatch.metrics"))
    told = (first(attributes, _COSTS), details.get("total"), own.get("cost"), langwatch.get("cost"))
    return next((cost for each in told if (cost := number(each)) is not None), None)


def _stream(span: Told) -> bool | None:
    told = next((found for name in _STREAMS if (found := flag(span.attributes.get(name))) is not None), None)
    return True if told is None and _first_chunk(span) is not None else told


def _first_chunk(span: Told) -> float | None:
    """How long the first chunk took, in milliseconds."""
    seconds = number(span.attributes.get(semconv.TIME_TO_FIRST_CHUNK))
    if seconds is not None:
        return seconds * 1000
    milliseconds = span.attributes.get("gen_ai.server.time_to_first_token")  # strands: a whole number
    if isinstance(milliseconds, int):
        return number(milliseconds)
    began = text(span.attributes.get("langfuse.observation.completion_start_time"))
    at = _microseconds(began) if began else None
    if at is None:
        at = next((time for name, time, _ in span.events if name in _CHUNKS), None)
    return (at - span.start) / 1000 if at is not None and at >= span.start else None


def _microseconds(time: str) -> int | None:
    try:
        return round(datetime.fromisoformat(time).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None


def _parameters(attributes: Attributes) -> Iterator[tuple[str, Any]]:
    """The request's parameters: temperature and the like."""
    for whole in _wholes(attributes, _PARAMETERS):
        yield from (
            (name, value) for name, value in whole.items() if name not in _NO_PARAMETERS and value is not None
        )
    for name, value in attributes.items():
        short = name.removeprefix(_REQUEST)
        if name.startswith(_REQUEST) and short not in _NO_PARAMETERS:
            yield short, parsed(value)


def joined(own: Attributes, logs: Sequence[Attributes]) -> Attributes:
    """A span's attributes with those of the log events that belong to it: the span's own count first."""
    found: dict[str, Any] = {}
    for each in logs:
        found |= {name: value for name, value in each.items() if name not in found}
    return {**found, **own}
