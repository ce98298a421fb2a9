"""OpenAI's chat completions as a handler that answers what it is asked: each answer is known by its question.

The answer to "x" is "re x". Where tools are offered, the first answer is a call of the first one with the
question, the next one "re " and what the tool returned. A question with "refuse" gets a 400, one with "break"
a stream that breaks off.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.models import REFUSAL, Events
from tests.support.scripted_answers import Answer, Handler, Reply, Request, batching

INPUT, OUTPUT, CACHED, REASONING = 10, 4, 6, 3
USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
    "completion_tokens_details": {"reasoning_tokens": REASONING},
}
HEAD = {"id": "chatcmpl-1", "created": 1764000000, "model": "gpt-6-2026"}


def talking() -> Handler:
    """A handler for the model and for the logs."""
    logs = batching()

    def handle(request: Request) -> Answer:
        if request.route == "/v1/completions":
            said = {"text": f"re {request.json()['prompt'][0]}", "index": 0, "finish_reason": "stop"}
            return Reply(200, {**HEAD, "object": "text_completion", "choices": [said], "usage": USAGE})
        return _chat(request.json()) if request.route == "/v1/chat/completions" else logs(request)

    return handle


def _chat(body: dict[str, Any]) -> Answer:
    last = body["messages"][-1]
    asked = last["content"]
    if "refuse" in asked:
        return Reply(400, REFUSAL)
    message: dict[str, Any] = {"role": "assistant", "content": f"re {asked}"}
    if body.get("tools") and last["role"] != "tool":
        offered = body["tools"][0]["function"]
        argument = next(iter(offered["parameters"]["properties"]))
        call = {"name": offered["name"], "arguments": json.dumps({argument: asked})}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": f"call {asked}", "type": "function", "function": call}]
    reason = "tool_calls" if "tool_calls" in message else "stop"
    if body.get("stream"):
        return _streamed(message, reason, broken="break" in asked)
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return Reply(200, {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def _streamed(message: dict[str, Any], reason: str, *, broken: bool) -> Events:
    head = {**HEAD, "object": "chat.completion.chunk"}
    words = (message["content"] or "").split(" ", 1)
    deltas = [{"role": "assistant", "content": words[0]}, *({"content": f" {word}"} for word in words[1:])]
    deltas += [{"tool_calls": [{**call, "index": 0}]} for call in message.get("tool_calls", ())]
    events: list[dict[str, Any]] = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return Events((*events, {**head, "choices": [], "usage": USAGE}), done=True, fail=broken)
