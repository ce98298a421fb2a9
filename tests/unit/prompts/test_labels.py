"""Prompts by label: their own entries in memory and on disk, and a backend that ignores labels."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import ConfigurationError, PromptData
from tests.conftest import MakeLogger
from tests.support.prompts import CONFIGURED, USER, always, dead_url, prompt_json, seen
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request

CONFIG = {"model": "m-1", "tools": [{"name": "look_up"}]}
CHAT = [{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{question}}"}]


def labelled(request: Request) -> Reply:
    """A backend that knows labels: the prompt's content is the label."""
    label = request.path.partition("label=")[2]
    return Reply(200, prompt_json(label or "released", **({"label": label} if label else {})))


def test_the_label_is_asked_for_and_repeated(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """The prompt says under which label it came."""
    server.handler = labelled
    logger = make_logger(server.url)
    prompt = logger.get_prompt("p", label="staging")
    assert prompt is not None
    assert (prompt.content, prompt.label) == ("staging", "staging")
    assert server.requests[-1].path == "/api/logs/prompt/p?branch=main&label=staging"
    released = logger.get_prompt("p")
    assert released is not None
    assert (released.content, released.label) == ("released", None)


def test_each_label_has_an_entry_of_its_own(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """In memory: what is cached under one is given under no other."""
    server.handler = labelled
    logger = make_logger(server.url)
    asked = ("staging", "production", None, "staging", "production", None)
    given = [seen(logger.get_prompt("p", label=label)) for label in asked]
    assert given == [
        ("staging", "backend"),
        ("production", "backend"),
        ("released", "backend"),
        ("staging", "cache"),
        ("production", "cache"),
        ("released", "cache"),
    ]


def test_each_label_has_a_file_of_its_own(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """During an outage a later process finds what was there under this label, or nothing."""
    server.handler = labelled
    make_logger(server.url).get_prompt("p", label="staging")
    server.handler = always(Reply(503))
    later = make_logger(server.url)
    assert seen(later.get_prompt("p", label="staging")) == ("staging", "disk")
    assert later.get_prompt("p") is None
    assert later.get_prompt("p", label="production") is None


@pytest.mark.parametrize("echoed", [{}, {"label": "production"}, {"label": None}, {"label": ["staging"]}])
def test_a_response_that_does_not_repeat_the_label_counts_as_not_found(
    echoed: dict[str, Any],
    server: ScriptedServer,
    make_logger: MakeLogger,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Production is not served as staging: the fallback is, and nothing is kept."""
    server.handler = always(Reply(200, prompt_json("production's", **echoed)))
    logger = make_logger(server.url)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        given = logger.get_prompt("p", label="staging", fallback="mine")
    assert seen(given) == ("mine", "fallback")
    assert "does not repeat the label" in caplog.text
    assert "does not repeat the label" in str(logger.get_stats()["last_error"])
    assert logger.get_prompt("p", label="staging") is None
    assert len(server.requests) == 1  # remembered for a while, as what is not found is
    assert not list(tmp_path.rglob("*.v1.json"))
    assert seen(logger.get_prompt("p")) == ("production's", "backend")


def test_a_label_that_is_gone_takes_nothing_else_along(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """A 404 for one label says nothing about the prompt."""
    server.handler = lambda request: (
        Reply(404, {"error": "no label"}) if "label" in request.path else labelled(request)
    )
    logger = make_logger(server.url)
    assert seen(logger.get_prompt("p")) == ("released", "backend")
    assert logger.get_prompt("p", label="staging") is None
    assert seen(logger.get_prompt("p")) == ("released", "cache")


def test_no_experiment_applies_to_a_label(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """The caller says what it wants, as with a version; so no key is missing either."""
    server.handler = labelled
    logger = make_logger(server.url)
    prompt = logger.get_prompt("p", label="staging", sticky_context=USER)
    assert seen(prompt) == ("staging", "backend")
    assert "sticky" not in server.requests[-1].path
    logger.get_prompt("p", label="staging", sticky_context={"user_id": None})
    assert logger.get_stats()["experiment_key_missing"] == 0


def test_the_async_twin_and_prefetch_take_labels(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """What `prefetch` has fetched under a label is there."""
    server.handler = labelled
    logger = make_logger(server.url)
    assert logger.prefetch(["p"], label="staging") == 1
    assert seen(asyncio.run(logger.aget_prompt("p", label="staging"))) == ("staging", "cache")
    assert seen(asyncio.run(logger.aget_prompt("p", label="x"))) == ("x", "backend")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"label": ""}, "label must not be empty"),
        ({"label": 1}, "label must be a string, was int"),
        ({"label": "a", "version": "1"}, "version and label exclude each other"),
    ],
)
def test_wrong_labels_are_refused(arguments: Any, complaint: str, make_logger: MakeLogger) -> None:
    """By name, before anything is asked for."""
    with pytest.raises(ConfigurationError, match=complaint):
        make_logger(dead_url()).get_prompt("p", **arguments)


# -- configurations and chats along the ladder ---------------------------------------------------------------


def said(prompt: PromptData | None) -> tuple[str, Any, Any]:
    assert prompt is not None
    return prompt.source, json.loads(json.dumps(prompt.config)), json.loads(json.dumps(prompt.messages))


def test_configuration_and_messages_go_down_the_ladder(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """From the backend, the cache, memory when that is old, and the disk."""
    server.handler = always(Reply(200, prompt_json("system: …", config=CONFIG, messages=CHAT)))
    logger = make_logger(server.url, prompt_cache_ttl=60)
    assert said(logger.get_prompt("p")) == ("backend", CONFIG, CHAT)
    assert said(logger.get_prompt("p")) == ("cache", CONFIG, CHAT)
    server.handler = always(Reply(503))
    assert said(logger.get_prompt("p", use_cache=False)) == ("stale", CONFIG, CHAT)
    later = make_logger(server.url)
    assert said(later.get_prompt("p")) == ("disk", CONFIG, CHAT)


def test_a_version_of_an_experiment_has_its_own_configuration_and_messages(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """Where the library routes: nothing of the default version is mixed into it."""
    body: dict[str, Any] = json.loads(json.dumps(CONFIGURED.body)) | {"config": {"model": "default"}}
    body["experiments"][0]["versions"][0] |= {"config": CONFIG, "messages": CHAT}
    server.handler = always(Reply(200, body))
    logger = make_logger(server.url)
    given: dict[str | None, Any] = {}
    for number in range(50):
        prompt = logger.get_prompt("p", sticky_context={"user_id": f"u{number}"})
        assert prompt is not None
        given[prompt.experiment_version_id] = said(prompt)[1:]
    assert given == {"e1-v0": (CONFIG, CHAT), "e1-v1": (None, None)}


@pytest.mark.parametrize("messages", [[], "x", [1], [{"content": "x"}], {"role": "user"}, [{"role": 1}]])
def test_what_is_no_chat_is_ignored(messages: Any, server: ScriptedServer, make_logger: MakeLogger) -> None:
    """Then the prompt is its text."""
    server.handler = always(Reply(200, prompt_json(messages=messages, config="x")))
    prompt = make_logger(server.url).get_prompt("p")
    assert prompt is not None
    assert (prompt.content, prompt.messages, prompt.config) == ("Hello", None, None)
