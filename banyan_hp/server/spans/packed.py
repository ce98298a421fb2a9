"""Senders that put a call into objects or events of their own, unpacked into the conventions' attributes.

One function a sender; each gives nothing for spans of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ... import semconv
from .attributes import Attributes, flag, listed, mapping, number, parsed, text, texts
from .content import compact

Events = Sequence[tuple[str, Attributes]]
_RAW_USAGE = "gen_ai.usage.raw"


def unpacked(attributes: Attributes, events: Events) -> Attributes:
    """The span's attributes, and what is packed in them or in its events under the conventions' names."""
    found: dict[str, Any] = {}
    for unpack in (_langwatch, _haystack, _monocle, _ai_sdk):
        found |= {
            name: value for name, value in unpack(attributes, events) if value not in (None, "", [], {})
        }
    return {**found, **attributes} if found else attributes


def _with_parts(message: Attributes, read: Callable[[Any], Any]) -> Attributes:
    """A message whose parts, if it has any, are in the conventions' form."""
    content = message.get("content")
    return {**message, "content": [*map(read, content)]} if isinstance(content, list) else message


# -- LangWatch -----------------------------------------------------------------------------------------------


def _langwatch(attributes: Attributes, _: Events) -> Iterator[tuple[str, Any]]:
    """`langwatch.input` and the like: JSON of a type and a value; user and thread in the trace's metadata."""
    if "langwatch.span.type" not in attributes:
        return
    metadata, timed = (mapping(attributes.get(name)) for name in ("metadata", "langwatch.timestamps"))
    streams = flag(mapping(attributes.get("langwatch.params")).get("stream"))
    yield semconv.USER_ID, metadata.get("user_id")
    yield semconv.CONVERSATION_ID, metadata.get("thread_id")
    yield semconv.REQUEST_STREAM, streams
    yield semconv.INPUT_MESSAGES, mapping(attributes.get("langwatch.input")).get("value")
    said = mapping(attributes.get("langwatch.output")).get("value")
    yield semconv.OUTPUT_MESSAGES, _one_message(said) if streams and isinstance(said, list) else said
    began, first = (number(timed.get(name)) for name in ("started_at", "first_token_at"))
    if began is not None and first is not None and first >= began:
        yield semconv.TIME_TO_FIRST_CHUNK, (first - began) / 1000


def _one_message(chunks: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Of a stream, LangWatch writes each chunk as a message."""
    said = [mapping(each) for each in chunks]
    called = [call for each in said for call in listed(each.get("tool_calls"))]
    return [
        {
            "role": "assistant",
            "content": "".join(text(each.get("content")) or "" for each in said),
            "tool_calls": called,
        }
    ]


# -- Haystack ------------------------------------------------------------------------------------------------

_COMPONENTS = {
    "Generator": semconv.CHAT,
    "Embedder": semconv.EMBEDDINGS,
    "Retriever": "retrieval",
    "ToolInvoker": semconv.EXECUTE_TOOL,
    "Agent": semconv.INVOKE_AGENT,
}
_MAKERS = ("OpenAI", "Anthropic", "Cohere", "Mistral")


def _haystack(attributes: Attributes, _: Events) -> Iterator[tuple[str, Any]]:
    """A component's kind is the end of its class's name; its input and output are JSON of its arguments."""
    if "haystack.pipeline.execution_mode" in attributes:
        yield semconv.OPERATION, semconv.INVOKE_WORKFLOW
    kind = text(attributes.get("haystack.component.type")) or ""
    operation = next((role for ending, role in _COMPONENTS.items() if kind.endswith(ending)), None)
    yield semconv.OPERATION, operation
    if operation not in semconv.COUNTED:
        return
    yield semconv.PROVIDER, next((maker.lower() for maker in _MAKERS if kind.startswith(maker)), None)
    given, returned = (mapping(attributes.get(f"haystack.component.{name}")) for name in ("input", "output"))
    replies = [mapping(each) for each in listed(returned.get("replies"))]
    about = next(
        filter(None, (mapping(each.get("meta")) for each in (*replies, returned))),
        next(map(mapping, listed(returned.get("meta"))), {}),
    )
    yield semconv.RESPONSE_MODEL, about.get("model")
    yield semconv.FINISH_REASONS, texts(about.get("finish_reason"))
    yield _RAW_USAGE, about.get("usage")
    asked = given.get("messages") or given.get("prompt") or given.get("text")
    yield semconv.INPUT_MESSAGES, [_haystack_message(each) for each in listed(asked)] or asked
    yield semconv.OUTPUT_MESSAGES, [_haystack_message(each) for each in listed(returned.get("replies"))]


def _haystack_message(value: Any) -> Any:
    """Calls of tools and their results are parts under names of their own."""
    return _with_parts(value, _haystack_part) if isinstance(value, dict) else value


def _haystack_part(part: Any) -> Any:
    called, result = (mapping(mapping(part).get(name)) for name in ("tool_call", "tool_call_result"))
    if called:
        return {"type": "tool_call", **called, "name": called.get("tool_name")}
    return {"text": result["result"]} if "result" in result else part


# -- Monocle -------------------------------------------------------------------------------------------------

_SPANS = {
    "inference": semconv.CHAT,
    "inference.modelapi": semconv.CHAT,
    "embedding": semconv.EMBEDDINGS,
    "agentic.tool.invocation": semconv.EXECUTE_TOOL,
    "agentic.invocation": semconv.INVOKE_AGENT,
    "workflow": semconv.INVOKE_WORKFLOW,
}
_MODELS = ("model.llm.", "model.embedding.")


def _monocle(attributes: Attributes, events: Events) -> Iterator[tuple[str, Any]]:
    """Entities with numbers; messages and tokens in events. A message is JSON of a role and what it says."""
    if "monocle_apptrace.version" not in attributes:
        return
    yield semconv.OPERATION, _SPANS.get(text(attributes.get("span.type")) or "")
    for number_ in (1, 2, 3):
        kind = text(attributes.get(f"entity.{number_}.type")) or ""
        if kind.startswith(_MODELS):
            yield semconv.REQUEST_MODEL, attributes.get(f"entity.{number_}.name")
        if kind.startswith("inference."):
            yield semconv.PROVIDER, kind.removeprefix("inference.")
    for name, fields in events:
        if name == "data.input":
            yield semconv.INPUT_MESSAGES, [*_monocle_messages(fields.get("input"))]
        elif name == "data.output":
            yield semconv.OUTPUT_MESSAGES, [*_monocle_messages(fields.get("response"))]
        elif name == "metadata":
            yield _RAW_USAGE, fields
            yield semconv.FINISH_REASONS, texts(fields.get("finish_reason"))


def _monocle_messages(value: object) -> Iterator[Mapping[str, Any]]:
    for each in value if isinstance(value, list) else [value]:
        for role, content in mapping(each).items():
            calls = [mapping(call) for call in listed(parsed(content))]
            if calls and all(_TOOL & call.keys() for call in calls):
                yield {"role": role, "content": "", "tool_calls": [_monocle_call(call) for call in calls]}
            else:
                yield {"role": role, "content": content}


_TOOL = frozenset({"tool_name", "tool_function"})


def _monocle_call(call: Attributes) -> Mapping[str, Any]:
    name = call.get("tool_name", call.get("tool_function"))
    return {"id": call.get("tool_id"), "name": name, "arguments": call.get("tool_arguments")}


# -- Vercel's AI SDK -----------------------------------------------------------------------------------------

_AI_REQUESTS = {"doGenerate": semconv.CHAT, "doStream": semconv.CHAT, "doEmbed": semconv.EMBEDDINGS}
_AI_IDS = {
    semconv.CONVERSATION_ID: ("sessionId", "session_id", "threadId", "thread_id"),
    semconv.USER_ID: ("userId", "user_id"),
}


def _ai_sdk(attributes: Attributes, _: Events) -> Iterator[tuple[str, Any]]:
    """`ai.generateText` is a run; `ai.generateText.doGenerate` in it is a request, which is what counts."""
    if (name := text(attributes.get("ai.operationId"))) is None:
        return
    for ours, theirs in _AI_IDS.items():
        told = (text(attributes.get(f"ai.telemetry.metadata.{each}")) for each in theirs)
        yield ours, next(filter(None, told), None)
    operation = _AI_REQUESTS.get(name.rpartition(".")[2])
    if operation is None:
        yield semconv.OPERATION, semconv.EXECUTE_TOOL if name == "ai.toolCall" else semconv.INVOKE_WORKFLOW
        return
    yield semconv.OPERATION, operation
    yield semconv.PROVIDER, (text(attributes.get("ai.model.provider")) or "").partition(".")[0]
    yield semconv.REQUEST_MODEL, attributes.get("ai.model.id")
    yield _RAW_USAGE, _ai_usage(attributes)
    yield semconv.REQUEST_STREAM, name.endswith(".doStream") or None
    if (first := number(attributes.get("ai.response.msToFirstChunk"))) is not None:
        yield semconv.TIME_TO_FIRST_CHUNK, first / 1000
    values = attributes.get("ai.values") or attributes.get("ai.prompt.messages")
    yield semconv.INPUT_MESSAGES, [_ai_message(parsed(each)) for each in listed(parsed(values))]
    yield semconv.OUTPUT_MESSAGES, _ai_answer(attributes)


def _ai_usage(attributes: Attributes) -> Attributes:
    """`promptTokens` and `completionTokens` up to version 4 and of objects, `tokens` of embeddings."""
    prefix = "ai.usage."
    told = {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)}
    names = {
        "input": ("inputTokens", "promptTokens", "tokens"),
        "output": ("outputTokens", "completionTokens"),
        "cached_tokens": ("cachedInputTokens", "inputTokenDetails.cacheReadTokens"),
        "cache_write_tokens": ("inputTokenDetails.cacheWriteTokens",),
        "reasoning_tokens": ("reasoningTokens", "outputTokenDetails.reasoningTokens"),
    }
    return {ours: told[each] for ours, theirs in names.items() for each in theirs if each in told}


def _ai_message(value: Any) -> Any:
    return _with_parts(value, _ai_part) if isinstance(value, dict) else {"role": "user", "content": value}


def _ai_part(part: Any) -> Any:
    kind = mapping(part).get("type")
    if kind == "tool-call":
        return {"type": "tool_call", **_ai_call(part)}
    if kind == "tool-result":
        output = part.get("output", part.get("result"))
        return {"text": compact(mapping(output).get("value", output))}
    return part


def _ai_call(call: Attributes) -> dict[str, Any]:
    arguments = call.get("input", call.get("args"))
    return {"id": call.get("toolCallId"), "name": call.get("toolName"), "arguments": arguments}


def _ai_answer(attributes: Attributes) -> list[Mapping[str, Any]]:
    said = attributes.get("ai.response.text") or attributes.get("ai.response.object")
    calls = [_ai_call(mapping(each)) for each in listed(parsed(attributes.get("ai.response.toolCalls")))]
    return [{"role": "assistant", "content": said, "tool_calls": calls}] if said or calls else []
