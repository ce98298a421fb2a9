"""The Banyan client's calls for prompts, against a scripted backend and the local one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests

from banyan_hp import ConfigurationError, PromptData
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply

NOWHERE = "http://127.0.0.1:9"


def test_a_prompt_is_fetched_once_and_then_cached(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """The name is quoted, the answer kept, the counters tell."""
    answer = {"prompt_id": "1", "name": "a/b ä", "content": "c", "version": 2, "metadata": {"k": "v"}}
    server.handler = lambda _request: Reply(200, answer)
    logger = make_logger(server.url)
    first = logger.get_prompt("a/b ä", version="2", branch="dev", project_id="p2")
    assert first is not None
    assert first == PromptData("1", "a/b ä", "c", version="2", metadata={"k": "v"})
    assert first.source == "backend"
    again = logger.get_prompt("a/b ä", version="2", branch="dev", project_id="p2")
    assert again is not None
    assert again == first
    assert again.source == "cache"
    (request,) = server.requests
    assert request.path == "/api/logs/prompt/a%2Fb%20%C3%A4?branch=dev&version=2"
    assert request.headers["X-Project-Id"] == "p2"
    stats = logger.get_stats()
    assert (stats["prompts_fetched"], stats["cache_hits"], stats["cache_misses"]) == (1, 1, 1)
    assert logger.get_prompt("a/b ä", version="2", branch="dev", project_id="p2", use_cache=False) == first
    assert len(server.requests) == 2


def test_no_such_prompt_is_none(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """A 404 with the API's JSON means that there is none."""
    server.handler = lambda _request: Reply(404, {"error": "not found"})
    assert make_logger(server.url).get_prompt("missing") is None


@pytest.mark.parametrize(
    "answer",
    [
        Reply(500, "x"),
        Reply(401, {}),
        Reply(404, "<html>"),
        Reply(200, "[]"),
        Reply(200, {"name": "x"}),
        Reply(200, "{"),
    ],
    ids=["500", "401", "html 404", "array", "incomplete", "not json"],
)
def test_trouble_with_a_prompt_is_counted_not_raised(
    make_logger: MakeLogger, server: ScriptedServer, answer: Reply
) -> None:
    """The last known prompt is served, else None; the trouble is counted."""
    server.handler = lambda _request: answer
    logger = make_logger(server.url)
    assert logger.get_prompt("p") is None
    server.handler = lambda _request: Reply(200, {"prompt_id": "1", "name": "p", "content": "c"})
    known = logger.get_prompt("p")
    server.handler = lambda _request: answer
    assert known is not None
    assert logger.get_prompt("p", use_cache=False) == known
    assert logger.get_stats()["prompt_errors"] == 2


def test_sticky_context_goes_along_and_the_assignment_comes_back(make_logger: MakeLogger) -> None:
    """The local backend routes by the user, and the record of that use carries the assignment."""
    with Backend(seed=Path("examples/seed.json")) as backend:
        logger = make_logger(backend.url)
        prompt = logger.get_prompt("marketing-email", sticky_context={"user_id": "user_123"})
        assert prompt is not None
        context = prompt.get_experiment_context()
        assert context is not None
        assert (context["sticky_key"], context["sticky_value"]) == ("user_id", "user_123")
        assert logger.log_prompt("q", "a", prompt_data=prompt, blocking=True)
        (logged,) = backend.logs()
        assert {key: logged["body"][key] for key in context} == context


@pytest.mark.parametrize(
    "context", ["user", {"user_id": 1.5}, {"user_id": [None]}, {"user_id": True}, {5: "x"}]
)
def test_a_bad_sticky_context_is_refused(make_logger: MakeLogger, context: Any) -> None:
    """The message names sticky_context."""
    with pytest.raises(ConfigurationError, match="sticky_context"):
        make_logger(NOWHERE).get_prompt("p", sticky_context=context)


def test_a_change_at_the_backend_shows_within_the_ttl(make_logger: MakeLogger) -> None:
    """A new content of the prompt, and an experiment that is paused, reach a running application."""
    with Backend(seed=Path("examples/seed.json"), options=("--routing", "client")) as backend:
        logger = make_logger(backend.url, prompt_cache_ttl=0.1)
        user = {"user_id": "user_123"}

        def shows(wanted: Callable[[PromptData], bool]) -> bool:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                prompt = logger.get_prompt("marketing-email", sticky_context=user)
                if prompt is not None and wanted(prompt):
                    return True
                time.sleep(0.02)
            return False

        assert shows(lambda prompt: prompt.experiment_id is not None)
        headers = {"X-API-Key": backend.api_key}
        experiment = f"{backend.url}/api/experiments/marketing-email-tone"
        assert requests.put(experiment, json={"status": "paused"}, headers=headers, timeout=5).ok
        assert shows(lambda prompt: prompt.experiment_id is None)
        (listed,) = backend.get("/api/logs/cli/prompts", name="marketing-email")["prompts"]
        url = f"{backend.url}/api/logs/cli/prompts/{listed['id']}"
        assert requests.put(url, json={"content": "Quite another text"}, headers=headers, timeout=5).ok
        assert shows(lambda prompt: prompt.content == "Quite another text")


def test_sticky_values_are_taken_as_their_text(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Strings, ints and UUIDs; 1 and "1" are the same user."""
    server.handler = lambda _request: Reply(404, {"error": "no such prompt"})
    logger = make_logger(server.url)
    ident = UUID(int=5)
    logger.get_prompt("p", sticky_context={"user_id": 1, "session_id": ident})
    logger.get_prompt("p", sticky_context={"user_id": "1", "session_id": str(ident)})
    (request,) = server.requests
    assert request.path.endswith(
        f"sticky_key=user_id&sticky_value=1&sticky_key=session_id&sticky_value={ident}"
    )


def test_an_empty_sticky_value_is_none(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Users without an id are not all one user: they get what those without a sticky context get."""
    server.handler = lambda _request: Reply(404, {"error": "no such prompt"})
    logger = make_logger(server.url)
    logger.get_prompt("p", sticky_context={"user_id": "", "session_id": "s1"})
    logger.get_prompt("q", sticky_context={"user_id": ""})
    paths = [request.path for request in server.requests]
    assert "sticky_key=session_id" in paths[0]
    assert not any("user_id" in path for path in paths)


def test_netrc_and_redirects_do_not_touch_prompt_calls(
    make_logger: MakeLogger, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`~/.netrc` adds no credentials, and a redirect does not take the key to another host."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ScriptedServer() as elsewhere:
        server.handler = lambda _request: Reply(302, "", {"Location": elsewhere.url})
        assert make_logger(server.url).get_prompt("p") is None
        assert elsewhere.requests == []
    assert "authorization" not in server.requests[0].headers
