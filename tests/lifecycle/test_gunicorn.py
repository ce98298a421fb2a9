"""gunicorn: what is logged in a request arrives once, however the workers are made, replaced or ended."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from banyan_hp.engine.spool.layout import is_segment
from banyan_hp.engine.spool.survey import unacknowledged_lines
from tests.support.patience import PATIENCE
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Handler, Hang, batching
from tests.support.servers import (
    Arrivals,
    Load,
    assert_quiet,
    assert_says_what_is_on_disk,
    free_port,
    gunicorn,
    is_there,
    spooled_numbers,
    wait_until,
)
from tests.support.timing import assert_in_time

WORKERS = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "gevent": ["--worker-class", "gevent"],
}
EXIT_SECONDS = 8.0  # below the `exit_timeout` of the application

preloading = pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preload"])
worker_classes = pytest.mark.parametrize("kind", WORKERS)
slow_gevent = pytest.param("gevent", marks=pytest.mark.soak)  # its workers end within seconds, all in waiting


@preloading
@worker_classes
def test_every_request_is_logged_once_and_term_is_graceful(
    kind: str, preload: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """The logger is made, a prompt fetched and a record logged at import, before the fork or behind it."""
    with gunicorn(tmp_path, *WORKERS[kind], *preload, APP_EARLY="1") as server:
        asked = server.log_from_all(2, arrivals.run)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(asked)


@worker_classes
def test_a_logger_made_by_the_first_request_delivers_at_the_end_of_its_worker(
    kind: str, arrivals: Arrivals, tmp_path: Path
) -> None:
    """Nothing is made before the fork; what lingers in memory at TERM is delivered by the worker's exit."""
    lingering = json.dumps({"flush_interval": 60})
    with gunicorn(tmp_path, *WORKERS[kind], "--preload", APP_OPTIONS=lingering) as server:
        asked = server.log_from_all(2, arrivals.run)
        assert not arrivals.numbers()
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(asked)


@preloading
@pytest.mark.parametrize("kind", ["sync", "gthread", slow_gevent])
def test_a_reload_under_load_loses_nothing(
    kind: str, preload: list[str], arrivals: Arrivals, tmp_path: Path
) -> None:
    """HUP replaces both workers while requests keep coming; TERM comes when the old ones are gone.

    Earlier, gunicorn itself is late, with any application: a worker of the first moments has no signal
    handlers yet and misses its TERM, and the master hears nothing before the old workers are gone.
    """
    with (
        gunicorn(tmp_path, *WORKERS[kind], *preload, APP_EARLY="1") as server,
        Load(server, arrivals.run) as load,
    ):
        wait_until(lambda: len(load.pids) >= 2, PATIENCE, lambda: server.output)
        before = set(load.pids)
        server.send(signal.SIGHUP)
        wait_until(lambda: len(load.pids - before) >= 2, PATIENCE, lambda: server.output)
        wait_until(lambda: not any(map(is_there, before)), PATIENCE, lambda: server.output)
        load.wait_for(40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load)


@worker_classes
def test_a_killed_worker_loses_nothing_that_was_on_disk(
    kind: str, arrivals: Arrivals, tmp_path: Path
) -> None:
    """KILL of a worker, under load, with durability="disk": the others deliver what it has left behind."""
    durable = json.dumps({"durability": "disk", "flush_interval": 0.5})
    with (
        gunicorn(tmp_path, *WORKERS[kind], "--preload", APP_OPTIONS=durable) as server,
        Load(server, arrivals.run) as load,
    ):
        load.wait_for(100)
        # Both have answered: the next pid is that of the worker in the killed one's place. It must have begun
        # before it is stopped, as gunicorn's workers don't hear a signal while they begin.
        wait_until(lambda: len(load.pids) == 2, PATIENCE, lambda: server.output)
        known = set(load.pids)
        os.kill(int(server.get("/pid")), signal.SIGKILL)
        wait_until(lambda: bool(load.pids - known), PATIENCE, lambda: server.output)
        load.wait_for(40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load, repeats=True)


@pytest.mark.parametrize("kind", ["sync", "gthread", slow_gevent])
def test_workers_that_are_recycled_lose_nothing(kind: str, arrivals: Arrivals, tmp_path: Path) -> None:
    """`max_requests` ends a worker in the middle of the traffic, again and again."""
    lingering = json.dumps({"flush_interval": 60})
    recycling = ["--max-requests", "40", "--preload"]
    with (
        gunicorn(tmp_path, *WORKERS[kind], *recycling, APP_OPTIONS=lingering) as server,
        Load(server, arrivals.run) as load,
    ):
        wait_until(lambda: len(load.pids) >= 5, PATIENCE, lambda: server.output)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect_answered(load)


@worker_classes
def test_an_unreachable_backend_does_not_hold_up_the_workers_end(
    kind: str, arrivals: Arrivals, tmp_path: Path
) -> None:
    """TERM with the backend down: quick, quiet, and the records are on disk for the next start."""
    nobody = {"BANYAN_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with gunicorn(tmp_path, *WORKERS[kind], "--preload", **nobody) as server:
        asked = server.log_from_all(2, arrivals.run, at_least=40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_says_what_is_on_disk(server)
    assert spooled_numbers(tmp_path / "state") == list(asked)


@pytest.mark.soak
def test_a_backend_that_hangs_costs_recycled_workers_less_than_half_of_their_requests(tmp_path: Path) -> None:
    """Each worker ends after 20 requests; only the first ones wait for an answer at their ends."""

    def answered(name: str, handler: Handler) -> int:
        directory = tmp_path / name
        directory.mkdir()
        with ScriptedServer(handler) as backend:
            environment = {
                "BANYAN_BASE_URL": backend.url,
                "BANYAN_API_KEY": "psk_local",
                "BANYAN_HP_SPOOL_DIR": str(directory / "state"),
            }
            with (
                gunicorn(directory, "--max-requests", "20", "--preload", **environment) as server,
                Load(server, "run") as load,
            ):
                load.wait_for(1)
                time.sleep(6)
                return len(load.answered)

    healthy, hanging = answered("healthy", batching()), answered("hanging", lambda _request: Hang())
    assert hanging > healthy / 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_a_gevent_worker_that_quits_under_load_repeats_nothing(
    signum: signal.Signals, arrivals: Arrivals, tmp_path: Path
) -> None:
    """It serves on while it ends: the exit waits for no new record, but for each response it is owed."""
    with ScriptedServer(batching(latency=0.05)) as destination:
        options = json.dumps({"base_url": destination.url, "exit_timeout": 20})
        with (
            gunicorn(tmp_path, *WORKERS["gevent"], APP_OPTIONS=options) as server,
            Load(server, arrivals.run) as load,
        ):
            load.wait_for(200)
            assert_in_time(server.stop(signum), EXIT_SECONDS)
            assert_quiet(server, but_for="on disk; ")
        delivered = destination.ids()
        paths = [path for path in tmp_path.rglob("*.v1.jsonl") if is_segment(path.name)]
        on_disk = [line.id for path in paths for line in unacknowledged_lines(path)]
        assert len(delivered) == len(set(delivered))
        assert not set(on_disk) & set(delivered)
