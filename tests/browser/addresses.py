"""The pages that are looked at, by their addresses. A page that is added later joins by a line here.

`{call}` and the like stand for what the project has; see `Known`. `tests/unit/server/ui/test_addresses.py`
finds routes that no address leads to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import requests

from tests.support.patience import PATIENCE

ADDRESSES = (
    "/login",
    "/",
    "/sessions",
    "/sessions/{session}",
    "/review",
    "/calls",
    "/calls?text=plant&failed=false",
    "/calls?model=none-of-this-name",
    "/calls/{call}",
    "/calls/{long}",
    "/calls/{told}",
    "/traces/{trace}",
    "/traces/{trace}/spans/{span}",
    "/prompts",
    "/prompts/{prompt}",
    "/prompts/{prompt}?version={version}&against={other}",
    "/experiments",
    "/experiments-new",
    "/experiments/{experiment}",
    "/experiments/{experiment}?over_time=latency",
    "/settings",
    "/docs",
    "/docs/calls",
    "/docs/spans",
)
LONG = "a-long-call"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TOLD = f"{TRACE}-{SPAN}"
SECONDS = PATIENCE


@dataclass(frozen=True)
class Known:
    """What a project has, as far as addresses name it.

    Attributes:
        call: the id of one.
        long: the id of one whose texts have 30,000 characters.
        prompt: the id of one that has several versions.
        version: the newest of them.
        other: the oldest.
        session: the id of one.
        experiment: the id of one that runs.
        trace: the id of one.
        span: the id of its call's span.
        told: the id of that call.
    """

    call: str
    long: str
    prompt: str
    version: str
    other: str
    session: str
    experiment: str
    trace: str = TRACE
    span: str = SPAN
    told: str = TOLD

    def fill(self, address: str) -> str:
        """The address of what this project has."""
        return address.format_map({name: quote(value, safe="") for name, value in asdict(self).items()})


def log_long_call(url: str, key: str) -> None:
    """Give the key's project the call of this name."""
    text = "A long text of many lines.\n" * 1_200
    usage = {"input": text, "output": text, "metadata": {"text": text}}
    _ask(url, key, "POST", "/api/logs/prompt-usage", usage, {"Idempotency-Key": LONG})


def log_trace(url: str, key: str, text: str) -> None:
    """Give the key's project the trace of an agent: a call without content, and a tool that failed."""
    spans = [
        _span(1, "invoke_agent", text, spanId=SPAN[::-1]),
        _span(2, "chat", text, spanId=SPAN, parentSpanId=SPAN[::-1]),
        _span(3, "execute_tool", text, parentSpanId=SPAN[::-1], status={"code": 2, "message": text}),
    ]
    scope = {"scope": {"name": text}, "spans": spans}
    _ask(url, key, "POST", "/v1/traces", {"resourceSpans": [{"scopeSpans": [scope]}]})
    until = time.monotonic() + SECONDS
    while not _ask(url, key, "GET", f"/api/calls?id={TOLD}")["calls"]:
        assert time.monotonic() < until, "no call was made of the span"
        time.sleep(0.05)


def _span(number: int, operation: str, text: str, **fields: Any) -> dict[str, Any]:
    start = (int(time.time()) - 3600 + number) * 1_000_000_000
    said = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": text,
        "session.id": text,
        "user.id": text,
    }
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": text,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 500_000_000),
        "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in said.items()],
        **fields,
    }


def known(url: str, key: str) -> Known:
    """Ask a backend what the key's project has."""
    calls = _ask(url, key, "GET", "/api/calls?limit=3")["calls"]
    call = next(each for each in calls if each["id"] not in (LONG, TOLD))
    session = _ask(url, key, "GET", "/api/calls?source=huggingplace&limit=1")["calls"][0]["session"]
    experiments = _ask(url, key, "GET", "/api/experiments")["experiments"]
    running = next(each["experiment_id"] for each in experiments if each["status"] == "running")
    for prompt in _ask(url, key, "GET", "/api/logs/cli/prompts")["prompts"]:
        path = f"/api/logs/cli/prompts/{quote(prompt['id'], safe='')}/versions"
        versions = [each["version"] for each in _ask(url, key, "GET", path)["versions"]]
        if len(versions) > 1:
            return Known(call["id"], LONG, prompt["id"], versions[-1], versions[0], session, running)
    raise AssertionError("no prompt has two versions")


def _ask(
    url: str, key: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Any:
    answer = requests.request(
        method, url + path, json=body, headers={"X-API-Key": key, **(headers or {})}, timeout=SECONDS
    )
    assert answer.ok, answer.text
    return answer.json()
