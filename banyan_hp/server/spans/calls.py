"""The call that spans tell of, in the shape of all calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from math import fsum
from typing import Any

from ... import semconv
from ..prices import Prices, Tokens
from ..store.calls import Call, time_of
from ..store.spans import SOURCE
from .attributes import Attributes, first, mapping, number, parsed, plain, text
from .content import Message
from .duplicates import Group
from .evidence import Key, View
from .facts import Facts
from .kinds import Role
from .usage import Usage

_TOOLS = (semconv.TOOL_DEFINITIONS, "mlflow.chat.tools", "tools")
_OWN = {
    "prompt_id": semconv.PROMPT_ID,
    "prompt_name": semconv.PROMPT_NAME,
    "version": semconv.PROMPT_VERSION,
    "branch": semconv.PROMPT_BRANCH,
    "experiment_id": semconv.EXPERIMENT_ID,
    "experiment_version_id": semconv.EXPERIMENT_VERSION_ID,
    "sticky_key": semconv.STICKY_KEY,
    "sticky_value": semconv.STICKY_VALUE,
}
_PROMPT_VERSION = "llm.prompt_template.version"  # OpenInference


def call_id(key: Key, record_id: str | None = None) -> str:
    """The id of the call that is named after a span: a record's own, or its trace and span."""
    return record_id or f"{key[0]}-{key[1]}"


def call_of(project: str, group: Group, prices: Prices) -> Call:
    """The call."""
    primary = next(view for view in group.views if view.key == group.key)
    facts = [view.facts for view in group.views]
    # A record of our own has the time at which it was logged.
    time = time_of(primary.span.end if primary.facts.record_id else primary.span.start)
    usage = usage_of(facts)
    model = _first(facts, "model")
    provider = _first(facts, "provider")
    cost = _first(facts, "cost")
    shown = {
        "project": project,
        "id": call_id(primary.key, primary.facts.record_id),
        "day": time.date(),
        "event_time": time,
        "received_at": time_of(min(view.span.received_at for view in group.views)),
        "source": SOURCE,
        "session": group.session,
        "user": group.user,
        "model": model,
        "latency_ms": (primary.span.end - primary.span.start) / 1000,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "error": max((each.error for each in facts if each.error), key=len, default=None),
        **_own(group.views),
    }
    call = Call(**shown, cost=cost, body=_body(group, usage, provider))
    if cost is not None:
        return call
    if primary.steps:
        return replace(call, cost=_sum_priced(call, primary, prices))
    return replace(call, cost=_priced(call, usage, provider, prices))


def usage_of(facts: Sequence[Facts]) -> Usage:
    """The innermost report of tokens, with what the others know besides."""
    known = [each.usage for each in facts if each.usage.known] or [each.usage for each in facts]
    usage = known[0]
    for other in known[1:]:
        usage = usage.filled(other)
    return usage


def _first(facts: Sequence[Facts], name: str) -> Any:
    return next((value for each in facts if (value := getattr(each, name)) is not None), None)


def _priced(call: Call, usage: Usage, provider: str | None, prices: Prices) -> float | None:
    """`Tokens.input` has the cached ones, as every sender reports them."""
    output = usage.output if usage.output is not None or not _is_embedding(call) else 0
    if usage.input is None or output is None or call.model is None:
        return None
    tokens = Tokens(usage.input, output, usage.cached or 0, usage.written or 0, usage.reasoning or 0)
    names = dict.fromkeys((call.model, call.body["metadata"].get("request_model") or call.model))
    costs = (prices.cost(name, tokens, call.event_time, provider=provider) for name in names)
    return next((cost for cost in costs if cost is not None), None)


def _sum_priced(call: Call, record: View, prices: Prices) -> float | None:
    """Each step at the price of its own model, and the record's own tokens at that of the record's."""
    own = Usage(
        *(_less(getattr(record.facts.usage, each.name), record.steps, each.name) for each in fields(Usage))
    )
    parts = [(record.facts, own), *((step.facts, step.facts.usage) for step in record.steps)]
    costs = [
        _priced(replace(call, model=facts.model or call.model), usage, facts.provider, prices)
        for facts, usage in parts
        if usage.input or usage.output
    ]
    known = [cost for cost in costs if cost is not None]
    return fsum(known) if known and len(known) == len(costs) else None


def _less(count: int | None, steps: Sequence[View], name: str) -> int | None:
    return None if count is None else count - sum(getattr(step.facts.usage, name) or 0 for step in steps)


def _is_embedding(call: Call) -> bool:
    return bool(call.body["metadata"].get("operation") == semconv.EMBEDDINGS)


def _own(views: Sequence[View]) -> dict[str, str | None]:
    """The columns that only records of our own have, and the version of a prompt that others name."""
    found = {
        column: next(filter(None, (text(view.span.attributes.get(name)) for view in views)), None)
        for column, name in _OWN.items()
    }
    named = (text(view.span.attributes.get(_PROMPT_VERSION)) for view in views)
    return {**found, "version": found["version"] or next(filter(None, named), None)}


def _body(group: Group, usage: Usage, provider: str | None) -> dict[str, Any]:
    facts = [view.facts for view in group.views]
    asked = next((each.input for each in facts if each.input), ())
    said = next((each.output for each in facts if each.output), ())
    return {
        "input": [each.as_json() for each in asked],
        "output": answer(said),
        "metadata": dict(_metadata(group, usage, provider)),
    }


def answer(messages: Sequence[Message]) -> str:
    """The text of an answer, or of several, numbered."""
    texts = [each.as_text() for each in messages]
    if len(texts) < 2:
        return "".join(texts)
    return "\n\n".join(f"[choice {number}] {each}" for number, each in enumerate(texts, 1))


def _metadata(group: Group, usage: Usage, provider: str | None) -> Iterator[tuple[str, Any]]:
    """What has no column, under the names that our own clients use."""
    facts = [view.facts for view in group.views]
    primary = next(view for view in group.views if view.key == group.key)
    for view in reversed(group.views):
        yield from _senders_own(view.span.attributes)
    found = {
        "operation": _operation(group),
        "provider": provider,
        "request_model": _first(facts, "request_model"),
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.written,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.total,
        "stream": _first(facts, "stream"),
        "time_to_first_token_ms": _first(facts, "first_chunk_ms"),
        "finish_reasons": next((list(each.finish_reasons) for each in facts if each.finish_reasons), None),
        "response_id": _first(facts, "response_id"),
        "parameters": next((dict(each.parameters) for each in facts if each.parameters), None),
        "tools": next(filter(None, (_tools(view.span.attributes) for view in group.views)), None),
        "banyan_hp": _sampled(primary.span.attributes),
        "service": text(primary.span.resource.get(semconv.SERVICE_NAME)),
        "trace_id": primary.span.trace_id,
        "span_id": primary.span.span_id,
        "scopes": sorted(group.scopes),
        "steps": [_step(step) for step in primary.steps] or None,
        "also_told_by": [call_id(view.key) for view in group.views if view.key != primary.key] or None,
        "possible_duplicates": sorted(call_id(key) for key in group.possible) or None,
    }
    yield from ((name, value) for name, value in found.items() if value is not None)


def _sampled(attributes: Attributes) -> dict[str, Any] | None:
    """The rate at which our own client has logged it, where the client's own records have it."""
    rate = number(attributes.get(semconv.SAMPLE_RATE))
    return None if rate is None else {"sample_rate": rate}


def _step(step: View) -> dict[str, Any]:
    facts = step.facts
    shown = {
        "name": step.span.name,
        "type": text(step.span.attributes.get(semconv.STEP_TYPE)),
        "model": facts.model,
        "input_tokens": facts.usage.input,
        "output_tokens": facts.usage.output,
        "duration_ms": (step.span.end - step.span.start) / 1000,
        "error": facts.error,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _operation(group: Group) -> str:
    if group.role is Role.EMBEDDING:
        return semconv.EMBEDDINGS
    return _first([view.facts for view in group.views], "operation") or semconv.CHAT


def _tools(attributes: Attributes) -> Any:
    found = parsed(first(attributes, _TOOLS))
    return [*map(parsed, found)] if isinstance(found, list) else found


_METADATA = (semconv.METADATA, "metadata", semconv.EXTRA)
_PREFIXES = ("langfuse.trace.metadata.", "traceloop.association.properties.", "ai.telemetry.metadata.")
_TAGS = ("tag.tags", "langfuse.trace.tags")


def _senders_own(attributes: Attributes) -> Iterator[tuple[str, Any]]:
    """Metadata that the application gave, as far as senders mark it as such."""
    for name in _METADATA:
        yield from mapping(attributes.get(name)).items()
    for name, value in attributes.items():
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        if prefix is not None:
            yield name.removeprefix(prefix), plain(value)
    tags = parsed(first(attributes, _TAGS))
    if tags:
        yield "tags", tags
