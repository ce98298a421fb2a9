"""`banyan-hp serve --demo`: what is there at once, and that what it says to try works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp.cli.demo.loading import LoadingError, load, read_shop
from banyan_hp.cli.demo.trials import Routing
from banyan_hp.cli.demo.week import Served, Week
from banyan_hp.cli.main import main
from tests.support.imports import Imports
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply
from tests.support.serving import Serving, serving

LAST_LINE = "print(prompt.version"
ROOT = Path(__file__).parents[2]


def get(demo: Serving, path: str, key: str = "psk_local") -> Any:
    response = requests.get(demo.url + path, headers={"X-API-Key": key}, timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("demo") / "cwd"
    directory.mkdir()
    # A proxy that is not there, which the demo's own requests must not take.
    with serving("--demo", "--port", "0", cwd=directory, HTTP_PROXY="http://127.0.0.1:9") as running:
        running.wait_for(LAST_LINE)
        yield running
        assert running.stderr == ""


def test_it_says_what_it_put_in(demo: Serving) -> None:
    """Each figure that it prints is what the API counts."""
    found = re.search(r"(\d+) calls by (\d+) users .*; (\d+) HuggingPlace interactions", demo.printed)
    assert found is not None, demo.printed
    calls, users, interactions = map(int, found.groups())
    assert calls == get(demo, "/api/logs/count")["count"]
    assert interactions == get(demo, "/api/interactions/count")["count"]
    assert calls > 300
    assert users > 20
    assert interactions > 50
    prompts = get(demo, "/api/logs/cli/prompts")["prompts"]
    assert f"{len({each['name'] for each in prompts})} prompts" in demo.printed
    assert {each["branch"] for each in prompts} == {"main", "staging"}
    experiments = get(demo, "/api/experiments")["experiments"]
    assert {each["status"] for each in experiments} == {"running", "finished", "draft"}


def test_the_calls_are_those_of_a_plausible_week(demo: Serving) -> None:
    """Several prompts, versions and models, some errors, all within the last days and none in the future."""
    logs = every_log(demo)
    bodies = [log["body"] for log in logs]
    versions = Counter((body["prompt_name"], body["version"]) for body in bodies)
    assert {("support-answer", "1.1"), ("support-answer", "2.0"), ("support-answer", "2.1-warm")} <= set(
        versions
    )
    assert len({body["model"] for body in bodies}) == 3
    failed = [body for body in bodies if "error" in body["metadata"]]
    assert 0.01 < len(failed) / len(bodies) < 0.1
    assert all(body["output"] == "" for body in failed)
    assert all(body["metadata"]["token_count"] > 0 for body in bodies)
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(log["event_time"]) for log in logs]
    assert now - timedelta(days=8) < min(times) < now - timedelta(days=5)
    assert now - timedelta(days=2) < max(times) <= now
    assert times == sorted(times)
    sessions = Counter(body["metadata"].get("session_id") for body in bodies)
    assert max(sessions.values()) > 3


def every_log(demo: Serving) -> list[Any]:
    """All calls, oldest first: the newest are on the first page."""
    logs: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = get(demo, f"/api/logs?limit=1000{after and f'&after={after}'}")
        logs, after = [*logs, *page["logs"]], page["next"]
    return logs


def test_its_experiments_have_results(demo: Serving) -> None:
    """One that runs has a winner to be released, one is finished; users of today are not counted yet."""
    for name, metric, winner in (
        ("support-tone", "thumbs", "support-tone-warm"),
        ("email-offer", "opened", "email-offer-short"),
    ):
        found = results(demo, name)
        assert (found["primary_metric"], found["decision"]["winner"]) == (metric, winner)
        assert (found["trusted"], found["warnings"], len(found["segments"])) == (True, [], 1)
    running = results(demo, "support-tone")["versions"]
    assert all(0 < each["analysed"] < each["exposed"] for each in running)


def results(demo: Serving, experiment_id: str) -> Any:
    """When all that has arrived is reckoned in."""
    until = time.monotonic() + 20
    while (found := get(demo, f"/api/experiments/{experiment_id}/results"))["pending"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def test_both_versions_of_the_guide_s_experiment_are_there(demo: Serving) -> None:
    """And everybody is served the first one."""
    assert get(demo, "/api/logs/prompt/quickstart")["version"] == "1.0"
    assert get(demo, "/api/logs/prompt/quickstart?version=1.1")["version"] == "1.1"


def test_users_keep_their_version_and_it_is_the_one_that_the_backend_serves(demo: Serving) -> None:
    """A prompt fetched for a user is the version that the user's records name."""
    bodies = [log["body"] for log in get(demo, "/api/logs?limit=1000&experiment_id=support-tone")["logs"]]
    versions: dict[str, set[str]] = {}
    for body in bodies:
        assert body["metadata"]["user_id"] == body["sticky_value"]
        versions.setdefault(body["sticky_value"], set()).add(body["version"])
    assert all(len(each) == 1 for each in versions.values())
    user, (version,) = sorted(versions.items())[0]
    path = f"/api/logs/prompt/support-answer?sticky_key=user_id&sticky_value={user}"
    assert get(demo, path)["version"] == version
    usage = get(demo, "/api/experiments/support-tone/usage")["versions"]
    assert len(usage) == 2
    assert min(usage.values()) > 20


def test_the_interactions_have_sessions_and_steps(demo: Serving) -> None:
    """Three steps each, whose tokens and times make the interaction's."""
    bodies = [each["body"] for each in get(demo, "/api/interactions?limit=1000")["interactions"]]
    for body in bodies:
        assert [step["type"] for step in body["step_data"]] == ["retrieval", "rerank", "generation"]
        assert body["token_count"] == sum(step["token"] for step in body["step_data"])
    assert max(Counter(body["session_id"] for body in bodies).values()) > 1


def test_each_line_to_try_works(demo: Serving, tmp_path: Path) -> None:
    """The curl lines by a shell, the Python block by Python, as they are printed."""
    shown = demo.printed.partition("try next")[2]
    curls = [line.strip() for line in shown.splitlines() if line.strip().startswith("curl")]
    assert len(curls) == 2
    for line in curls:
        said = subprocess.run(
            ["sh", "-c", f"{line} --silent --fail"], capture_output=True, text=True, timeout=20, check=False
        )
        assert said.returncode == 0, said.stderr
        assert '"logs"' in said.stdout or '"versions"' in said.stdout
    before = get(demo, "/api/logs/count")["count"]
    block = shown.partition("and in Python:\n")[2]
    ran = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"2\.\S+ True\n", ran.stdout)
    assert get(demo, "/api/logs/count")["count"] == before + 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_its_database_goes_away_with_it(signum: signal.Signals, tmp_path: Path) -> None:
    """Nothing is left in the directory for temporary files, and nothing in the working directory."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    with serving("--demo", "--port", "0", cwd=work, TMPDIR=str(temporary)) as demo:
        demo.wait_for(LAST_LINE)
        (directory,) = temporary.iterdir()
        assert f"{directory}/" in demo.printed
        assert demo.stop(signum) == 0
    assert not list(temporary.iterdir())
    assert not list(work.iterdir())


def test_a_given_key_is_not_shown_and_the_lines_still_work(tmp_path: Path) -> None:
    """They take it from the environment; experiments are loaded whoever routes."""
    (tmp_path / "work").mkdir()
    key = "psk_not_for_terminals"
    arguments = ("--demo", "--port", "0", "--routing", "none")
    with serving(*arguments, cwd=tmp_path / "work", BANYAN_HP_SERVE_KEYS=key) as demo:
        printed = demo.wait_for(LAST_LINE)
        assert key not in printed
        assert get(demo, "/api/logs/count", key)["count"] > 300
        (line, _) = re.findall(r"^  (curl .*)$", printed, re.MULTILINE)
        environment = {**os.environ, "BANYAN_API_KEY": key}
        said = subprocess.run(
            ["sh", "-c", f"{line} --silent --fail"], env=environment, capture_output=True, check=False
        )
        assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_make_demo_keeps_its_backend_to_be_looked_at(signum: signal.Signals, tmp_path: Path) -> None:
    """Its link leads into the pages, until a signal ends both."""
    program = f"import pathlib, demo; demo.keep(demo.free_port(), pathlib.Path({str(tmp_path)!r}))"
    kept = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT / "examples", stdout=subprocess.PIPE, text=True
    )
    assert kept.stdout is not None
    try:
        url, _, token = (
            next(line for line in kept.stdout if "token=" in line).split()[-1].partition("/login?token=")
        )
        page = requests.post(f"{url}/login", data={"token": token, "next": "/calls"}, timeout=10)
        assert (page.status_code, page.url) == (200, f"{url}/calls")
        kept.send_signal(signum)
        assert kept.wait(15) == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{url}/healthz", timeout=10)
    finally:
        kept.kill()
        kept.wait()
        kept.stdout.close()


@pytest.mark.parametrize("option", ["--db", "--seed"])
def test_what_contradicts_it_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that goes away is never somebody's own."""
    assert main(["serve", "--demo", option, str(tmp_path / "own")]) == 2
    assert f"leave out {option}" in capsys.readouterr().err


def test_a_backend_that_refuses_says_what_is_missing() -> None:
    """Instead of a traceback: the call, the status, and the backend's words."""
    with ScriptedServer() as server:
        server.handler = lambda _request: Reply(503, {"error": "the disk is full"})
        with pytest.raises(LoadingError, match=r"POST /api/logs/cli/prompts: 503 .*the disk is full"):
            load(server.url, "psk_local", redate=lambda _name, _times: None)


def test_the_same_time_gives_the_same_week() -> None:
    """Nothing in it is drawn anew at each start."""
    shop, now = read_shop(), datetime(2026, 3, 2, 12, tzinfo=UTC)
    named = {name: {"prompt_name": name} for name in shop["models"]}
    got = {"prompt_name": "support-answer", "sticky_key": "user_id"}
    versions = [next(iter(each["yes"])) for each in shop["trials"]]

    def routing(version: str) -> Routing:
        return lambda _user: {**got, "experiment_version_id": version}

    served = Served(named, {"prompt_name": "support-answer"}, [routing(each) for each in versions])
    one, other = Week(shop, served, now), Week(shop, served, now)
    assert (one.logs, one.scores, one.interactions) == (other.logs, other.scores, other.interactions)
    assert len({entry["id"] for entry in one.logs}) == len(one.logs)


def test_it_knows_nothing_of_how_records_are_kept() -> None:
    """It uses the HTTP API and the rule of routing as any client could, and imports nothing of the server."""
    arrows = Imports.of(ROOT / "banyan_hp").arrows
    ends = {end for start, end in arrows if start.startswith("banyan_hp.cli.demo")}
    assert all(end.startswith(("banyan_hp.cli.demo", "banyan_hp.experiments")) for end in ends), ends
