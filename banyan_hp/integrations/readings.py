"""What spans of any instrumentation say about a call of a model, by their attributes. Pure.

Each instrumentation has its own spelling, see `semconv`; content comes as JSON text of messages, as numbered
attributes (OpenInference), or as one text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import semconv
from ..tracking.reading.responses import read_response

Attributes = Mapping[str, Any]
_LLM_KINDS = {
    "openinference.span.kind": {"LLM", "EMBEDDING"},
    "langfuse.observation.type": {"generation", "embedding"},
    "mlflow.spanType": {"LLM", "CHAT_MODEL", "EMBEDDING"},
    "lmnr.span.type": {"LLM"},
    "langsmith.span.kind": {"llm"},
}
_TOKENS = {
    "input_tokens": semconv.INPUT_TOKEN_NAMES,
    "output_tokens": semconv.OUTPUT_TOKEN_NAMES,
    "cached_tokens": semconv.CACHE_READ_NAMES,
    "cache_write_tokens": semconv.CACHE_WRITE_NAMES,
    "reasoning_tokens": semconv.REASONING_NAMES,
}
_IN_JSON: dict[
    str, dict[str, tuple[str, ...]]
] = {  # attributes that hold all counters as JSON text, and their names there
    "langfuse.observation.usage_details": {
        "input_tokens": ("input", "prompt_tokens", "input_tokens"),
        "output_tokens": ("output", "completion_tokens", "output_tokens"),
        "cached_tokens": ("prompt_tokens_details.cached_tokens", "cache_read_input_tokens"),
        "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",),
    },
    "mlflow.chat.tokenUsage": {
        "input_tokens": ("input_tokens",),
        "output_tokens": ("output_tokens",),
        "cached_tokens": ("cache_read_input_tokens",),
        "cache_write_tokens": ("cache_creation_input_tokens",),
    },
}
_NUMBERED = re.compile(r"(\d+)\.message\.(role|content|contents\.\d+\.message_content\.text)")


def is_call(attributes: Attributes) -> bool:
    """Whether this is one request to a model: not an agent, tool or workflow around some."""
    operation = attributes.get(semconv.OPERATION)
    if operation is not None:
        return operation in semconv.COUNTED
    for name, kinds in _LLM_KINDS.items():
        if name in attributes:
            return _json_text(attributes[name]) in kinds
    return False


def first(attributes: Attributes, names: Sequence[str]) -> Any:
    """The value of the first of these attributes that is there."""
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def model_of(attributes: Attributes) -> str | None:
    """The model that responded, or else the one that was asked for."""
    model = first(attributes, (*semconv.RESPONSE_MODELS, *semconv.REQUEST_MODELS))
    return None if model is None else str(_json_text(model))


def tokens_of(attributes: Attributes) -> dict[str, int]:
    """The tokens, by the names that they have in a record's metadata."""
    found = {name: first(attributes, names) for name, names in _TOKENS.items()}
    for source, fields in _IN_JSON.items():
        counters = _parsed(attributes.get(source))
        if isinstance(counters, dict):
            for name, inner in list(counters.items()):
                if isinstance(inner, dict):
                    counters.update((f"{name}.{each}", count) for each, count in inner.items())
            found = {name: first(counters, names) for name, names in fields.items()}
    return {name: count for name, count in found.items() if type(count) is int and count >= 0}


def input_of(attributes: Attributes) -> Any:
    """What the model was given: messages, or a text."""
    messages = _numbered(attributes, "llm.input_messages.") or attributes.get(semconv.INPUT_MESSAGES)
    system = attributes.get(semconv.SYSTEM_INSTRUCTIONS)
    given = first(attributes, semconv.INPUTS) if messages is None else messages
    parsed = _chat(given)
    if parsed is None:
        return "" if given is None else given
    return [{"role": "system", "content": _text_of(system)}, *parsed] if system is not None else parsed


def output_of(attributes: Attributes) -> str:
    """What the model answered, as text."""
    messages = _chat(_numbered(attributes, "llm.output_messages."))
    said = "".join(each["content"] for each in messages or ())
    if said:
        return said
    given = first(attributes, semconv.OUTPUTS)
    parsed = _chat(given)
    if parsed is None:
        return _response_text(_parsed(given)) or ("" if given is None else str(given))
    return "".join(each["content"] for each in parsed)


def _response_text(given: Any) -> str | None:
    """The text of a provider's response that is there as a whole (OpenAI Agents, streamed)."""
    whole = given[0] if isinstance(given, list) and len(given) == 1 else given
    said = read_response(whole).text if isinstance(whole, dict) else None
    return said if isinstance(said, str) else None


def with_events(attributes: Attributes, events: Iterable[tuple[str, Attributes]]) -> Attributes:
    """The attributes, with the messages that are in a span's events instead (strands)."""
    found: dict[str, Any] = {}
    asked: list[dict[str, Any]] = []
    for name, details in events:
        role = name.removeprefix("gen_ai.").removesuffix(".message")
        if name == semconv.INFERENCE_DETAILS:
            found.update(details)
        elif name == "gen_ai.choice":
            answer = {"role": "assistant", "content": _parsed(details.get("message"))}
            found[semconv.OUTPUT_MESSAGES] = json.dumps([answer], default=str)
        elif name == f"gen_ai.{role}.message":
            asked.append({"role": role, "content": _parsed(details.get("content"))})
    if asked:
        found[semconv.INPUT_MESSAGES] = json.dumps(asked, default=str)
    return {**found, **attributes} if found else attributes


def _numbered(attributes: Attributes, prefix: str) -> list[dict[str, Any]] | None:
    """OpenInference: an attribute for each field of each message."""
    found: dict[int, dict[str, Any]] = {}
    pieces: dict[int, str] = {}  # of contents in parts, which some senders repeat as one text
    for name, value in attributes.items():
        match = _NUMBERED.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match is None:
            continue
        number = int(match[1])
        message = found.setdefault(number, {"content": ""})
        if match[2] in ("role", "content"):
            message[match[2]] = value if match[2] == "role" else str(value)
        else:
            pieces[number] = pieces.get(number, "") + str(value)
    for number, message in found.items():
        message["content"] = message["content"] or pieces.get(number, "")
    return [found[number] for number in sorted(found)] or None


def _chat(given: Any) -> list[dict[str, str]] | None:
    """Messages with a role and a text; None if these are none."""
    messages = _parsed(given)
    if not isinstance(messages, list) or not messages:
        return None
    if not all(isinstance(each, Mapping) and ("role" in each or "message" in each) for each in messages):
        return None
    flat = [each.get("message", each) if "role" not in each else each for each in messages]
    return [
        {
            "role": str(each.get("role", "assistant")),
            "content": _text_of(each.get("parts", each.get("content"))),
        }
        for each in flat
        if isinstance(each, Mapping)
    ]


def _text_of(content: Any) -> str:
    """The text in a message's content or parts; what is no text is JSON."""
    content = _parsed(content)
    if content is None or isinstance(content, str):
        return content or ""
    pieces = content if isinstance(content, list) else [content]
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Mapping):
        text = piece.get("content", piece.get("text"))
        if isinstance(text, str):
            return text
    return json.dumps(piece, default=str)


def _parsed(given: Any) -> Any:
    """JSON in a text, if it is a list or object of JSON."""
    if not isinstance(given, str) or given.lstrip()[:1] not in ("[", "{"):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def _json_text(value: Any) -> Any:
    """A text that an SDK has put in quotation marks, without them."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if quoted else value
