"""Reading providers' responses and messages by their shape, objects and dicts alike. Pure.

Known are OpenAI's chat completions (those of Mistral and many others look the same), completions and
responses, Anthropic's messages, Google's GenAI, interactions included, and LangChain's messages. Of anything
else: dicts and lists are taken as they are, of other objects `str`; no tokens. Nothing here raises, whatever
a response is like.

The text is what was said, with tool calls as lines after it; what a model thought is not part of it. An
answer without text (refused by a filter, cut while the model still thought) is an empty text.

Sources: the published API references and the recorded bodies in `tests/support/recorded.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...engine.records.encode import AsText
from .fields import as_text, as_text_later, copied, field, first_of, is_model, items, path, text
from .usage import NO_USAGE, Usage, read_usage


class Reading(NamedTuple):
    """What a response says: `text` is a str, or a dict or list of no provider's as it was, or None.

    `error` and `error_type` are the provider's own words for why it failed, in a response that says so.
    """

    text: Any = None
    model: str | None = None
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    error: str | None = None
    error_type: str | None = None


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


def tool_call(name: object, arguments: object) -> str:
    """A tool call as a line of text."""
    if is_model(arguments):
        arguments, _ = copied(arguments)
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
    said: list[str] = []
    tools: list[str] = []
    for part in items(content):
        if (plain := part_text(part)) is not None:
            said.append(plain)
        elif (call := part_tool(part)) is not None:
            tools.append(call)
    return lines("".join(said), tools)


def text_without_tools(content: object) -> str:
    """The text of a message's content whose tool calls are listed beside it."""
    if (whole := text(content)) is not None:
        return whole
    return "".join([said for part in items(content) if (said := part_text(part)) is not None])


def part_text(part: object) -> str | None:
    """What a part of a content says; None for anything but text, and for thoughts."""
    if field(part, "thought") is True or text(field(part, "type")) in _THOUGHT:
        return None
    return text(part) if isinstance(part, str) else text(first_of(part, "text", "refusal"))


def part_tool(part: object) -> str | None:
    """The tool call that a part of a content is."""
    if text(field(part, "type")) in TOOL_BLOCKS:
        return tool_call(field(part, "name"), field(part, "input"))
    call = first_of(part, "function_call", "functionCall")
    return None if call is None else tool_call(field(call, "name"), field(call, "args"))


def lines(said: str, tools: Iterable[str]) -> str:
    """Text, and tool calls after it."""
    return "\n".join([*([said] if said else []), *tools])


_THOUGHT = ("thinking", "redacted_thinking", "reasoning")
TOOL_BLOCKS = ("tool_use", "server_tool_use", "mcp_tool_use")
# What tools are called with, by the names that it has in calls of different tools.
_ARGUMENTS = ("arguments", "input", "action", "actions", "operation", "code", "queries")


# -- shapes: each returns None for a response that is not of it ----------------------------------------------


def _choices(response: object) -> Reading | None:
    choices = items(field(response, "choices"))
    named = text(field(response, "object")) in ("chat.completion", "text_completion")
    if not named and not any(map(_is_choice, choices)):
        return None
    first = choices[0] if choices else None
    kind, said = failure_of(response) or failure_of(first) or (None, None)
    return Reading(
        joined([_choice_text(choice) for choice in choices] or [""]),
        text(field(response, "model")),
        read_usage(response),
        text(field(first, "finish_reason")),
        said,
        kind,
    )


def _is_choice(choice: object) -> bool:
    message = field(choice, "message")
    said = message is not None and not isinstance(message, (str, bytes))
    return said or any(text(field(choice, name)) is not None for name in ("text", "finish_reason"))


def _choice_text(choice: object) -> str:
    message = field(choice, "message")
    if message is None:
        return text(field(choice, "text")) or ""
    said = content_text(field(message, "content"))
    said = said or text(field(message, "refusal")) or text(path(message, "audio", "transcript")) or ""
    calls = items(field(message, "tool_calls")) or items([field(message, "function_call")])
    functions = [function for call in calls if (function := first_of(call, "function", "custom") or call)]
    return lines(
        said,
        [
            tool_call(name, first_of(function, "arguments", "input"))
            for function in functions
            if (name := text(field(function, "name"))) is not None
        ],
    )


def _output(response: object) -> Reading | None:
    output = field(response, "output")
    if text(field(response, "object")) != "response" or not isinstance(output, (list, tuple)):
        return None
    said = [
        content_text(field(item, "content"))
        for item in items(output)
        if text(field(item, "type")) == "message"
    ]
    tools = [call for item in items(output) if (call := item_call(item)) is not None]
    ended = path(response, "incomplete_details", "reason") or field(response, "status")
    kind, why = failure_of(response) or (None, None)
    return Reading(
        lines("\n".join(said), tools),
        text(field(response, "model")),
        read_usage(response),
        text(ended),
        why,
        kind,
    )


def item_call(item: object) -> str | None:
    """The tool call that an item of a response's output, or a step of Google's interactions, is; or None."""
    kind, name = text(field(item, "type")) or "", text(field(item, "name"))
    if name is None and not kind.endswith("_call"):
        return None
    arguments = first_of(item, *_ARGUMENTS)
    if is_model(arguments):
        arguments, _ = copied(arguments)
    if isinstance(arguments, dict) and all(isinstance(key, str) for key in arguments):
        arguments = dict(sorted(arguments.items()))  # packages put fields into an order of their own
    return tool_call(name or kind.removesuffix("_call"), arguments)


def failure_of(response: object) -> tuple[str, str] | None:
    """Type and message of the error in a response, which may have the status 200."""
    error = field(response, "error")
    message = text(error) or text(field(error, "message"))
    if not message:
        return None
    reported = (text(field(error, "type")), text(field(error, "code")), as_text(field(error, "code")))
    kind = next((each for each in reported if each and each != "error"), "error")
    return kind, f"{kind}: {message}"


def _message(response: object) -> Reading | None:
    content = field(response, "content")
    if text(field(response, "type")) != "message" or not isinstance(content, (list, tuple)):
        return None
    if content and not any(text(field(block, "type")) for block in items(content)):
        return None
    return Reading(
        content_text(content),
        text(field(response, "model")),
        read_usage(response),
        text(field(response, "stop_reason")),
    )


def _candidates(response: object) -> Reading | None:
    candidates = items(field(response, "candidates"))
    blocked = block_reason(response)
    if blocked is None and not any(map(_is_candidate, candidates)):
        return None
    texts = [content_text(path(candidate, "content", "parts")) for candidate in candidates]
    ended = text(first_of(candidates[0] if candidates else None, "finish_reason", "finishReason"))
    model = text(first_of(response, "model_version", "modelVersion"))
    return Reading(joined(texts or [""]), model, read_usage(response), ended or blocked)


def block_reason(response: object) -> str | None:
    """Why Google did not let a prompt through."""
    feedback = first_of(response, "prompt_feedback", "promptFeedback")
    return text(first_of(feedback, "block_reason", "blockReason"))


def _is_candidate(candidate: object) -> bool:
    ended = text(first_of(candidate, "finish_reason", "finishReason"))
    content = field(candidate, "content")
    return ended is not None or items(field(content, "parts")) != ()


def _interaction(response: object) -> Reading | None:
    """Google's interactions, whose `steps` are the output."""
    steps = field(response, "steps")
    reported = first_of(field(response, "usage"), "total_input_tokens")
    if not isinstance(steps, (list, tuple)) or (reported is None and _is_no_interaction(steps)):
        return None
    said = [
        content_text(field(step, "content"))
        for step in items(steps)
        if text(field(step, "type")) == "model_output"
    ]
    tools = [call for step in items(steps) if (call := item_call(step)) is not None]
    faults = items(field(response, "errors"))
    kind, why = (failure_of({"error": faults[0]}) if faults else None) or (None, None)
    model = text(first_of(response, "model", "agent"))
    whole = lines("".join(said), tools)
    return Reading(whole, model, read_usage(response), text(field(response, "status")), why, kind)


def _is_no_interaction(steps: Sequence[object]) -> bool:
    return not any(text(field(step, "type")) == "model_output" for step in items(steps))


def _framework_message(response: object) -> Reading | None:
    """A message of LangChain, which lists all tool calls of the model beside the content."""
    if not is_framework_message(response):
        return None
    content, calls = field(response, "content"), items(field(response, "tool_calls"))
    tools = [tool_call(field(call, "name"), field(call, "args")) for call in calls]
    said = lines(text_without_tools(content), tools) if tools else content_text(content)
    refused = text(path(response, "additional_kwargs", "refusal"))
    model, ended = framework_details(response)
    return Reading(said or refused or "", model, read_usage(response), ended)


def is_framework_message(value: object) -> bool:
    """Whether it is a message of LangChain, or a chunk of a streamed one."""
    kind = text(field(value, "type"))
    known = kind is not None and (kind in _MESSAGE_TYPES or kind.endswith("MessageChunk"))
    return known and field(value, "response_metadata") is not None


def framework_details(message: object) -> tuple[str | None, str | None]:
    """The model of a message of LangChain, and the reason it ended: both by their provider's names."""
    details = field(message, "response_metadata")
    model = text(first_of(details, "model_name", "model", "model_id"))
    return model, text(first_of(details, *_ENDED))


_MESSAGE_TYPES = ("ai", "human", "system", "tool", "function", "chat")
_ENDED = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")


def _embeddings(response: object) -> Reading | None:
    """How many vectors there are, and of how many dimensions; not the vectors."""
    data = items(field(response, "data"))
    if not data or text(field(data[0], "object")) != "embedding":
        return None
    vector, usage = field(data[0], "embedding"), read_usage(response)
    size = len(vector) if isinstance(vector, (list, tuple)) else len(text(vector) or "") * 3 // 16  # base64
    said = f"[{len(data)} embedding{'s' if len(data) > 1 else ''}{f' of {size} dimensions' if size else ''}]"
    nothing_out = usage if usage.input_tokens is None else usage._replace(output_tokens=0)
    return Reading(said, text(field(response, "model")), nothing_out)


def _images(response: object) -> Reading | None:
    """What the images are; not their content. Their addresses go without the signature behind them."""
    data = items(field(response, "data"))
    if not data or field(response, "created") is None or first_of(data[0], "b64_json", "url") is None:
        return None
    kind = "".join(f" {told}" for name in ("size", "output_format") if (told := text(field(response, name))))
    places = [(text(field(each, "url")) or "").partition("?")[0] for each in data]
    prompts = [text(field(each, "revised_prompt")) for each in data]
    said = [f"[image{kind}] {prompt or place}" for prompt, place in zip(prompts, places, strict=True)]
    model = text(field(response, "model"))
    return Reading("\n".join(each.rstrip() for each in said), model, read_usage(response))


_SHAPES: tuple[Callable[[object], Reading | None], ...] = (
    _choices,
    _message,
    _output,
    _candidates,
    _interaction,
    _framework_message,
    _embeddings,
    _images,
)


# -- what was asked ------------------------------------------------------------------------------------------


def question_in(arguments: Mapping[str, Any]) -> Any:
    """The question in the keyword arguments of a provider's method: the messages, with the instructions.

    A list is copied, for agents append to theirs while a stream still runs; anything that could be read
    only once (an iterator) is left alone.
    """
    asked = _first(arguments, _ASKED)
    if isinstance(asked, (list, tuple)):
        asked = list(asked)
    elif not isinstance(asked, (str, dict)):
        asked = None
    instructions = _first(arguments, _INSTRUCTIONS)
    if instructions is not None and isinstance(instructions, (str, list, tuple)) and instructions:
        return {"instructions": instructions, "input": asked}
    return asked


_USERS = ("user", "human")
_ASKED = ("messages", "input", "prompt")
_INSTRUCTIONS = ("system", "instructions")


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Like `first_of`, at every wrapped call: without its guard, which keyword arguments do not need."""
    for name in names:
        found = arguments.get(name)
        if found is not None:
            return found
    return None


def question_text(asked: object) -> Any:
    """A question for people: of messages the last one that a user wrote, else `as_text_later`."""
    question = asked.value if isinstance(asked, AsText) else asked
    if isinstance(question, dict) and set(question) == {"instructions", "input"}:
        question = question["input"]
    for message in reversed(items(question)):
        if text(first_of(message, "role", "type")) in _USERS:
            said = content_text(first_of(message, "content", "parts"))
            if said:
                return said
    if isinstance(asked, AsText) and question is asked.value:
        return asked
    return "" if question is None else as_text_later(question)
