"""What tests of delivery share: numbered records, and which of them arrived."""

from __future__ import annotations

from banyan_hp import PromptStackLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Request

EMPTY = {"accepted": 0, "gzip": True}


def log_many(logger: PromptStackLogger, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        assert logger.log_prompt(f"question {number}", f"answer {number}", metadata={"number": number})


def numbers(server: ScriptedServer) -> list[int]:
    return [body["metadata"]["number"] for _, body in server.records()]


def usage_requests(server: ScriptedServer) -> list[Request]:
    """Requests that carry records: not the empty batch, not the key check."""
    return [request for request in server.requests if request.method == "POST" and not is_discovery(request)]


def is_discovery(request: Request) -> bool:
    return request.route.endswith("/batch") and request.json() == {"records": []}
