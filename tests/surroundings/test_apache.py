"""The real Apache between the client and its backend: what its defaults do to names with a slash."""

from __future__ import annotations

from pathlib import Path

import requests

from banyan_hp.guide import page
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.proxies import apache
from tests.surroundings.conftest import Deliver

DEFAULTS = 'ProxyPass "/" "http://127.0.0.1:8787/"'
NAMES = ("team/greeting", "two words", "100%", "a%2Fb")


def directives() -> str:
    """Those that the guide names."""
    return page("network").text.split("```apache\n")[1].split("```")[0]


def create(backend: Backend, name: str) -> None:
    headers = {"X-API-Key": backend.api_key}
    body = {"name": name, "content": f"of {name}"}
    requests.post(
        f"{backend.url}/api/logs/cli/prompts", json=body, headers=headers, timeout=5
    ).raise_for_status()


def test_records_pass(backend: Backend, deliver: Deliver, tmp_path: Path) -> None:
    """Each record arrives once."""
    with apache(tmp_path, backend.port, DEFAULTS) as proxy:
        stats = deliver(proxy.url, 100, compression="always")
    assert stats["attempts_failed"] == 0


def test_names_with_slashes(backend: Backend, make_logger: MakeLogger, tmp_path: Path) -> None:
    """With the guide's directives each prompt is found under its name, slashes and all."""
    for name in NAMES:
        create(backend, name)
    with apache(tmp_path, backend.port, directives()) as proxy:
        logger = make_logger(proxy.url)
        found = {name: logger.get_prompt(name) for name in NAMES}
    assert {name: prompt and prompt.content for name, prompt in found.items()} == {
        name: f"of {name}" for name in NAMES
    }


def test_apache_refuses_slashes_by_default(backend: Backend, make_logger: MakeLogger, tmp_path: Path) -> None:
    """Without the directives a name with a slash is not found, which the test above relies on."""
    create(backend, "other/greeting")
    with apache(tmp_path, backend.port, DEFAULTS) as proxy:
        assert make_logger(proxy.url).get_prompt("other/greeting") is None
