"""The client and the backend together: labels, configurations and chats, on each database."""

from __future__ import annotations

import uuid

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.local_backend import call
from tests.support.prompts import seen

MANAGED = "/api/logs/cli/prompts"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]


@pytest.fixture
def name() -> str:
    return f"prompt-{uuid.uuid4().hex[:8]}"


def test_a_staging_server_gets_the_draft(backend: Backend, make_logger: MakeLogger, name: str) -> None:
    """Before it is released; production gets the released version, with its own configuration."""
    first = {"name": name, "content": "Old", "config": {"model": "m-1"}}
    ident = call(backend, "POST", MANAGED, json=first).json()["id"]
    draft = {"name": name, "version": "2", "content": CHAT, "config": {"model": "m-2"}, "release": False}
    call(backend, "POST", f"{MANAGED}/version", json=draft)
    logger = make_logger(backend.url)
    assert logger.get_prompt(name, label="staging") is None
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "2"})
    staged = logger.get_prompt(name, label="staging", use_cache=False)
    released = logger.get_prompt(name, label="production")
    assert staged is not None
    assert (staged.version, staged.label, staged.config) == ("2", "staging", {"model": "m-2"})
    assert staged.render_messages(question="Why?")[1] == {"role": "user", "content": "Why?"}
    assert released is not None
    assert (released.version, released.config, released.messages) == ("1.0", {"model": "m-1"}, None)


def test_a_label_that_moves_is_followed(backend: Backend, make_logger: MakeLogger, name: str) -> None:
    """At the next fetch; one that is removed ends with the fallback."""
    ident = call(backend, "POST", MANAGED, json={"name": name, "content": "One"}).json()["id"]
    call(backend, "POST", f"{MANAGED}/version", json={"name": name, "version": "2", "content": "Two"})
    logger = make_logger(backend.url)
    path = f"{MANAGED}/{ident}/labels/beta"
    for version, expected in (("1.0", "One"), ("2", "Two"), (None, "mine")):
        assert call(backend, "PUT", path, json={"version": version}).status_code == 200
        logger.invalidate(name)
        prompt = logger.get_prompt(name, label="beta", fallback="mine")
        assert seen(prompt) == (expected, "fallback" if version is None else "backend")
