"""The APIs of OpenAI and Anthropic as a `ScriptedServer` handler: recorded shapes, streamed or whole.

What a request gets depends on its path, on `stream`, `tools` and `n` in its body, and on its last word: a
question that ends in "wait" is held after the first two events until `release()`, one that ends in "fail"
breaks off there, one that ends in "refuse" is answered with a 400. Everything else goes to the handler for
the logs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support import recorded
from tests.support.recorded import Json
from tests.support.scripted import Answer
from tests.support.scripted_answers import Exchange, Handler, Reply, Request, one_by_one

REFUSAL: Json = {"error": {"message": "no such model", "type": "invalid_request_error", "code": "bad"}}


@dataclass(frozen=True)
class Events:
    """Server-sent events; `hold` waits after the first two until released, `fail` breaks off there."""

    events: tuple[Json, ...]
    done: bool = False
    hold: bool = False
    fail: bool = False

    def play(self, exchange: Exchange) -> bool:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        exchange.send(head.encode())
        for event in self.events[:2]:
            exchange.send(_chunked(_event(event)))
        if self.fail:
            exchange.reset()
            return False
        if self.hold and not exchange.wait_for_release():
            return False
        rest = "".join(map(_event, self.events[2:])) + ("data: [DONE]\n\n" if self.done else "")
        exchange.send(_chunked(rest) + b"0\r\n\r\n")
        return True


def _chunked(text: str) -> bytes:
    content = text.encode()
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def _event(event: Json) -> str:
    named = f"event: {event['type']}\n" if "type" in event else ""
    return f"{named}data: {json.dumps(event)}\n\n"


def models(logs: Handler | None = None) -> Handler:
    """A handler for both APIs, and `logs` for everything else."""
    answers = {
        "/v1/chat/completions": _chat,
        "/v1/responses": _responses,
        "/v1/completions": lambda body: Reply(200, {**recorded.CHAT, "choices": [{"text": "and so on"}]}),
        "/v1/messages": _messages,
    }
    elsewhere = logs or one_by_one(status=201)

    def handle(request: Request) -> Answer:
        answer = answers.get(request.route)
        if answer is None:
            return elsewhere(request)
        body = request.json()
        if _asked(body).endswith("refuse"):
            return Reply(400, REFUSAL)
        return answer(body)

    return handle


def _asked(body: Json) -> str:
    asked = body.get("messages") or body.get("input") or body.get("prompt")
    return str(asked[-1]["content"]) if isinstance(asked, list) else str(asked)


def _streamed(body: Json, events: list[Json], *, done: bool = False) -> Events:
    asked = _asked(body)
    return Events(tuple(events), done, hold=asked.endswith("wait"), fail=asked.endswith("fail"))


def _chat(body: Json) -> Answer:
    if body.get("stream"):
        events = recorded.CHAT_TOOL_CHUNKS if body.get("tools") else recorded.CHAT_CHUNKS
        usage: Any = (body.get("stream_options") or {}).get("include_usage")
        return _streamed(body, [*events, *([recorded.CHAT_USAGE_CHUNK] if usage else [])], done=True)
    if body.get("tools"):
        return Reply(200, recorded.CHAT_TOOLS)
    return Reply(200, recorded.CHAT_TWO if body.get("n") == 2 else recorded.CHAT)


def _responses(body: Json) -> Answer:
    if body.get("stream"):
        return _streamed(body, recorded.RESPONSE_EVENTS)
    return Reply(200, recorded.RESPONSE_TOOLS if body.get("tools") else recorded.RESPONSE)


def _messages(body: Json) -> Answer:
    if body.get("stream"):
        events = recorded.MESSAGE_TOOL_EVENTS if body.get("tools") else recorded.MESSAGE_EVENTS
        return _streamed(body, events)
    return Reply(200, recorded.MESSAGE_TOOLS if body.get("tools") else recorded.MESSAGE)
