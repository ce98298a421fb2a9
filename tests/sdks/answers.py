"""One answer of a model in the words of each provider's API: as a whole, and as the events of a stream.

Shapes: the API references of OpenAI, Anthropic, Google and Mistral, as their packages of November 2026 read
them. Whatever the API, the answer says the same, so that its record must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

TEXT = "It is sunny."
CALLS: list[tuple[str, Json]] = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "CET"})]
TOOL_LINES = '[tool call] get_weather({"city": "Paris"})\n[tool call] get_time({"zone": "CET"})'
INPUT, OUTPUT, CACHED, REASONING = 100, 40, 60, 25


@dataclass(frozen=True)
class Api:
    """One API: its answer, with or without tool calls, whole and streamed."""

    model: str
    whole: Callable[[bool], Json]
    events: Callable[[bool], list[Json]]
    finish: tuple[str, str]  # without and with tool calls
    done: bool = False


def _pieces(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


# -- OpenAI: chat completions --------------------------------------------------------------------------------

_CHAT_USAGE: Json = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
    "completion_tokens_details": {"reasoning_tokens": REASONING},
}


def _chat_calls() -> list[Json]:
    return [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for name, given in CALLS
    ]


def _chat(tools: bool) -> Json:
    message: Json = {"role": "assistant", "content": TEXT, "refusal": None}
    if tools:
        message["tool_calls"] = _chat_calls()
    reason = "tool_calls" if tools else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": "gpt-6"}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


def _chunk(delta: Json | None, reason: str | None = None, **more: Any) -> Json:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000, "model": "gpt-6"}
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {**head, "choices": choices, **more}


def _chat_events(tools: bool) -> list[Json]:
    first, second = _pieces(TEXT)
    events = [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": first}),
        _chunk({"content": second}),
    ]
    for index, call in enumerate(_chat_calls() if tools else []):
        begun, rest = _pieces(call["function"]["arguments"])
        function = {"name": call["function"]["name"], "arguments": begun}
        events.append(_chunk({"tool_calls": [{**call, "index": index, "function": function}]}))
        events.append(_chunk({"tool_calls": [{"index": index, "function": {"arguments": rest}}]}))
    return [*events, _chunk({}, "tool_calls" if tools else "stop"), _chunk(None, usage=_CHAT_USAGE)]


# -- OpenAI: completions -------------------------------------------------------------------------------------


def _completion(tools: bool) -> Json:
    choice = {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1764000000, "model": "gpt-6"}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


def _completion_events(tools: bool) -> list[Json]:
    whole = _completion(tools)
    texts = [{**whole["choices"][0], "text": piece, "finish_reason": None} for piece in _pieces(TEXT)]
    texts[-1]["finish_reason"] = "stop"
    pieces = [{**whole, "choices": [text], "usage": None} for text in texts]
    return [*pieces, {**whole, "choices": []}]


# -- OpenAI: responses ---------------------------------------------------------------------------------------


def _output(tools: bool) -> list[Json]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{name}",
            "call_id": f"call_{name}",
            "name": name,
            "arguments": json.dumps(given),
            "status": "completed",
        }
        for name, given in CALLS
    ]
    return [{"type": "reasoning", "id": "rs_1", "summary": []}, message, *(calls if tools else [])]


def response(tools: bool = False, **more: Any) -> Json:
    """OpenAI's response."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1764000000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-6",
        "output": _output(tools),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": INPUT,
            "input_tokens_details": {"cached_tokens": CACHED},
            "output_tokens": OUTPUT,
            "output_tokens_details": {"reasoning_tokens": REASONING},
            "total_tokens": INPUT + OUTPUT,
        },
        **more,
    }


def response_events(tools: bool = False, **ending: Any) -> list[Json]:
    """The events of a response, of which the last has the end."""
    whole = response(tools, **ending)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "error": None}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(whole["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        empty = {**item, "content": []} if item["type"] == "message" else item
        events.append({"type": "response.output_item.added", "output_index": index, "item": empty})
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            events.append({"type": "response.content_part.added", **at, "content_index": 0, "part": part})
            for piece in _pieces(TEXT):
                delta = {"content_index": 0, "delta": piece, "logprobs": []}
                events.append({"type": "response.output_text.delta", **at, **delta})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


# -- Anthropic -----------------------------------------------------------------------------------------------

_MESSAGE_USAGE: Json = {
    "input_tokens": INPUT - CACHED,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": CACHED,
    "output_tokens": OUTPUT,
    "output_tokens_details": {"thinking_tokens": REASONING},
}


def _message(tools: bool) -> Json:
    blocks: list[Json] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": TEXT},
    ]
    if tools:
        blocks += [{"type": "tool_use", "id": f"toolu_{n}", "name": n, "input": given} for n, given in CALLS]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-6",
        "content": blocks,
        "stop_reason": "tool_use" if tools else "end_turn",
        "stop_sequence": None,
        "usage": _MESSAGE_USAGE,
    }


def _block_deltas(block: Json) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in _pieces(TEXT)]
    if block["type"] == "thinking":
        deltas = [
            {"type": "thinking_delta", "thinking": "Hm."},
            {"type": "signature_delta", "signature": "s"},
        ]
        return {**block, "thinking": "", "signature": ""}, deltas
    begun, rest = _pieces(json.dumps(block["input"], separators=(",", ":")))
    pieces = ("", begun, rest)
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": each} for each in pieces]


def _message_events(tools: bool) -> list[Json]:
    whole = _message(tools)
    usage = {**_MESSAGE_USAGE, "output_tokens": 1}
    usage.pop("output_tokens_details")
    begun = {**whole, "content": [], "stop_reason": None, "usage": usage}
    events: list[Json] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        empty, deltas = _block_deltas(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    last = {
        "output_tokens": OUTPUT,
        "input_tokens": 0,
        "output_tokens_details": {"thinking_tokens": REASONING},
    }
    return [*events, {"type": "message_delta", "delta": delta, "usage": last}, {"type": "message_stop"}]


# -- Google --------------------------------------------------------------------------------------------------

_GOOGLE_USAGE: Json = {
    "promptTokenCount": INPUT,
    "candidatesTokenCount": OUTPUT - REASONING,
    "thoughtsTokenCount": REASONING,
    "cachedContentTokenCount": CACHED,
    "totalTokenCount": INPUT + OUTPUT,
}


def _candidate(parts: list[Json], **more: Any) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}]}


def _google_calls(tools: bool) -> list[Json]:
    return [{"functionCall": {"name": name, "args": given}} for name, given in CALLS] if tools else []


def _google(tools: bool) -> Json:
    parts: list[Json] = [{"text": "Hm.", "thought": True}, {"text": TEXT}, *_google_calls(tools)]
    told = {"usageMetadata": _GOOGLE_USAGE, "modelVersion": "gemini-4"}
    return {**_candidate(parts, finishReason="STOP"), **told}


def _google_events(tools: bool) -> list[Json]:
    first, second = _pieces(TEXT)
    early = {
        "usageMetadata": {"promptTokenCount": INPUT, "totalTokenCount": INPUT},
        "modelVersion": "gemini-4",
    }
    return [
        {**_candidate([{"text": "Hm.", "thought": True}]), **early},
        {**_candidate([{"text": first}]), **early},
        {**_candidate([{"text": second}, *_google_calls(tools)[:1]]), **early},
        {
            **_candidate(_google_calls(tools)[1:] or [{"text": ""}], finishReason="STOP"),
            "usageMetadata": _GOOGLE_USAGE,
            "modelVersion": "gemini-4",
        },
    ]


def _interaction(tools: bool) -> Json:
    calls = [{"type": "function_call", "id": f"c_{n}", "name": n, "arguments": given} for n, given in CALLS]
    return {
        "id": "int_1",
        "object": "interaction",
        "model": "gemini-4",
        "status": "requires_action" if tools else "completed",
        "created": "2026-11-01T00:00:00Z",
        "updated": "2026-11-01T00:00:01Z",
        "steps": [
            {"type": "thought", "signature": "cw==", "summary": [{"type": "text", "text": "Hm."}]},
            {"type": "model_output", "content": [{"type": "text", "text": TEXT}]},
            *(calls if tools else []),
        ],
        "usage": {
            "total_input_tokens": INPUT,
            "total_output_tokens": OUTPUT - REASONING,
            "total_thought_tokens": REASONING,
            "total_cached_tokens": CACHED,
            "total_tokens": INPUT + OUTPUT,
        },
    }


def _interaction_events(tools: bool) -> list[Json]:
    whole = _interaction(tools)
    partial = {key: whole[key] for key in ("id", "model", "created", "updated")}
    begun = {**partial, "status": "in_progress"}
    events: list[Json] = [{"event_type": "interaction.created", "interaction": begun}]
    for index, step in enumerate(whole["steps"]):
        at = {"index": index}
        deltas: list[Json] = []
        if step["type"] == "model_output":
            deltas = [{"type": "text", "text": piece} for piece in _pieces(TEXT)]
            step = {**step, "content": []}
        elif step["type"] == "function_call":
            arguments = _pieces(json.dumps(step["arguments"], separators=(",", ":")))
            deltas = [{"type": "arguments_delta", "arguments": piece} for piece in arguments]
            step = {**step, "arguments": {}}
        events.append({"event_type": "step.start", **at, "step": step})
        events += [{"event_type": "step.delta", **at, "delta": delta} for delta in deltas]
        events.append({"event_type": "step.stop", **at})
    ended = {**partial, "status": whole["status"], "usage": whole["usage"]}
    return [*events, {"event_type": "interaction.completed", "interaction": ended}]


# -- Mistral -------------------------------------------------------------------------------------------------


def _mistral(tools: bool) -> Json:
    return {**_chat(tools), "model": "mistral-4"}


def _mistral_events(tools: bool) -> list[Json]:
    """Its tool calls come whole, all in one chunk, and its usage with the last one."""
    events = [event for event in _chat_events(tools=False) if event["choices"]]
    if tools:
        calls = [{**call, "index": index} for index, call in enumerate(_chat_calls())]
        events.insert(-1, _chunk({"content": "", "tool_calls": calls}))
        events[-1]["choices"][0]["finish_reason"] = "tool_calls"
    events[-1]["usage"] = _CHAT_USAGE
    return [{**event, "model": "mistral-4"} for event in events]


APIS: dict[str, Api] = {
    "openai chat": Api("gpt-6", _chat, _chat_events, ("stop", "tool_calls"), done=True),
    "openai completions": Api("gpt-6", _completion, _completion_events, ("stop", "stop"), done=True),
    "openai responses": Api("gpt-6", response, response_events, ("completed", "completed")),
    "anthropic messages": Api("claude-6", _message, _message_events, ("end_turn", "tool_use")),
    "google generateContent": Api("gemini-4", _google, _google_events, ("STOP", "STOP")),
    "google interactions": Api(
        "gemini-4", _interaction, _interaction_events, ("completed", "requires_action")
    ),
    "mistral chat": Api("mistral-4", _mistral, _mistral_events, ("stop", "tool_calls"), done=True),
}
