"""uWSGI: with and without threads and fork hooks, preforking and lazy; reloads, ends and kills."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.servers import (
    UWSGI,
    Arrivals,
    Load,
    Server,
    assert_quiet,
    free_port,
    spooled_numbers,
    uwsgi,
    wait_until,
)

pytestmark = pytest.mark.skipif(not UWSGI.exists(), reason="uWSGI is not installed (Linux with a C compiler)")

EXIT_SECONDS = 5.0
THREADS = "--enable-threads"
COMBINATIONS = {
    "threads": [THREADS],
    "threads and fork hooks": [THREADS, "--py-call-uwsgi-fork-hooks"],
    "neither": [],
    "fork hooks": ["--py-call-uwsgi-fork-hooks"],
}
combinations = pytest.mark.parametrize("options", COMBINATIONS.values(), ids=COMBINATIONS)
loadings = pytest.mark.parametrize("loading", [[], ["--lazy-apps"]], ids=["prefork", "lazy-apps"])
LINGERING = json.dumps({"flush_interval": 60})
HINT = "Start it with --enable-threads"


def assert_says_only_the_hint(server: Server, options: list[str]) -> None:
    """Without threads one line a process names the flag; otherwise it is quiet."""
    if THREADS in options:
        assert_quiet(server)
    else:
        assert "Traceback" not in server.output, server.output
        assert HINT in server.output, server.output


@loadings
@combinations
def test_every_request_is_logged_once_and_term_is_graceful(
    options: list[str], loading: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """The logger is made, a prompt fetched and a record logged at import, before the fork or behind it."""
    with uwsgi(tmp_path, "--die-on-term", *options, *loading, APP_EARLY="1") as server:
        asked = server.log_from_all(2, arrivals.run)
        assert server.stop() < EXIT_SECONDS
        assert_says_only_the_hint(server, options)
    arrivals.expect(asked)


@combinations
def test_what_lingers_at_the_end_is_delivered(
    options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """A logger made by the first request, and a batch that is not full when TERM comes."""
    with uwsgi(tmp_path, "--die-on-term", *options, APP_OPTIONS=LINGERING) as server:
        server.log(range(50), arrivals.run)
        assert server.stop() < EXIT_SECONDS
        assert_says_only_the_hint(server, options)
    arrivals.expect(range(50))


@loadings
@combinations
def test_a_reload_under_load_loses_nothing(
    options: list[str], loading: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """HUP replaces the workers while requests keep coming."""
    with (
        uwsgi(tmp_path, "--die-on-term", *options, *loading, APP_EARLY="1") as server,
        Load(server, arrivals.run) as load,
    ):
        load.wait_for(40)
        before = set(load.pids)
        server.send(signal.SIGHUP)
        wait_until(lambda: len(load.pids - before) >= 1, 15, lambda: server.output)
        load.wait_for(40)
        assert server.stop() < EXIT_SECONDS
        assert_says_only_the_hint(server, options)
    arrivals.expect_answered(load)


@combinations
def test_a_killed_worker_loses_nothing_that_was_on_disk(
    options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """KILL of a worker, under load, with durability="disk": the others deliver what it has left behind."""
    durable = json.dumps({"durability": "disk", "flush_interval": 0.5})
    with (
        uwsgi(tmp_path, "--die-on-term", *options, APP_OPTIONS=durable) as server,
        Load(server, arrivals.run) as load,
    ):
        load.wait_for(100)
        os.kill(int(server.get("/pid")), signal.SIGKILL)
        known = set(load.pids)
        wait_until(lambda: bool(load.pids - known), 15, lambda: server.output)
        load.wait_for(40)
        assert server.stop() < EXIT_SECONDS
        assert_says_only_the_hint(server, options)
    arrivals.expect_answered(load, repeats=True)


def test_workers_that_are_recycled_lose_nothing(arrivals: Arrivals, tmp_path: Path) -> None:
    """`max-requests` ends a worker in the middle of the traffic, again and again."""
    with (
        uwsgi(
            tmp_path, "--die-on-term", THREADS, "--max-requests", "40", "--min-worker-lifetime", "0",
            APP_OPTIONS=LINGERING,
        ) as server,
        Load(server, arrivals.run) as load,
    ):  # fmt: skip
        wait_until(lambda: len(load.pids) >= 5, 30, lambda: server.output)
        assert server.stop() < EXIT_SECONDS
        assert_quiet(server)
    arrivals.expect_answered(load)


@combinations
def test_an_unreachable_backend_does_not_hold_up_the_workers_end(
    options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """TERM with the backend down: quick, quiet, and the records are on disk for the next start."""
    nobody = {"BANYAN_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with uwsgi(tmp_path, "--die-on-term", *options, **nobody) as server:
        asked = server.log_from_all(2, arrivals.run, at_least=40)
        assert server.stop() < EXIT_SECONDS
        assert_says_only_the_hint(server, options)
    assert spooled_numbers(tmp_path / "state") == list(asked)
