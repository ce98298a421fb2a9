"""The pages that are looked at, by their addresses. A page that is added later joins by a line here.

`{call}` and the like stand for what the project has; see `Known`. `tests/unit/server/ui/test_addresses.py`
finds routes that no address leads to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import requests

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
    "/prompts",
    "/prompts/{prompt}",
    "/prompts/{prompt}?version={version}&against={other}",
    "/experiments",
    "/experiments-new",
    "/experiments/{experiment}",
    "/experiments/{experiment}?over_time=latency",
    "/settings",
)
LONG = "a-long-call"
SECONDS = 10.0


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
    """

    call: str
    long: str
    prompt: str
    version: str
    other: str
    session: str
    experiment: str

    def fill(self, address: str) -> str:
        """The address of what this project has."""
        return address.format_map({name: quote(value, safe="") for name, value in asdict(self).items()})


def log_long_call(url: str, key: str) -> None:
    """Give the key's project the call of this name."""
    text = "A long text of many lines.\n" * 1_200
    usage = {"input": text, "output": text, "metadata": {"text": text}}
    _ask(url, key, "POST", "/api/logs/prompt-usage", usage, {"Idempotency-Key": LONG})


def known(url: str, key: str) -> Known:
    """Ask a backend what the key's project has."""
    calls = _ask(url, key, "GET", "/api/calls?limit=2")["calls"]
    call = next(each for each in calls if each["id"] != LONG)
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
