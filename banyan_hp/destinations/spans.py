"""A record as OpenTelemetry has it: a span of a GenAI operation, with a child for each of its steps. Pure.

Ids derive from the record's id: a repeat has the same ones. A record that was logged inside a span is its
child, by the `trace_id` and `span_id` of its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from .. import semconv
from ..traceparent import parse
from .attributes import Attributes
from .calls import BANYAN, HUGGINGPLACE, STEP, add_attributes, seconds_of
from .items import CLIENT, INTERNAL, Span
from .messages import plain
from .steps import COUNTED, Node, tree_of

_AROUND = ("trace_id", "span_id")
_RECORD_ID, _RECORD_KIND, _OPERATION = semconv.RECORD_ID, semconv.RECORD_KIND, semconv.OPERATION


def spans_of(ident: str, time: float, body: Mapping[str, Any], *, content: bool) -> list[Span]:
    """The record's span and those of its steps.

    Args:
        ident: the record's id.
        time: when it ended, in seconds.
        body: as the record's client has it; frozen, or read from JSON.
        content: whether questions and answers are on the spans.
    """
    form = BANYAN if "input" in body else HUGGINGPLACE
    metadata = body.get("metadata")
    details: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    around = parent_in(details) if "span_id" in details else None
    if around is not None:
        details = {name: value for name, value in details.items() if name not in _AROUND}
    if form is HUGGINGPLACE:
        details = _with_own_tokens(body, details)
    steps = _steps_in(body, details) if "step_data" in details or "step_data" in body else None
    embeds = "operation" in details and details["operation"] == semconv.EMBEDDINGS
    operation = semconv.EMBEDDINGS if embeds else semconv.CHAT
    nodes: list[Node] = []
    if steps:
        details = dict(details)
        details.pop("step_data", None)
        root = Node(body, details)
        nodes = tree_of(root, steps, _dicts(details.pop("step_details", None)))
        if any(node.reported for node in nodes) and not any(name in details for name in COUNTED):
            operation = semconv.INVOKE_WORKFLOW
    digest = sha256(b"banyan_hp\0" + ident.encode("utf-8", "replace")).hexdigest()
    trace, parent = around or (digest[:32], "")
    end = int(time * 1_000_000) * 1000
    seconds = seconds_of(body[form.duration], form.per_second) if form.duration in body else 0.0
    attributes: Attributes = {_RECORD_ID: ident, _RECORD_KIND: semconv.RECORD, _OPERATION: operation}
    add_attributes(attributes, form, body, details, content=content)
    kind = CLIENT if operation in semconv.COUNTED else INTERNAL
    name = _name(operation, body.get(form.model))
    failure = _failure(details) if "error" in details or "error_type" in details else None
    span = Span(trace, digest[32:48], parent, name, kind, end - int(seconds * 1e9), end, attributes, failure)
    return [span, *_steps(ident, span, nodes, content=content)] if nodes else [span]


def span_count(body: Mapping[str, Any]) -> int:
    """How many spans `spans_of` makes of it."""
    metadata = body.get("metadata")
    return 1 + len(_steps_in(body, metadata if isinstance(metadata, dict) else {}))


def parent_in(details: Mapping[str, Any]) -> tuple[str, str] | None:
    """Trace and span around a record, from its metadata; None where that has others than OpenTelemetry's."""
    trace, span = map(details.get, _AROUND)
    if type(trace) is not str or type(span) is not str:
        return None
    return parse(f"00-{trace}-{span}-01")


def _with_own_tokens(body: Mapping[str, Any], details: Mapping[str, Any]) -> Mapping[str, Any]:
    """HuggingPlace's records have the sum of the tokens as a field."""
    return {"token_count": body["token_count"], **details} if "token_count" in body else details


def _steps_in(body: Mapping[str, Any], details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Banyan's records have them in the metadata."""
    given = details.get("step_data") or body.get("step_data")
    return [] if given is None else _dicts(given)


def _steps(ident: str, record: Span, nodes: list[Node], *, content: bool) -> list[Span]:
    for number, node in enumerate(nodes, 1):
        digest = sha256(f"banyan_hp\0{ident}\0step\0{number}".encode("utf-8", "replace")).hexdigest()
        node.span = digest[:16]
    return [_step(ident, record, number, node, content=content) for number, node in enumerate(nodes, 1)]


def _step(ident: str, record: Span, number: int, node: Node, *, content: bool) -> Span:
    operation = node.operation
    start = record.start + node.start
    end = start + int(seconds_of(node.body.get(STEP.duration), STEP.per_second) * 1e9)
    attributes: Attributes = {semconv.RECORD_ID: ident, semconv.RECORD_KIND: semconv.STEP}
    attributes[semconv.STEP_NUMBER] = number
    if operation:
        attributes[semconv.OPERATION] = operation
    add_attributes(attributes, STEP, node.body, node.details, content=content)
    around = node.around.span if node.around is not None else ""
    name = _name(operation, node.body.get(STEP.model)) or plain(node.body.get("type") or semconv.STEP)
    kind = CLIENT if operation else INTERNAL
    parent = around or record.span
    return Span(record.trace, node.span, parent, name, kind, start, end, attributes, _failure(node.details))


def _name(operation: str, model: object) -> str:
    """As the conventions have it."""
    return (
        f"{operation} {model if type(model) is str else plain(model)}" if operation and model else operation
    )


def _failure(details: Mapping[str, Any]) -> str | None:
    failed = details.get("error") or details.get("error_type")
    return plain(failed) if failed else None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
