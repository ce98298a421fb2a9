"""The results of experiments as people and programs ask a real backend for them, on each database."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import AuthenticationError, ConfigurationError, NetworkError, PromptStackLogger, ServerError
from banyan_hp.testing import FakeBackend
from tests.integration.server.conftest import Command
from tests.support.backend import Backend
from tests.support.local_backend import call
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply

SECONDS = 30.0


@pytest.fixture
def run(command: Command) -> Command:
    """`banyan-hp experiments`."""
    return partial(command, "experiments")


@pytest.fixture
def name(backend: Backend, run: Command) -> str:
    """A running experiment on versions 1.0, the control, and 2."""
    made = f"e-{uuid.uuid4().hex[:8]}"
    path = "/api/logs/cli/prompts"
    call(backend, "POST", path, json={"name": made, "content": "One"})
    body = {"name": made, "version": "2", "content": "Two", "release": False}
    assert call(backend, "POST", f"{path}/version", json=body).status_code == 201
    create = ("create", made, "--prompt", made, "--by", "user_id", "--version", "1.0=50", "--version", "2=50")
    aims = ("--control", "1.0", "--metric", "thumbs", "--window", "1s", "--lower-is-better", "toxic")
    code, _, complaint = run(*create, *aims, "--guard", "latency", "--worse-by", "20%", "--start")
    assert (code, complaint) == (0, "")
    return made


def records(
    name: str, users: dict[str, int], likes: dict[str, float], score: str = "thumbs"
) -> Iterator[dict[str, Any]]:
    """A call and a score of each user; so many users of each version."""
    now = datetime.now(UTC)
    for version, count in users.items():
        for number in range(count):
            user = f"{version}-{number}"
            assigned = {"experiment_id": name, "experiment_version_id": f"{name}-{version}"}
            who = {"sticky_key": "user_id", "sticky_value": user}
            logged = {
                "input": "i",
                "output": "o",
                "metadata": {},
                "duration_ms": 100 + number,
                **assigned,
                **who,
            }
            thumb = {
                "kind": "score",
                "v": 1,
                "name": score,
                "value": number < likes[version] * count,
                **who,
            }
            scored = {"input": "", "output": "", "metadata": {"banyan_hp": thumb}}
            for body, at in ((logged, now), (scored, now + timedelta(seconds=0.5))):
                yield {"id": str(uuid.uuid4()), "ts": at.isoformat(), "body": body}


def log(
    backend: Backend, name: str, users: dict[str, int], likes: dict[str, float], score: str = "thumbs"
) -> None:
    """Log them, and wait until all are analysed."""
    sent = {"records": list(records(name, users, likes, score))}
    assert call(backend, "POST", "/api/logs/prompt-usage/batch", json=sent).status_code == 200
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found = backend.get(f"/api/experiments/{name}/results")
        if (
            sum(each["analysed"] for each in found["versions"]) == sum(users.values())
            and not found["pending"]
        ):
            return
        time.sleep(0.1)
    raise AssertionError(found)


def test_results_for_people_and_for_programs(backend: Backend, run: Command, name: str) -> None:
    """A table that begins with the winner, JSON, CSV, and dataclasses whose dicts are the same rows."""
    log(backend, name, {"1.0": 100, "2": 100}, {"1.0": 0.4, "2": 0.8})
    code, said, _ = run("results", name)
    lines = said.splitlines()
    assert (code, lines[0]) == (0, "2 wins on thumbs: 80%, against 40% in 1.0")
    (error_rate,) = (line for number, line in enumerate(lines) if lines[number - 1].startswith("error_rate"))
    assert error_rate.endswith("none so far in any version")
    assert lines[3].split() == ["1.0", "(control)", "100", "100", "100"]
    assert lines[8].split()[:5] == ["2", "100", "80%", "+40", "points"]
    assert lines[8].endswith("better")
    assert "* decides" in lines[-1]
    assert json.loads(run("results", name, "--json")[1])["decision"]["winner"] == f"{name}-2"

    rows = list(csv.DictReader(io.StringIO(run("results", name, "--csv", "--metric", "latency")[1])))
    assert [(each["metric"], each["version"]) for each in rows] == [
        ("thumbs", "1.0"), ("thumbs", "2"), ("latency", "1.0"), ("latency", "2")
    ]  # fmt: skip
    with PromptStackLogger(backend.api_key, backend.url) as logger:
        found = logger.experiment_results(name, metric="latency", interval="fixed")
    assert (found.winner, found.state, found.interval, found.segment) == (f"{name}-2", "winner", "fixed", 1)
    assert [set(each) for each in found.to_dicts()] == [set(each) for each in rows]
    difference = found.metrics[0].versions[1].difference
    assert difference is not None
    assert difference.low > 0.2
    banyan.configure(api_key=backend.api_key, base_url=backend.url)
    assert banyan.experiment_results(name, metric="latency", interval="fixed") == found


def test_results_that_are_not_to_be_trusted_say_so_by_the_exit_code(
    backend: Backend, run: Command, name: str
) -> None:
    """And by their first lines."""
    log(backend, name, {"1.0": 100, "2": 40}, {"1.0": 0.4, "2": 0.9})
    code, said, _ = run("results", name)
    first, second = said.splitlines()[:2]
    assert (code, first) == (1, "not to be trusted: see below")
    assert second.startswith("! Sample ratio mismatch")
    assert run("results", name, "--json")[0] == 1


def test_a_small_experiment_says_how_many_users_are_wanting(
    backend: Backend, run: Command, name: str
) -> None:
    """For the difference that is asked about; a rebuild counts the users."""
    log(backend, name, {"1.0": 20, "2": 20}, {"1.0": 0.4, "2": 0.5})
    said = run("results", name, "--effect", "25%")[1]
    assert said.startswith("not enough data yet on thumbs: about ")
    assert " more users are needed to see a difference of 25%\n" in said
    assert "too few users" in said
    assert run("rebuild", name)[1] == f"{name}: 40 users computed anew\n"


def test_until_the_first_window_is_over_it_says_when_figures_come(
    backend: Backend, run: Command, name: str
) -> None:
    """Instead of how many users are wanting."""
    call(backend, "PUT", f"/api/experiments/{name}", json={"window_seconds": 86_400})
    said = run("results", name)[1]
    assert said.startswith(
        "not enough data yet: no user has come; the first figures come 24 hours after the first one\n"
    )
    sent = {"records": list(records(name, {"1.0": 2, "2": 1}, {"1.0": 1.0, "2": 1.0}))}
    assert call(backend, "POST", "/api/logs/prompt-usage/batch", json=sent).status_code == 200
    until = time.monotonic() + SECONDS
    while "3 users are" not in (said := run("results", name)[1]):
        assert time.monotonic() < until, said
        time.sleep(0.1)
    comes = datetime.fromisoformat(sent["records"][0]["ts"]) + timedelta(days=1)
    assert said.startswith(
        "not enough data yet: 3 users are still within the 24 hours for which a user counts; "
        f"the first figures come at {comes:%Y-%m-%d %H:%M} UTC\n"
    )


def test_scores_behind_a_measure_are_told(backend: Backend, run: Command, name: str) -> None:
    """Above the table, with what to do."""
    log(backend, name, {"1.0": 2, "2": 2}, {"1.0": 0.5, "2": 0.5}, score="error_rate")
    said = run("results", name)[1].splitlines()
    assert said[1].startswith("! There are scores called 'error_rate', and they are not in these results")
    assert "such as 'error_rate_score'" in said[1]


def test_settings_of_the_analysis_are_stored(backend: Backend, run: Command, name: str) -> None:
    """A bound without a guard is refused."""
    found = backend.get(f"/api/experiments/{name}")
    assert found["guards"] == [{"metric": "latency", "worse_by": 0.2}]
    assert (found["window_seconds"], found["directions"]) == (1, {"toxic": "lower"})
    create = ("create", "x", "--prompt", name, "--by", "user_id", "--version", "2=100", "--worse-by", "5%")
    assert run(*create)[::2] == (2, "banyan-hp: --worse-by needs a --guard\n")


def test_what_the_backend_refuses_is_raised(backend: Backend, name: str) -> None:
    """As exceptions of this package."""
    with PromptStackLogger(backend.api_key, backend.url) as logger:
        with pytest.raises(banyan.ValidationError, match="experiment 'none' not found"):
            logger.experiment_results("none")
        with pytest.raises(banyan.ValidationError, match="segment must be one of"):
            logger.experiment_results(name, segment=9)
        with pytest.raises(
            ConfigurationError, match="experiment_id must be a string that isn't empty, was a int"
        ):
            logger.experiment_results(7)  # type: ignore[arg-type]
    with PromptStackLogger("psk_wrong", backend.url) as logger, pytest.raises(AuthenticationError):
        logger.experiment_results(name)


def test_a_backend_without_results_is_an_error() -> None:
    """So is one that is not there, or that responds with something else; the key is in none of them."""
    with ScriptedServer() as server:
        server.handler = lambda _request: Reply(404, {"detail": "psk_secret"})
        with PromptStackLogger("psk_secret", server.url) as logger:
            with pytest.raises(ServerError, match="status 404, and no results"):
                logger.experiment_results("e")
            server.handler = lambda _request: Reply(200, {"decision": "psk_secret"})
            with pytest.raises(NetworkError, match="can't be read") as raised:
                logger.experiment_results("e")
            assert "psk_secret" not in str(raised.value)
    with (
        FakeBackend() as fake,
        PromptStackLogger(fake.api_key, fake.url) as logger,
        pytest.raises(ServerError, match="the fake backend reckons no results of experiments"),
    ):
        logger.experiment_results("e", metric="thumbs")
    with (
        PromptStackLogger("psk_secret", server.url) as logger,
        pytest.raises(NetworkError, match="can't be used"),
    ):
        logger.experiment_results("e")
