"""The providers' servers as one `ScriptedServer` handler: each API's answer, whole or streamed.

Tool calls come where the request offers tools. What is asked may say what happens: a question that ends in
"refuse" is answered with 400, one in "broken" with a stream that ends too soon, one in "overloaded" with the
API's own error in the stream.
"""

from __future__ import annotations

import json
from typing import Any

from tests.sdks.answers import APIS, Api, Json, response, response_events
from tests.support.models import Events
from tests.support.scripted import Answer
from tests.support.scripted_answers import Handler, Reply, Request, batching

REFUSAL: Json = {
    "type": "error",
    "error": {
        "message": "no such model",
        "type": "invalid_request_error",
        "code": 400,
        "status": "INVALID_ARGUMENT",
    },
}
_STREAM_ERRORS: dict[str, Json] = {
    "openai chat": {
        "error": {"message": "Too busy.", "type": "overloaded_error", "code": None, "param": None}
    },
    "openai completions": {"error": {"message": "Too busy.", "type": "overloaded_error", "code": None}},
    "openai responses": {"type": "error", "code": "overloaded_error", "message": "Too busy.", "param": None},
    "anthropic messages": {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}},
}
_PATHS = {
    "/v1/chat/completions": "openai chat",
    "/v1/completions": "openai completions",
    "/v1/responses": "openai responses",
    "/v1/messages": "anthropic messages",
    "/mistral/v1/chat/completions": "mistral chat",
}


def providers() -> Handler:
    """A handler for all APIs and for the logs."""
    logs = batching()
    background: list[str] = []  # the statuses that fetching finds next

    def handle(request: Request) -> Answer:
        name = _api(request.route)
        if request.route.startswith("/v1/responses/"):
            return _fetched(request, background)
        if name is None:
            return logs(request)
        body = request.json()
        asked = json.dumps(body)
        if 'refuse"' in asked:
            return Reply(400, REFUSAL)
        if body.get("background"):
            background[:] = ["queued", "in_progress", "failed" if 'failed"' in asked else "completed"]
            return Reply(200, response(background=True, status="queued", output=[], usage=None))
        return _answer(name, APIS[name], request, body, asked)

    return handle


def _api(route: str) -> str | None:
    if "generateContent" in route or "streamGenerateContent" in route:
        return "google generateContent"
    return "google interactions" if route.endswith("/interactions") else _PATHS.get(route)


def _answer(name: str, api: Api, request: Request, body: Json, asked: str) -> Answer:
    tools = bool(body.get("tools"))
    if not (body.get("stream") or "streamGenerateContent" in request.route):
        return Reply(200, api.whole(tools))
    events = api.events(tools)
    if 'broken"' in asked:
        return Events(tuple(events[: len(events) // 2]))
    if 'overloaded"' in asked:
        return Events((*events[:3], _STREAM_ERRORS[name]))
    if name == "openai responses" and 'failed"' in asked:
        return Events(tuple(response_events(**failed())))
    return Events(tuple(events), api.done)


def failed() -> Json:
    """How a response says that it failed."""
    return {
        "status": "failed",
        "error": {"code": "server_error", "message": "It broke."},
        "output": [],
        "usage": None,
    }


def _fetched(request: Request, statuses: list[str]) -> Answer:
    status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
    if status == "failed":
        return Reply(200, response(background=True, **failed()))
    more: Any = {} if status == "completed" else {"output": [], "usage": None}
    return Reply(200, response(tools=True, background=True, status=status, **more))
