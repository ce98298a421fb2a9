"""A project whose every text is an attack on whoever looks at it."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.patience import PATIENCE

HOSTILE_KEY = "psk_hostile"
SECONDS = PATIENCE
ATTACKS = (
    "<script>window.struck=1</script>",
    "\"'><img class=struck src=x onerror=window.struck=1>",
    "</pre></textarea></title><b class=struck>bold</b>",
    "<div class=struck hx-get=/settings hx-trigger=load></div>",
    "javascript:window.struck=1",
    "{{7*7}}{% raw %}${7*7}",
    "\x1b[31mred\x1b]8;;https://evil.example\x07link",
    '=HYPERLINK("https://evil.example","x")',
    "[x](javascript:window.struck=1) https://evil.example/ //evil.example",
    "\u202eright to left",
)
ATTACK = " ".join(ATTACKS)
LINK = "javascript:window.struck=1//"
EXPERIMENT = "<b class=struck>javascript:window.struck=1"
PROJECT = "<b class=struck onclick=window.struck=1>"


def key_entry() -> str:
    """The project's key, as `serve` takes it."""
    return f"{PROJECT}:admin:{HOSTILE_KEY}"


def fill(url: str) -> None:
    """Log calls of both clients, and make a prompt with two versions and an experiment."""
    prompt = {"name": ATTACK[:200], "branch": LINK}
    _post(url, "/api/logs/cli/prompts", {**prompt, "content": ATTACK, "version": "<1>"})
    draft = {
        **prompt, "version": '"><b class=struck>2', "content": f"{ATTACK} again", "release": False,
        "change_message": ATTACK, "config": {ATTACK: ATTACK},
    }  # fmt: skip
    _post(url, "/api/logs/cli/prompts/version", draft)
    variants = [
        {"experiment_version_id": f"<b class=struck>{name}", "version": name, "traffic_percentage": 50}
        for name in ("<1>", '"><b class=struck>2')
    ]
    experiment = {
        "prompt_name": prompt["name"],
        "branch": LINK,
        "sticky_type": ATTACK[:200],
        "versions": variants,
    }
    _post(url, "/api/experiments", {**experiment, "experiment_id": EXPERIMENT})
    for name in (ATTACK, LINK):
        _post(url, "/api/logs/prompt-usage", _usage(name))
        _post(url, "/v2/chatgpt/store_generated_response", _interaction(name))


def _usage(name: str) -> dict[str, Any]:
    """With each field that becomes a column of the call."""
    return {
        "input": name, "output": name, "model": name, "prompt_name": name,
        "prompt_id": name, "version": name, "branch_name": name, "experiment_id": name,
        "experiment_version_id": name, "sticky_key": name, "sticky_value": name, "duration_ms": 5,
        "metadata": {"session_id": name, "user_id": name, "error": name, name: [name, {name: name}]},
    }  # fmt: skip


def _interaction(name: str) -> dict[str, Any]:
    step = {"type": name, "name": name, "input": name, "output": name}
    return {
        "user_prompt": [{"role": name, "content": name}], "response": name, "llm_model": name,
        "session_id": name, "metadata": {name: name}, "step_data": [step], "org_id": name, "mode": "prod",
        "user_metadata": {"id": name, "name": name},
    }  # fmt: skip


def _post(url: str, path: str, body: object) -> None:
    answer = requests.post(url + path, json=body, headers={"X-API-Key": HOSTILE_KEY}, timeout=SECONDS)
    assert answer.ok, answer.text
