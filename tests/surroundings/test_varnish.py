"""The real Varnish, with its built-in VCL, between the clients and their backend.

It looks at no header of ours: neither at the key, nor at the client's `Cache-Control`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.patience import eventually
from tests.support.prompts import prompt_json
from tests.support.proxies import Proxy, varnish
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply
from tests.support.servers import Arrivals
from tests.surroundings.conftest import log

PROMPTS = "/api/logs/cli/prompts"


@pytest.fixture(scope="module")
def proxy(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for the whole file: it takes a second or two to compile its VCL."""
    with varnish(tmp_path_factory.mktemp("varnish"), backend.port) as proxy:
        yield proxy


def create(backend: Backend, path: str = PROMPTS, key: str = "psk_local", **fields: Any) -> None:
    headers = {"X-API-Key": key}
    requests.post(backend.url + path, json=fields, headers=headers, timeout=5).raise_for_status()


def test_records_pass(proxy: Proxy, arrivals: Arrivals, make_logger: MakeLogger) -> None:
    """Each record arrives once."""
    logger = make_logger(proxy.url, compression="always")
    log(logger, arrivals, range(100))
    assert logger.flush(timeout=10)
    arrivals.expect(range(100))


def test_no_prompt_for_another_key(proxy: Proxy, backend: Backend, make_logger: MakeLogger) -> None:
    """What one key was given Varnish gives to no other key, known or refused."""
    create(backend, name="shared", content="of one")
    create(backend, name="shared", content="of two", key="psk_other")
    for _ in range(2):
        one = make_logger(proxy.url).get_prompt("shared")
        two = make_logger(proxy.url, api_key="psk_other", project_id="two").get_prompt("shared")
        stranger = make_logger(proxy.url, api_key="psk_stranger").get_prompt("shared")
        assert one is not None
        assert two is not None
        assert (one.content, two.content, stranger) == ("of one", "of two", None)


def test_missing_prompt_is_not_remembered(proxy: Proxy, backend: Backend, make_logger: MakeLogger) -> None:
    """A prompt that was missing is there as soon as it was created."""
    logger = make_logger(proxy.url)
    assert logger.get_prompt("late") is None
    create(backend, name="late", content="here")
    found = logger.get_prompt("late", use_cache=False)
    assert found is not None
    assert found.content == "here"


def test_new_version_is_seen(proxy: Proxy, backend: Backend, make_logger: MakeLogger) -> None:
    """A new version of a prompt is served once the client's own `prompt_cache_ttl` has passed, and stays."""
    create(backend, name="news", content="old")
    logger = make_logger(proxy.url, prompt_cache_ttl=0.05)

    def content() -> str | None:
        prompt = logger.get_prompt("news")
        return prompt.content if prompt is not None else None

    assert content() == "old"
    create(backend, f"{PROMPTS}/version", name="news", version="2", content="new")
    eventually(lambda: content() == "new", "the new version")
    assert {content() for _ in range(20)} == {"new"}


def test_varnish_keeps_what_nothing_forbids(tmp_path: Path) -> None:
    """A backend that forbids nothing has its answers given to any key, which the tests above rely on."""
    with (
        ScriptedServer(lambda _: Reply(200, prompt_json())) as silent,
        varnish(tmp_path, silent.port) as proxy,
    ):
        for key in ("psk_local", "psk_other"):
            headers = {"X-API-Key": key, "Cache-Control": "no-cache"}
            assert requests.get(f"{proxy.url}/api/logs/prompt/p", headers=headers, timeout=5).ok
        assert len(silent.requests) == 1
