"""Functions as a service: no background thread, a flush at the end, freezing and thawing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.process import PRELUDE
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import CloseAfter, Reply, Request, Reset, batching


@pytest.mark.parametrize("background", ["background_thread=False", "flush_interval=30"])
def test_freezing_and_thawing_neither_loses_nor_repeats(background: str) -> None:
    """SIGSTOP at any moment, time passes, SIGCONT: each record once, and no failed attempt."""
    program = f"""
    logger = make({background}, batching="never")
    for number in range(300):
        logger.log_prompt("q", "a", metadata={{"number": number}})
        if number % 10 == 9:
            assert logger.flush(10)
            print(number, flush=True)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["attempts_failed"], stats["worker_restarts"]) == (300, 0, 0), stats
    """
    with Backend() as backend:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
            env={**os.environ, "URL": backend.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for freeze in range(6):
            process.stdout.readline()
            time.sleep(0.003 * freeze)  # in the middle of whatever it does then
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)  # the time that passes while it is frozen
            process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=30)
        assert (process.returncode, stderr) == (0, "")
        assert (backend.count(), backend.deliveries()) == (300, 300)


def died_unannounced(requests_before: int) -> Callable[[Request], Reply | CloseAfter | Reset]:
    """A server that resets each connection's requests after so many."""
    seen: dict[int, int] = {}
    take = batching()

    def handle(request: Request) -> Reply | CloseAfter | Reset:
        seen[request.connection] = seen.get(request.connection, 0) + 1
        answer = take(request)
        assert isinstance(answer, Reply)
        return Reset() if seen[request.connection] > requests_before else answer

    return handle


def test_a_connection_that_was_reset_while_idle_is_no_outage(make_logger: MakeLogger) -> None:
    """However short it was idle: tried again at once on a new one, nothing is counted."""
    with ScriptedServer(died_unannounced(2)) as server:
        logger = make_logger(server.url)
        for _ in range(3):  # the first brings the question for batches with it
            assert logger.log_prompt("q", "a")
            assert logger.flush(5)
        stats = logger.get_stats()
        assert (stats["logs_sent"], stats["attempts_failed"], stats["retries_attempted"]) == (3, 0, 0)
        assert server.connections == 2


def test_a_connection_that_slept_long_is_not_tried(
    make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the wall clock, too: the monotonic one may have stood still meanwhile."""
    with ScriptedServer(batching()) as server:
        logger = make_logger(server.url)
        assert logger.log_prompt("q", "a")
        assert logger.flush(5)
        used = server.connections
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        assert logger.log_prompt("q", "a")
        assert logger.flush(5)
        assert server.connections == used + 1
        assert logger.get_stats()["attempts_failed"] == 0


def test_a_flush_with_nothing_to_do_is_cheap(make_logger: MakeLogger, tmp_path: Path) -> None:
    """At the end of a handler, after records that were delivered already: microseconds, no I/O."""
    with ScriptedServer(batching()) as server:
        logger = make_logger(server.url, background_thread=False)
        assert logger.log_prompt("q", "a")
        before = len(server.requests)
        began = time.thread_time()
        for _ in range(100):
            assert logger.flush(5)
        assert (time.thread_time() - began) / 100 < 0.001
        assert len(server.requests) == before
    assert not list(tmp_path.rglob("*.jsonl"))
