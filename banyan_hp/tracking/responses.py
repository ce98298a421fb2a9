"""Reading providers' responses by their shape, objects and dicts alike. Pure; imports no provider.

Known are OpenAI's chat completions (those of Mistral and many others look the same), completions and
responses, Anthropic's messages, Google's GenAI. Of anything else: dicts and lists are taken as they are, of
other objects `str`; no tokens. Nothing here raises, whatever a response is like.

Sources: the published API references and the recorded bodies in `tests/support/recorded.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .fields import as_text, count, field, first_of, items, path, text
from .reading import NO_USAGE, Reading, Usage

NOTHING = Reading()


def read_response(response: object) -> Reading:
    """Text, model, tokens and the reason it ended, of whatever a model's client returned."""
    if response is None:
        return NOTHING
    if isinstance(response, Reading):
        return response
    if isinstance(response, str):
        return Reading(text(response))
    for shape in _SHAPES:
        reading = shape(response)
        if reading is not None:
            return reading
    return Reading(response if isinstance(response, (dict, list, tuple)) else as_text(response))


def read_usage(response: object) -> Usage:
    """The tokens that a response, or the chunk of a stream, tells of."""
    usage = first_of(response, "usage", "usage_metadata", "usageMetadata")
    if usage is None:
        return NO_USAGE
    return _google_usage(usage) if _is_google_s(usage) else _usage(usage)


def tool_call(name: object, arguments: object) -> str:
    """A tool call as a line of text."""
    return f"[tool call] {as_text(name)}({as_text(arguments)})"


def joined(texts: Sequence[str]) -> str:
    """The text of one answer, or of several (`n` above 1), numbered."""
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[choice {number}] {each}" for number, each in enumerate(texts, start=1))


def content_text(content: object) -> str:
    """The text of a message's content: a str, or parts, of which tool calls come after the text."""
    if (whole := text(content)) is not None:
        return whole
    said, tools = [], []
    for part in items(content):
        if (plain := _part_text(part)) is not None:
            said.append(plain)
        elif (call := _part_tool(part)) is not None:
            tools.append(call)
    return _lines("".join(said), tools)


def _part_text(part: object) -> str | None:
    if field(part, "thought") is True or text(field(part, "type")) in ("thinking", "reasoning"):
        return None
    return text(part) if isinstance(part, str) else text(first_of(part, "text", "refusal"))


def _part_tool(part: object) -> str | None:
    if text(field(part, "type")) in ("tool_use", "server_tool_use", "mcp_tool_use"):
        return tool_call(field(part, "name"), field(part, "input"))
    call = first_of(part, "function_call", "functionCall")
    return None if call is None else tool_call(field(call, "name"), field(call, "args"))


def _lines(said: str, tools: Iterable[str]) -> str:
    return "\n".join([*([said] if said else []), *tools])


# -- shapes: each returns None for a response that is not of it ----------------------------------------------


def _choices(response: object) -> Reading | None:
    choices = items(field(response, "choices"))
    texts = [each for choice in choices if (each := _choice_text(choice)) is not None]
    if not texts:
        return None
    return Reading(
        joined(texts),
        text(field(response, "model")),
        read_usage(response),
        text(field(choices[0], "finish_reason")),
    )


def _choice_text(choice: object) -> str | None:
    message = field(choice, "message")
    if message is None:
        return text(field(choice, "text"))
    said = first_of(message, "content", "refusal")
    if said is None:
        said = path(message, "audio", "transcript")
    calls = items(field(message, "tool_calls")) or items([field(message, "function_call")])
    functions = [function for call in calls if (function := first_of(call, "function", "custom") or call)]
    lines = [
        tool_call(name, first_of(function, "arguments", "input"))
        for function in functions
        if (name := text(field(function, "name"))) is not None
    ]
    return _lines(content_text(said), lines)


def _output(response: object) -> Reading | None:
    output = field(response, "output")
    if text(field(response, "object")) != "response" or not isinstance(output, (list, tuple)):
        return None
    said, tools = [], []
    for item in items(output):
        if text(field(item, "type")) == "message":
            said.append(content_text(field(item, "content")))
        elif text(name := field(item, "name")) is not None:
            tools.append(tool_call(name, first_of(item, "arguments", "input")))
    ended = path(response, "incomplete_details", "reason") or field(response, "status")
    lines = _lines("\n".join(said), tools)
    return Reading(lines, text(field(response, "model")), read_usage(response), text(ended))


def _message(response: object) -> Reading | None:
    content = field(response, "content")
    if text(field(response, "type")) != "message" or not isinstance(content, (list, tuple)):
        return None
    return Reading(
        content_text(content),
        text(field(response, "model")),
        read_usage(response),
        text(field(response, "stop_reason")),
    )


def _candidates(response: object) -> Reading | None:
    candidates = items(field(response, "candidates"))
    parts = [field(candidate, "content") for candidate in candidates]
    if not any(content is not None for content in parts):
        return None
    return Reading(
        joined([content_text(field(content, "parts")) for content in parts]),
        text(first_of(response, "model_version", "modelVersion")),
        read_usage(response),
        text(first_of(candidates[0], "finish_reason", "finishReason")),
    )


_SHAPES: tuple[Callable[[object], Reading | None], ...] = (_choices, _message, _output, _candidates)


# -- tokens --------------------------------------------------------------------------------------------------


def _usage(usage: Any) -> Usage:
    """OpenAI's two forms and Anthropic's, whose `input_tokens` leave out what was cached."""
    read, written = (
        count(field(usage, name)) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    fresh = count(first_of(usage, "prompt_tokens", "input_tokens"))
    going_in = first_of(usage, "prompt_tokens_details", "input_tokens_details")
    coming_out = first_of(usage, "completion_tokens_details", "output_tokens_details")
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=count(first_of(usage, "completion_tokens", "output_tokens")),
        total_tokens=count(field(usage, "total_tokens")),
        cached_tokens=read if read is not None else count(field(going_in, "cached_tokens")),
        cache_write_tokens=written if written is not None else count(field(going_in, "cache_write_tokens")),
        reasoning_tokens=count(first_of(coming_out, "reasoning_tokens", "thinking_tokens")),
    )


def _is_google_s(usage: object) -> bool:
    return count(first_of(usage, "prompt_token_count", "promptTokenCount")) is not None


def _google_usage(usage: Any) -> Usage:
    """Google's, whose `candidates_token_count` leaves out the thoughts; over REST in camelCase."""
    prompt, tools, answer, thoughts, cached, total = (
        count(first_of(usage, *names))
        for names in (
            ("prompt_token_count", "promptTokenCount"),
            ("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
            ("candidates_token_count", "candidatesTokenCount"),
            ("thoughts_token_count", "thoughtsTokenCount"),
            ("cached_content_token_count", "cachedContentTokenCount"),
            ("total_token_count", "totalTokenCount"),
        )
    )
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        total_tokens=total,
        cached_tokens=cached,
        reasoning_tokens=thoughts,
    )
