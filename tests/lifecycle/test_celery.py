"""Celery's prefork pool: what tasks log arrives once, at recycling, at a warm shutdown, with no backend."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.servers import (
    EXAMPLES,
    Arrivals,
    Server,
    assert_quiet,
    assert_says_what_is_on_disk,
    celery,
    celery_environment,
    free_port,
    spooled_numbers,
    wait_until,
)
from tests.support.timing import assert_in_time

EXIT_SECONDS = 15.0  # of which Celery needs seven by itself

SEND = """
import sys
from celery_app import ask
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    ask(f"{sys.argv[1]} {number}", f"user {number}")
"""


def send(run: str, numbers: range, directory: Path) -> None:
    """Put a task for each number into the queue."""
    environment = {**os.environ, **celery_environment(directory)}
    subprocess.run(
        [sys.executable, "-c", SEND, run, str(numbers.start), str(numbers.stop)],
        env=environment,
        cwd=EXAMPLES,
        timeout=30,
        check=True,
        capture_output=True,
    )


def until_taken(directory: Path, server: Server) -> None:
    """Until no task waits in the queue; some are under way then."""
    queue = directory / "broker" / "queue"
    wait_until(lambda: not any(queue.glob("*.msg")), 20, lambda: server.output)


EARLY = ["--include", "tests.support.early_logger"]
RECYCLED = ["--max-tasks-per-child", "5"]


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param([[], [*EARLY, *RECYCLED]], id="warm shutdown; recycled, logged before the fork"),
        pytest.param([EARLY, RECYCLED], id="logged before the fork; recycled", marks=pytest.mark.soak),
    ],
)
def test_every_task_is_logged_once_and_a_warm_shutdown_drains(
    workers: list[list[str]], arrivals: Arrivals, backend: Backend, tmp_path: Path
) -> None:
    """TERM while the last records linger; children that end past atexit, at TERM or after five tasks.

    Each has the user who published it.
    """

    def work(number: int, options: list[str]) -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        send(arrivals.run, range(40 * number, 40 * number + 40), directory)
        with celery(directory, *options) as worker:
            until_taken(directory, worker)
            assert_in_time(worker.stop(), EXIT_SECONDS)
            assert_quiet(worker)

    with ThreadPoolExecutor() as side_by_side:  # most of the time Celery waits for itself
        list(side_by_side.map(work, range(len(workers)), workers))
    arrivals.expect(range(40 * len(workers)))
    for body in [each["body"] for each in backend.logs() if each["body"]["input"].startswith(arrivals.run)]:
        assert body["metadata"]["user_id"] == f"user {body['input'].rpartition(' ')[2]}"


@pytest.mark.soak
def test_an_unreachable_backend_does_not_hold_up_the_workers_end(arrivals: Arrivals, tmp_path: Path) -> None:
    """A warm shutdown with the backend down: quick, quiet, and the records are on disk for the next start."""
    send(arrivals.run, range(40), tmp_path)
    with celery(tmp_path, BANYAN_BASE_URL=f"http://127.0.0.1:{free_port()}") as worker:
        until_taken(tmp_path, worker)
        assert_in_time(worker.stop(), EXIT_SECONDS)
        assert_says_what_is_on_disk(worker)
    assert spooled_numbers(tmp_path / "state") == list(range(40))
