"""Experiments over HTTP: users routed here by a configuration, or by `experiment()` on the server."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import ConfigurationError, PromptData, context, logs
from banyan_hp.experiments import input_hash
from tests.conftest import MakeLogger
from tests.support.prompts import (
    CONFIGURED,
    HELLO,
    NONE,
    USER,
    always,
    dead_url,
    experiment_json,
    prompt_json,
    seen,
)
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, one_by_one

# -- experiments ---------------------------------------------------------------------------------------------


def test_users_are_routed_here_by_one_configuration(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Ten thousand users cost one request; each exposure is counted under its version."""
    server.handler = always(CONFIGURED)
    logger = make_logger(server.url)
    given: Counter[str | None] = Counter()
    for number in range(10_000):
        prompt = logger.get_prompt("p", sticky_context={"user_id": number})
        assert prompt is not None
        given[prompt.experiment_version_id] += 1
    stats = logger.get_stats()
    assert stats["experiments"] == {"e1": dict(given)}
    assert set(given) == {"e1-v0", "e1-v1"}
    assert (len(server.requests), stats["prompts_fetched"]) == (1, 1)
    one = logger.get_prompt("p", sticky_context={"user_id": 7})
    assert one == logger.get_prompt("p", sticky_context={"other": "x", "user_id": "7"})
    assert one is not None
    assert (one.routed_by, one.sticky_key, one.sticky_value) == ("local/1", "user_id", "7")


def test_the_context_s_user_is_routed_where_a_call_names_none(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """What a call gives counts alone, an empty dict included; no other metadata is a sticky value."""
    server.handler = always(CONFIGURED)
    logger = make_logger(server.url)

    def chosen(**asked: Any) -> str | None:
        prompt = logger.get_prompt("p", **asked)
        assert isinstance(prompt, PromptData)
        return prompt.sticky_value

    with context(user_id=7, session_id=["none"], tenant="t"):
        assert chosen() == "7"
        assert chosen(sticky_context={"user_id": "8"}) == "8"
        assert chosen(sticky_context={"user_id": None}) is None
        assert chosen(sticky_context={}) is None
    with context(tenant="t"):
        assert chosen() is None
    assert chosen() is None
    queries = {request.path.partition("?")[2] for request in server.requests}
    assert queries == {"branch=main", "branch=main&sticky_key=user_id&sticky_value=7"}


def test_slots_of_the_configuration_are_looked_up(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Who has a slot of a version gets it, whatever the percentages say; the rule is on the prompt."""
    sliced = experiment_json("exp-1", 50, 50, allocation=2)
    sliced["slots"] = {"exp-1-v0": [[461_440, 461_441]], "exp-1-v1": [[0, 461_440]]}
    server.handler = always(Reply(200, prompt_json(experiments=[sliced])))
    logger = make_logger(server.url)
    found = [logger.get_prompt("p", sticky_context={"user_id": user}) for user in ("user_123", "1", "user_1")]
    reported = [prompt and (prompt.experiment_version_id, prompt.routed_by) for prompt in found]
    assert reported == [("exp-1-v0", "local/2"), ("exp-1-v1", "local/2"), (None, None)]


def test_without_the_experiments_key_the_default_is_given_and_counted(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Never a shared bucket."""
    server.handler = always(CONFIGURED)
    logger = make_logger(server.url)
    found = [logger.get_prompt("p", sticky_context={"session_id": str(n)}) for n in range(20)]
    assert {seen(prompt) for prompt in found[1:]} == {("Hello", "cache")}
    assert all(prompt is not None and prompt.get_experiment_context() is None for prompt in found)
    stats = logger.get_stats()
    assert (stats["experiment_key_missing"], stats["experiments"]) == (20, {})


def test_experiments_that_do_not_run_or_can_not_be_read_are_ignored(
    make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad weights are named and counted; paused ones give the default; others go on as before."""
    bad, paused = experiment_json("bad", 90, 20), experiment_json("paused", status="paused")
    good = experiment_json("good", 100, sticky_type="customer_id")
    server.handler = always(Reply(200, prompt_json(experiments=[bad, paused, good])))
    logger = make_logger(server.url)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert seen(logger.get_prompt("p", sticky_context=USER)) == ("Hello", "backend")
    prompt = logger.get_prompt("p", sticky_context={**USER, "customer_id": "c1"})
    assert prompt is not None
    assert prompt.experiment_version_id == "good-v0"
    assert "'bad'" in caplog.text
    assert logger.get_stats()["experiments_ignored"] == 1


def test_ignored_experiments_are_logged_in_one_short_line_and_forgotten(
    make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """However many there are and however long: they are named and counted, not repeated and not kept."""
    long = [experiment_json(f"bad-{number}" + "x" * 10_000, 90, 20) for number in range(50)]
    server.handler = always(Reply(200, prompt_json(experiments=long)))
    logger = make_logger(server.url)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert seen(logger.get_prompt("p", sticky_context=USER)) == ("Hello", "backend")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "'bad-0xxx" in line
    assert line.endswith("(and 49 more like it)")
    assert len(line) < 250
    assert logger.get_stats()["experiments_ignored"] == 50
    assert set(logs.last_said) == {"experiment"}


def test_the_assignment_travels_with_the_record(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """On the prompt, or as a dict from another process, which wins; nothing is kept between calls."""
    posts = one_by_one()
    server.handler = lambda request: CONFIGURED if request.method == "GET" else posts(request)
    logger = make_logger(server.url)
    prompt = logger.get_prompt("p", sticky_context=USER)
    assert prompt is not None
    context = prompt.get_experiment_context()
    assert context is not None
    other = {**context, "sticky_value": "other"}
    assert logger.log_prompt("1", "a", prompt_data=prompt)
    assert logger.log_prompt("2", "a", experiment_context=context)
    assert logger.log_prompt("3", "a", prompt_data=prompt, experiment_context=other)
    assert logger.log_prompt("4", "a")
    assert logger.flush(5)
    bodies = {body["input"]: body for _, body in server.records()}
    carried = [{key: bodies[number].get(key) for key in context} for number in "1234"]
    assert carried == [context, context, other, dict.fromkeys(context)]


@pytest.mark.parametrize(
    "context", ["e1", [("experiment_id", "e1")], {"experiment": "e1"}, {5: "e1"}], ids=str
)
def test_a_bad_experiment_context_costs_the_record_not_the_request(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture, context: Any
) -> None:
    """False, counted, and a line that names it."""
    logger = make_logger("http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert logger.log_prompt("q", "a", experiment_context=context) is False
    assert logger.get_stats()["logs_rejected"] == 1
    assert "experiment_context" in caplog.text


# -- experiment() --------------------------------------------------------------------------------------------


class Experiments:
    """A backend with one experiment, that routes to a version named after the value."""

    def __init__(self, **details: Any) -> None:
        plain = {"status": "running", "sticky_type": "user_id", "prompt_name": "p", "branch": "main"}
        self.details = {**plain, **details}
        self.route = 200

    def __call__(self, request: Request) -> Reply:
        if request.route == "/api/experiments/route":
            value = request.json()["stickyValue"]
            routed = {"prompt": prompt_json(f"for {value}"), "selected_version_id": f"v-{value}"}
            return Reply(self.route, routed if self.route == 200 else {"error": "trouble"})
        if request.route == "/api/experiments/e1":
            return Reply(200, self.details)
        return HELLO if request.route == "/api/logs/prompt/p" else NONE


def test_experiment_gives_each_user_the_routed_prompt(
    make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path
) -> None:
    """Two requests the first time, none while fresh; no user's route is written to disk."""
    server.handler = Experiments()
    logger = make_logger(server.url)
    for _ in range(2):
        for ident in ("a", "b"):
            prompt = logger.experiment("e1", {"user_id": ident})
            assert prompt is not None
            assert (prompt.content, prompt.experiment_id) == (f"for {ident}", "e1")
            assert (prompt.experiment_version_id, prompt.sticky_value) == (f"v-{ident}", ident)
    assert len(server.requests) == 3
    assert logger.get_stats()["experiments"] == {"e1": {"v-a": 2, "v-b": 2}}
    assert len(list((tmp_path / "state" / "prompts").rglob("*.json"))) == 1


def test_experiment_by_content_hashes_the_input(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Unless the context has the hash; for other experiments the text does not count."""
    server.handler = Experiments(sticky_type="input_hash")
    logger = make_logger(server.url)
    prompt = logger.experiment("e1", input_text="Hello")
    assert prompt is not None
    assert prompt.sticky_value == input_hash("Hello")
    prompt = logger.experiment("e1", {"input_hash": "given"}, input_text="Hello")
    assert prompt is not None
    assert prompt.sticky_value == "given"
    with pytest.raises(ConfigurationError, match="input_text"):
        logger.experiment("e1", input_text=5)


@pytest.mark.parametrize("case", ["no key", "not running", "route fails"])
def test_experiment_gives_the_default_where_nobody_is_routed(
    make_logger: MakeLogger, server: ScriptedServer, case: str
) -> None:
    """A missing key is counted; a route that fails is trouble, counted as such."""
    backend = Experiments(status="paused" if case == "not running" else "running")
    backend.route = 500
    server.handler = backend
    logger = make_logger(server.url)
    prompt = logger.experiment("e1", {"session_id": "s"} if case == "no key" else USER, input_text="x")
    assert seen(prompt) == ("Hello", "backend")
    assert prompt is not None
    assert prompt.get_experiment_context() is None
    stats = logger.get_stats()
    assert stats["experiment_key_missing"] == (case == "no key")
    assert stats["prompt_errors"] == (case == "route fails")


def test_an_unknown_experiment_is_none(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """As one that can't be asked for."""
    server.handler = always(NONE)
    assert make_logger(server.url).experiment("e1", USER) is None
    assert make_logger(dead_url()).experiment("e1", USER) is None
