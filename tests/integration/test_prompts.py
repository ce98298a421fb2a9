"""Prompts and experiments as an application meets them: a logger, a real server, processes, an event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import ConfigurationError, PromptData, PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.patience import eventually
from tests.support.process import run_python
from tests.support.prompts import (
    CONFIGURED,
    HELLO,
    NONE,
    USER,
    Held,
    all_at_once,
    always,
    dead_url,
    prompt_json,
    seen,
)
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Drip, Hang, Reply, Request
from tests.support.timing import assert_in_time


@pytest.fixture
def logger(make_logger: MakeLogger, server: ScriptedServer) -> Iterator[PromptStackLogger]:
    """A logger whose prompts are stale after a moment, and a backend that says hello."""
    server.handler = always(HELLO)
    yield make_logger(server.url, prompt_cache_ttl=0.001)
    server.release()


# -- nobody waits longer than they must ----------------------------------------------------------------------


def test_two_hundred_threads_ask_for_a_cold_prompt_with_one_request(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """All of them get it."""
    held = Held()
    server.handler = always(held)
    logger = make_logger(server.url)

    def all_ask() -> None:
        eventually(lambda: logger.get_stats()["cache_misses"] == 200, "the question of each")
        held.go.set()

    found = all_at_once(200, lambda _: logger.get_prompt("p"), all_ask)
    assert [seen(prompt) for prompt in found] == [("Hello", "backend")] * 200
    assert len(server.requests) == 1


def test_a_hanging_backend_delays_a_warm_caller_by_nothing(
    logger: PromptStackLogger, server: ScriptedServer
) -> None:
    """A thousand calls return while the one refresh hangs, and has not been answered when they are done."""
    logger.get_prompt("p")
    held = Held(Reply(200, prompt_json("new")))
    server.handler = always(held)
    eventually(lambda: seen(logger.get_prompt("p")) == ("Hello", "stale"))
    server.wait_for(2)
    began = time.monotonic()
    found = {seen(logger.get_prompt("p")) for _ in range(1_000)}
    took = time.monotonic() - began
    assert not held.go.is_set()
    held.go.set()
    assert found == {("Hello", "stale")}
    assert len(server.requests) == 2
    assert_in_time(took, 1.0)
    eventually(lambda: (logger.get_prompt("p") or PromptData("", "", "")).content == "new")


@pytest.mark.parametrize("answer", [Hang(), Drip(json.dumps(prompt_json()), 0.05)], ids=["hangs", "drips"])
def test_a_cold_caller_waits_at_most_the_timeout(
    make_logger: MakeLogger, server: ScriptedServer, answer: Any
) -> None:
    """Whether the backend says nothing, or goes on talking."""
    server.handler = always(answer)
    began = time.monotonic()
    assert make_logger(server.url, prompt_timeout=0.3).get_prompt("p", fallback="mine") is not None
    took = time.monotonic() - began
    server.release()
    assert took > 0.25
    assert_in_time(took, 1.5)


def test_a_cold_caller_does_not_wait_for_name_resolution(
    make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be interrupted; the first caller goes after the timeout, the next ones at once."""
    resolved = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        resolved.wait(10)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    logger = make_logger("http://backend.invalid", prompt_timeout=0.3)
    began = time.monotonic()
    assert logger.get_prompt("p") is None
    first = time.monotonic() - began
    assert [logger.get_prompt("p") for _ in range(20)] == [None] * 20
    later = time.monotonic() - began - first
    resolved.set()
    eventually(lambda: logger.get_stats()["prompt_errors"] == 1)
    assert first > 0.25
    assert_in_time(first, 1.5)
    assert_in_time(later, 0.25)


def test_prefetch_waits_once_for_all(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Prompts come at the same time; the number of those that are there is told."""
    server.handler = lambda request: Hang() if "slow" in request.path else HELLO
    logger = make_logger(server.url, prompt_timeout=1.0)
    began = time.monotonic()
    found = logger.prefetch(["a", "b", "slow-1", "slow-2"])
    assert_in_time(time.monotonic() - began, 1.5)
    assert found == 2
    assert seen(logger.get_prompt("a")) == ("Hello", "cache")
    server.release()
    with pytest.raises(ConfigurationError, match="names must be a list"):
        logger.prefetch("a")


def test_aget_prompt_does_not_block_the_loop(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Other tasks go on ticking while the backend hangs; what is warm is given on the spot."""
    held = Held()
    server.handler = always(held)

    async def main() -> tuple[list[PromptData | None], int]:
        waiting = [asyncio.create_task(logger.aget_prompt("p")) for _ in range(5)]
        ticks = 0
        while len(server.requests) < 1 or ticks < 50:
            await asyncio.sleep(0.001)
            ticks += 1
        assert not any(task.done() for task in waiting)
        held.go.set()
        return await asyncio.gather(*waiting), ticks

    found, ticks = asyncio.run(asyncio.wait_for(main(), 10))
    assert ticks >= 50
    assert [seen(prompt) for prompt in found] == [("Hello", "backend")] * 5


def test_aget_prompt_keeps_the_promises_of_get_prompt(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Arguments are checked, warm or cold; fallbacks are taken, a blocking one off the loop."""
    server.handler = always(NONE)
    logger = make_logger(server.url)
    callers: list[int] = []

    def fallback() -> str:
        callers.append(threading.get_ident())
        return "mine"

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="fallback"):
                await logger.aget_prompt("p", fallback=5)  # type: ignore[call-overload]
            assert await logger.aget_prompt("p") is None
            assert seen(await logger.aget_prompt("p", fallback="text")) == ("text", "fallback")
            assert seen(await logger.aget_prompt("p", fallback=fallback)) == ("mine", "fallback")

    asyncio.run(main())
    assert threading.get_ident() not in callers


# -- the ladder through processes ----------------------------------------------------------------------------

ASK = "print([getattr(make().get_prompt('p', sticky_context=%r), 'source', None)])"


def test_a_prompt_that_is_not_there_is_said_once(
    make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each name, with what to check, and of 100 names at most; who gives a fallback knows what he does."""
    server.handler = always(Reply(404, b'{"error": "prompt not found"}'))
    logger = make_logger(server.url, prompt_cache_size=10)
    for _ in range(3):
        assert logger.get_prompt("nope") is None
        assert asyncio.run(logger.aget_prompt("nope", branch="next")) is None
        assert logger.get_prompt("optional", fallback=None) is None
    first, second = [line for line in caplog.messages if "returns None" in line]
    assert first.startswith(
        f"get_prompt('nope') returns None: {server.url} has no such prompt (branch 'main')."
    )
    assert "banyan-hp prompts ls" in first
    assert second.startswith("aget_prompt('nope')")
    for number in range(120):
        logger.get_prompt(f"made-up-{number}")
    assert len([line for line in caplog.messages if "returns None" in line]) == 100


def test_the_last_known_good_survives_a_restart_under_its_own_key_only(tmp_path: Path) -> None:
    """Another process has it from disk; with another key there is nothing, and no file names the key."""
    with ScriptedServer(always(HELLO)) as server:
        url = server.url
        assert "backend" in run_python(ASK % None, url=url).stdout
    finished = run_python(ASK % None, url=url)
    assert finished.stdout.strip() == "['disk']", finished.stderr
    other = PromptStackLogger("psk_other", url)
    assert other.get_prompt("p") is None
    other.shutdown(0)
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert any("prompts" in path.parts for path in files)
    assert not any("psk_local" in path.read_text() + str(path.name) for path in files)


def test_offline_in_a_new_process_everybody_keeps_their_version() -> None:
    """Assignments come from the last known configuration."""
    program = """
        logger = make()
        versions = [logger.get_prompt("p", sticky_context={"user_id": n}).version for n in range(200)]
        print("".join(versions), logger.get_stats()["prompts_fetched"])
    """
    with ScriptedServer(always(CONFIGURED)) as server:
        url = server.url
        online = run_python(program, url=url).stdout.split()
    offline = run_python(program, url=url).stdout.split()
    assert len(set(online[0])) > 1
    assert offline[0] == online[0]
    assert (online[1], offline[1]) == ("1", "0")


def test_spool_false_writes_nothing(make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path) -> None:
    """Prompts included."""
    server.handler = always(HELLO)
    logger = make_logger(server.url, spool=False)
    assert logger.get_prompt("p") is not None
    logger.clear_cache()
    assert not (tmp_path / "state").exists()


def test_a_forked_child_has_its_own_fetches_connections_and_counters() -> None:
    """Forked while a fetch is under way and another thread holds all locks, it asks by itself, and ends."""
    program = """
        logger = make()
        logger.get_prompt("warm", sticky_context={"user_id": 1})
        cache, counters = logger._prompts.cache, logger._prompts._counters
        asking = threading.Thread(target=logger.get_prompt, args=("slow",), daemon=True)
        asking.start()
        while not cache._state.fetches:
            time.sleep(0.001)
        holding, done = threading.Event(), threading.Event()
        def hold():
            with cache._state.lock, counters._lock, cache._threads._lock, logger._prompts._backend._lock:
                holding.set()
                done.wait(20)
        threading.Thread(target=hold, daemon=True).start()
        holding.wait(5)
        child = os.fork()
        if child == 0:
            warm = logger.get_prompt("warm", sticky_context={"user_id": 1})
            cold = logger.get_prompt("slow")
            stats = logger.get_stats()
            print(warm.source, warm.experiment_id, cold.source, stats["cache_hits"], stats["prompts_fetched"],
                  sum(stats["experiments"]["e1"].values()), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1] == 0, flush=True)
        done.set()
    """
    held = Held()

    def by_connection(request: Request) -> Answer:
        if request.connection > 1:  # the child's
            return HELLO
        return held if "slow" in request.path else CONFIGURED

    with ScriptedServer(by_connection) as server:
        finished = run_python(program, url=server.url, timeout=30)
        held.go.set()
    assert finished.stdout.split() == ["cache", "e1", "backend", "1", "1", "1", "True"], finished.stderr


# -- trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_logged_and_counted(
    logger: PromptStackLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Never raised; the key is not in the message."""
    server.handler = always(Reply(status, {"error": "bad key"}))
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert logger.get_prompt("p") is None
    assert logger.get_stats()["prompt_errors"] == 1
    assert "refuses the API key" in caplog.text
    assert "psk_local" not in caplog.text


def test_a_response_that_is_too_large_is_called_so(
    logger: PromptStackLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It breaks off at the limit, which is no JSON: with status and type alone nobody would find out."""
    server.handler = always(Reply(200, prompt_json("x" * 4 * 1024 * 1024)))
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert logger.get_prompt("p") is None
    assert "it answered with more than 4 MiB, the most that is read" in caplog.text


GIVEN = PromptData("id-9", "mine", "given", version="4")


@pytest.mark.parametrize(
    ("fallback", "content", "errors"),
    [
        ("text", "text", 0),
        ("", "", 0),
        (GIVEN, "given", 0),
        (lambda: "called", "called", 0),
        (lambda: GIVEN, "given", 0),
        (lambda: None, None, 0),
        (None, None, 0),
        (lambda: 5, None, 1),
        (lambda: 1 / 0, None, 1),
    ],
    ids=[
        "text",
        "empty",
        "prompt",
        "function",
        "function of prompt",
        "to None",
        "None",
        "bad type",
        "raises",
    ],
)
def test_the_fallback_is_the_last_rung(
    make_logger: MakeLogger, fallback: Any, content: str | None, errors: int
) -> None:
    """A text, a prompt or a function; what fails is counted, and None."""
    logger = make_logger(dead_url())
    prompt = logger.get_prompt("p", branch="dev", fallback=fallback)
    assert seen(prompt) == (None if content is None else (content, "fallback"))
    stats = logger.get_stats()
    assert (stats["prompts_fallback"], stats["fallback_errors"]) == (int(prompt is not None), errors)
    if isinstance(fallback, str):
        assert prompt == PromptData("", "p", fallback, branch="dev")


@pytest.mark.parametrize(
    "arguments",
    [
        {"fallback": 5},
        {"version": ""},
        {"project_id": 5},
        {"project_id": "two\nlines"},
        {"branch": 5},
        {"name": ""},
        {"name": ".."},
    ],
    ids=str,
)
def test_bad_arguments_are_named(make_logger: MakeLogger, arguments: dict[str, Any]) -> None:
    """The error says which, and what is allowed."""
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        make_logger("http://127.0.0.1:9").get_prompt(**{"name": "p", **arguments})


def test_after_shutdown_prompts_still_come(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """From the cache and from the backend: what serves a request to its end."""
    logger.get_prompt("p")
    logger.shutdown(1)
    assert logger.get_prompt("p") is not None
    assert seen(logger.get_prompt("q")) == ("Hello", "backend")


def test_without_a_background_thread_no_thread_is_started(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """The caller fetches itself, what is stale, too; prefetch stays within its time."""
    server.handler = always(HELLO)
    logger = make_logger(server.url, background_thread=False, prompt_cache_ttl=0.001, prompt_timeout=0.3)
    before = {thread.name for thread in threading.enumerate() if "scripted" not in thread.name}
    logger.get_prompt("p")
    server.handler = always(Reply(200, prompt_json("new")))
    eventually(lambda: seen(logger.get_prompt("p")) == ("new", "backend"))
    assert {thread.name for thread in threading.enumerate() if "scripted" not in thread.name} == before
    server.handler = always(Hang())
    began = time.monotonic()
    assert logger.prefetch(["a", "b", "c", "d", "e", "f", "g", "h"]) == 0
    assert_in_time(time.monotonic() - began, 1.5)


def test_disabled_needs_no_backend(server: ScriptedServer) -> None:
    """Only the fallback is there."""
    logger = PromptStackLogger(base_url=server.url, enabled=False)
    assert logger.get_prompt("p") is None
    assert seen(logger.get_prompt("p", fallback=lambda: "mine")) == ("mine", "fallback")
    assert seen(asyncio.run(logger.aget_prompt("p", fallback="mine"))) == ("mine", "fallback")
    assert logger.experiment("e1", USER) is None
    assert logger.prefetch(["p"]) == 0
    logger.invalidate()
    logger.clear_cache()
    assert server.requests == []


# -- forgetting ----------------------------------------------------------------------------------------------


def test_invalidate_has_the_next_call_wait_and_clear_cache_forgets(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A change at the backend shows at once; after clearing there is nothing to fall back on."""
    server.handler = always(HELLO)
    logger = make_logger(server.url)
    logger.get_prompt("p")
    server.handler = always(Reply(200, prompt_json("new")))
    assert seen(logger.get_prompt("p")) == ("Hello", "cache")
    logger.invalidate("other")
    assert seen(logger.get_prompt("p")) == ("Hello", "cache")
    logger.invalidate("p")
    assert seen(logger.get_prompt("p")) == ("new", "backend")
    server.handler = always(Reply(500))
    logger.invalidate()
    assert seen(logger.get_prompt("p")) == ("new", "stale")
    logger.clear_cache()
    assert logger.get_prompt("p") is None


# -- stats ---------------------------------------------------------------------------------------------------


def test_the_stats_tell_of_prompts_and_count_each_call_once(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A remembered None is one hit a call, asked for in either way."""
    server.handler = always(NONE)
    logger = make_logger(server.url)
    for _ in range(3):
        assert logger.get_prompt("p") is None
    assert asyncio.run(logger.aget_prompt("p")) is None
    stats = dict(logger.get_stats())
    assert json.loads(json.dumps(stats)) == stats
    keys = ("prompts_fetched", "cache_hits", "cache_misses", "prompts_stale", "prompts_from_disk")
    assert [stats[key] for key in keys] == [0, 3, 1, 0, 0]
    rest = ("prompt_errors", "prompts_fallback", "fallback_errors", "experiment_key_missing")
    assert [stats[key] for key in rest] == [0] * 4
    assert (stats["experiments_ignored"], stats["experiments"]) == (0, {})
