"""`banyan-hp spool` beside a running application: both do their part, and both tell the truth about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

from tests.support.ledger import assert_balanced
from tests.support.process import PRELUDE, run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching

APPLICATION = """
import json
logger = make(max_retries=0, retry_delay=0.2)
for word in map(str.strip, sys.stdin):
    if word == "end":
        logger.shutdown(5)
    elif word != "stats":
        assert logger.log_prompt("q", "a", metadata={"number": int(word)})
    print(json.dumps(logger.get_stats()), flush=True)
"""
DEADLINE = 40.0
KEY = "psk_local"


class Application:
    """A process that logs on command, and reports its stats."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + APPLICATION],
            env={**os.environ, "URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def report(self, word: str) -> dict[str, Any]:
        """Log a number, or `end`, or nothing (`stats`); returns the stats after that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        stats: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert_balanced(stats)
        return stats

    def until(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        while not done(stats := self.report("stats")):
            assert time.monotonic() < deadline, stats
            time.sleep(0.02)
        return stats


def spool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "banyan_hp.cli", "spool", *words],
        env={**os.environ, "BANYAN_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def states() -> list[tuple[str, int]]:
    lines = spool("ls", "--json").stdout.splitlines()
    return sorted((seen["state"], seen["unsent"]) for seen in map(json.loads, lines))


class Switch:
    """A backend that is down until it is switched on. Counts what it has taken."""

    def __init__(self) -> None:
        self.down = True
        self.taken: list[int] = []

    def __call__(self, request: Request) -> Any:
        if self.down:
            return Reply(503, {"error": "down"})
        if request.method == "POST":
            said = request.json()
            bodies = [item["body"] for item in said["records"]] if "records" in said else [said]
            self.taken += [body["metadata"]["number"] for body in bodies]
        return batching()(request)


@pytest.fixture
def backend() -> Iterator[tuple[Switch, ScriptedServer]]:
    switch = Switch()
    with ScriptedServer(switch) as server:
        yield switch, server


LEFT_BY_ANOTHER = """
logger = make(max_retries=0, flush_interval=60)  # all in one batch
for number in range(100, 110):
    logger.log_prompt("q", "a", metadata={"number": number})
logger.shutdown(5)
"""


def test_replay_and_a_running_application_share_the_work(backend: tuple[Switch, ScriptedServer]) -> None:
    """The command sends what is free, the application what it holds: each record once, ledgers true."""
    switch, server = backend
    with Application(server.url) as application:
        for number in range(10):
            application.report(str(number))
        application.until(lambda stats: stats["logs_spooled"] == 10)
        assert run_python(LEFT_BY_ANOTHER, url=server.url).status == 0
        assert states() == [("free", 10), ("held", 10)]
        assert len(spool("show", "--json").stdout.splitlines()) == 20
        switch.down = False
        replayed = spool("replay")
        application.report("10")
        stats = application.until(lambda stats: stats["logs_sent"] == 11)
        assert stats["logs_dropped"] == 0
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        all_sent = ("still on disk 0, quarantined 0, lost 0", "nothing waits", "nothing to send")
        assert any(each in replayed.stdout for each in all_sent), replayed.stdout
        assert application.report("end")["logs_sent"] == 11
    assert sorted(switch.taken) == [*range(11), *range(100, 110)]
    assert states() == []


def test_a_purge_beside_a_running_application(backend: tuple[Switch, ScriptedServer]) -> None:
    """What it holds is left alone, unless `--held` is said; then it goes on, and its ledger stays true."""
    switch, server = backend
    with Application(server.url) as application:
        for number in range(5):
            application.report(str(number))
        application.until(lambda stats: stats["logs_spooled"] == 5)
        assert run_python(LEFT_BY_ANOTHER, url=server.url).status == 0
        purged = spool("purge", "--yes")
        assert (purged.returncode, purged.stdout) == (1, "removed 1 segment with 10 unsent records\n")
        assert states() == [("held", 5)]
        purged = spool("purge", "--yes", "--held")
        assert (purged.returncode, purged.stdout) == (0, "removed 1 segment with 5 unsent records\n")
        # A record that it was just trying to send is in its memory, too, and is written anew.
        assert states() in ([], [("held", 1)])
        switch.down = False
        application.report("5")
        stats = application.until(lambda stats: stats["logs_sent"] + stats["logs_dropped"] == 6)
        assert stats["logs_queued"] == 6
    assert 5 in switch.taken
    assert not set(switch.taken) & set(range(100, 110))


def test_a_running_application_sends_what_is_requeued(
    backend: tuple[Switch, ScriptedServer],
) -> None:
    """At its next look at the disk, once."""
    switch, server = backend
    server.handler = batching(
        verdicts=lambda record: (422, "no") if record["body"]["metadata"]["number"] >= 100 else (201, None)
    )
    left = LEFT_BY_ANOTHER.replace("range(100, 110)", "range(99, 102)")
    assert run_python(left, url=server.url).status == 0
    server.handler = switch
    with Application(server.url) as application:
        application.report("0")
        application.until(lambda stats: stats["logs_spooled"] == 1)
        requeued = spool("quarantine", "requeue", "--all")
        assert requeued.stdout.startswith("requeued 2 records"), requeued.stderr
        assert states() == [("free", 2), ("held", 1)]
        switch.down = False
        application.report("1")
        stats = application.until(lambda stats: stats["logs_recovered"] == 2 and stats["logs_sent"] == 2)
        assert stats["adopted"]["logs"] == 2
    assert sorted(switch.taken) == [0, 1, 100, 101]
    assert spool("quarantine", "ls").stdout == "nothing in quarantine\n"
