"""uWSGI: with and without threads and fork hooks, preforking and lazy; reloads, ends and kills.

Since 2.0.27 threads always run; without them means an older version. A worker that has not answered yet may
miss a graceful TERM, and uWSGI then waits for it without end: so both answer first.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.servers import (
    OLD_UWSGI,
    UWSGI,
    Arrivals,
    Load,
    Server,
    assert_quiet,
    assert_says_what_is_on_disk,
    free_port,
    spooled_numbers,
    uwsgi,
    wait_until,
)
from tests.support.timing import assert_in_time

EXIT_SECONDS = 8.0
HOOKS = "--py-call-uwsgi-fork-hooks"
LINGERING = json.dumps({"flush_interval": 60})
# By default SIGTERM reloads; with --die-on-term a worker in the middle of a request ends without running
# Python's exit. This lets the requests finish first.
GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")

MakeServer = Callable[..., Server]

needs_uwsgi = pytest.mark.skipif(not UWSGI.exists(), reason="uWSGI is not installed")
needs_old_uwsgi = pytest.mark.skipif(not OLD_UWSGI.exists(), reason=f"there is no {OLD_UWSGI}")


def combination(name: str, binary: Path, *options: str, soak: bool = False) -> object:
    marks = [needs_uwsgi if binary == UWSGI else needs_old_uwsgi, *([pytest.mark.soak] if soak else [])]
    return pytest.param(partial(uwsgi, binary=binary), options, id=name, marks=marks)


NEW = combination("threads", UWSGI)
NEW_HOOKS = combination("threads, hooks", UWSGI, HOOKS)
OLD = combination("old, threads", OLD_UWSGI, "--enable-threads", soak=True)
OLD_HOOKS = combination("old, threads, hooks", OLD_UWSGI, "--enable-threads", HOOKS, soak=True)
THREADLESS = combination("no threads", OLD_UWSGI)
THREADLESS_HOOKS = combination("no threads, hooks", OLD_UWSGI, HOOKS)

all_combinations = pytest.mark.parametrize(
    ("start", "options"), [NEW, NEW_HOOKS, OLD, OLD_HOOKS, THREADLESS, THREADLESS_HOOKS]
)
two_combinations = pytest.mark.parametrize(("start", "options"), [NEW, THREADLESS])
threaded = pytest.mark.parametrize(("start", "options"), [NEW, NEW_HOOKS])
lazy = pytest.param(["--lazy-apps"], id="lazy-apps", marks=pytest.mark.soak)
reloadings = pytest.mark.parametrize("loading", [pytest.param([], id="prefork"), lazy])
loadings = pytest.mark.parametrize("loading", [[], ["--lazy-apps"]], ids=["prefork", "lazy-apps"])


@loadings
@all_combinations
def test_every_request_is_logged_once_and_term_is_graceful(
    start: MakeServer, options: list[str], loading: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """The logger is made, a prompt fetched and a record logged at import, before the fork or behind it."""
    with start(tmp_path, *GRACEFUL, *options, *loading, APP_EARLY="1") as server:
        asked = server.log_from_all(2, arrivals.run)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(asked)


@threaded
def test_what_lingers_at_the_end_of_an_idle_worker_is_delivered(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """A logger made by the first request, and a batch that is not full when TERM comes."""
    with start(tmp_path, *GRACEFUL, *options, APP_OPTIONS=LINGERING) as server:
        asked = server.log_from_all(2, arrivals.run, at_least=40)
        assert not arrivals.numbers()
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(asked)


@reloadings
@two_combinations
def test_a_reload_under_load_loses_nothing(
    start: MakeServer, options: list[str], loading: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """HUP replaces the workers while requests keep coming."""
    with start(tmp_path, *GRACEFUL, *options, *loading, APP_EARLY="1") as server:
        with Load(server, arrivals.run) as load:
            load.wait_for(40)
            before = set(load.pids)
            server.send(signal.SIGHUP)
            wait_until(lambda: len(load.pids - before) >= 2, PATIENCE, lambda: server.output)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load)


@two_combinations
def test_a_graceful_term_under_load_loses_nothing(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """Workers finish their requests, then drain, however much lingers."""
    with (
        start(tmp_path, *GRACEFUL, *options, APP_OPTIONS=LINGERING) as server,
        Load(server, arrivals.run) as load,
    ):
        wait_until(lambda: len(load.pids) == 2, PATIENCE, lambda: server.output)
        load.wait_for(40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load)


@two_combinations
def test_die_on_term_under_load_loses_nothing_that_was_on_disk(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """Busy workers end on the spot; with durability="disk" the next start delivers what they had."""
    durable = json.dumps({"durability": "disk", "flush_interval": 0.5})
    with (
        start(tmp_path, "--die-on-term", *options, APP_OPTIONS=durable) as server,
        Load(server, arrivals.run) as load,
    ):
        load.wait_for(60)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    with start(tmp_path, *GRACEFUL, *options, APP_OPTIONS=durable) as server:
        server.log(range(1), "another")
        arrivals.expect_answered(load, repeats=True)


@two_combinations
def test_a_killed_worker_loses_nothing_that_was_on_disk(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """KILL of a worker, under load, with durability="disk": the others deliver what it has left behind."""
    durable = json.dumps({"durability": "disk", "flush_interval": 0.5})
    with start(tmp_path, *GRACEFUL, *options, APP_OPTIONS=durable) as server:
        with Load(server, arrivals.run) as load:
            load.wait_for(100)
            os.kill(int(server.get("/pid")), signal.SIGKILL)
            known = set(load.pids)
            wait_until(lambda: bool(load.pids - known), PATIENCE, lambda: server.output)
            load.wait_for(40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load, repeats=True)


@pytest.mark.soak
@needs_uwsgi
def test_workers_that_are_recycled_lose_nothing(arrivals: Arrivals, tmp_path: Path) -> None:
    """`max-requests` ends a worker in the middle of the traffic, again and again."""
    recycling = ["--max-requests", "40", "--min-worker-lifetime", "0"]
    with uwsgi(tmp_path, *GRACEFUL, *recycling, APP_OPTIONS=LINGERING) as server:
        with Load(server, arrivals.run) as load:
            wait_until(lambda: len(load.pids) >= 5, PATIENCE, lambda: server.output)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load)


@two_combinations
def test_an_unreachable_backend_does_not_hold_up_the_workers_end(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """TERM with the backend down: quick, quiet, and the records are on disk for the next start."""
    nobody = {"BANYAN_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with start(tmp_path, *GRACEFUL, *options, **nobody) as server:
        asked = server.log_from_all(2, arrivals.run, at_least=40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_says_what_is_on_disk(server)
    assert spooled_numbers(tmp_path / "state") == list(asked)


@two_combinations
def test_only_a_uwsgi_without_threads_is_warned_about(
    start: MakeServer, options: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """One line a worker, in the application's log, names the option to set."""
    with start(tmp_path, *GRACEFUL, "--lazy-apps", *options, APP_LOGGING="1") as server:
        server.log_from_all(2, arrivals.run)
        threadless = "Python threads support is disabled" in server.output
        assert server.output.count("Start it with --enable-threads") == (2 if threadless else 0)
        server.stop()
