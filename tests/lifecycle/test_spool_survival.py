"""What the on-disk queue must survive, with real processes. `SOAK=1` makes the long ones long."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from banyan_hp.engine.spool.lines import parse_line
from tests.support.backend import Backend
from tests.support.process import run_python
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching, records_in

SOAK = bool(os.environ.get("SOAK"))
KILL_ROUNDS = 200 if SOAK else 20
BATCH = 20

DRAIN = """
import pathlib
import banyan_hp.engine.spool.lease as lease_module, banyan_hp.engine.spool.spool as spool_module
lease_module.OLD_SECONDS = 0.5  # what was half made when its process was killed goes, too
spool_module.LOOK_SECONDS = 0.2
def segments():
    return [path for path in pathlib.Path(os.environ["BANYAN_HP_SPOOL_DIR"]).rglob("*.v1.jsonl*")
            if not path.name.startswith("quarantine")]
logger = make()
logger.log_prompt("the one that starts the worker", "a", metadata={"number": -1})
logger.flush(10)
deadline = time.monotonic() + 30
while segments() and time.monotonic() < deadline:
    time.sleep(0.02)
assert not segments(), segments()
logger.shutdown(5)
assert not segments(), segments()
"""


class Unsteady:
    """A backend that takes batches, fails a share of its answers, and counts what it took."""

    def __init__(self, failing: float, seed: int) -> None:
        self.failing = failing
        self.taken: Counter[int] = Counter()
        self.ids: dict[int, set[str]] = {}
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._well = batching()

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            if self._rng.random() < self.failing:
                return Reply(503, {"error": "unsteady"})
            for ident, body in records_in(request):
                number = body["metadata"]["number"]
                self.taken[number] += 1
                self.ids.setdefault(number, set()).add(ident)
        return self._well(request)

    def numbers(self) -> set[int]:
        return set(self.taken) - {-1}

    def repeats(self) -> int:
        return sum(count - 1 for number, count in self.taken.items() if number != -1)


def numbers(text: str) -> set[int]:
    return {int(line) for line in text.split()}


def segments(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state").rglob("*.v1.jsonl") if path.name[0].isdigit()]


def whole_lines(segment: Path) -> int:
    """Without the one that the kill has torn: the kernel stops a write between two pages."""
    return sum(parse_line(line) is not None for line in segment.read_bytes().splitlines())


def test_what_an_outage_kept_is_delivered_by_the_next_process() -> None:
    """1,000 records with the backend down, an end in good order; the next process brings 1,001 in order."""
    with Backend() as backend:
        backend.stop()
        first = """
            logger = make()
            for number in range(1000):
                assert logger.log_prompt("q", "a", metadata={"number": number})
            logger.shutdown(5)
            stats = logger.get_stats()
            assert (stats["logs_spooled"], stats["logs_dropped"]) == (1000, 0), stats
        """
        finished = run_python(first, url=backend.url)
        assert finished.status == 0, finished.stderr
        backend.start()
        finished = run_python(DRAIN, url=backend.url)
        assert finished.status == 0, finished.stderr
        assert (backend.count(), backend.deliveries()) == (1001, 1001)
        arrived = [log["body"]["metadata"]["number"] for log in backend.logs()]
        assert [number for number in arrived if number >= 0] == list(range(1000))


def test_an_outage_in_the_middle_loses_and_repeats_nothing() -> None:
    """A backend that is away for the middle of the run: all is there once, and none of it on disk."""
    seconds, away = (20.0, 10.0) if SOAK else (3.0, 1.5)
    with Backend() as backend:

        def go_away() -> None:
            time.sleep((seconds - away) / 2)  # the length of the run before it
            backend.stop()
            time.sleep(away)  # the outage itself
            backend.start()

        outage = threading.Thread(target=go_away)
        outage.start()
        finished = run_python(
            f"""
            logger = make(max_retries=1)
            number = 0
            end = time.monotonic() + {seconds}
            while time.monotonic() < end:
                assert logger.log_prompt("q", "a", metadata={{"number": number}})
                number += 1
                time.sleep(0.005)
            deadline = time.monotonic() + 30
            while not logger.flush(5) and time.monotonic() < deadline:
                time.sleep(0.1)
            stats = logger.get_stats()
            assert stats["logs_sent"] == stats["logs_queued"] == number, stats
            print(number)
            """,
            url=backend.url,
        )
        outage.join(30)
        assert finished.status == 0, finished.stderr
        count = int(finished.stdout)
        assert (backend.count(), backend.deliveries()) == (count, count)


def test_kill_9_with_durability_memory_loses_what_the_readme_says(tmp_path: Path) -> None:
    """What was in memory is lost, what was on disk is delivered, and nothing else is missing."""
    with Backend() as backend:
        backend.stop()
        killed = run_python(
            """
            import signal
            logger = make(max_retries=0)
            for number in range(300):
                assert logger.log_prompt("q", "a", metadata={"number": number})
            deadline = time.monotonic() + 30
            while logger.get_stats()["logs_spooled"] < 300 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert logger.get_stats()["logs_spooled"] == 300
            for number in range(300, 400):
                assert logger.log_prompt("q", "a", metadata={"number": number})
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            url=backend.url,
        )
        assert killed.status == -signal.SIGKILL, killed.stderr
        on_disk = sum(map(whole_lines, segments(tmp_path)))
        assert on_disk >= 300
        backend.start()
        finished = run_python(DRAIN, url=backend.url)
        assert finished.status == 0, finished.stderr
        assert (backend.count(), backend.deliveries()) == (on_disk + 1, on_disk + 1)


@pytest.mark.timeout(300 + 2 * KILL_ROUNDS)
def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed while writing, rotating, acknowledging, adopting and replaying, over and over.

    Every call that returned True arrives; at most what was in flight is repeated, under the same id; the
    directory ends empty.
    """
    unsteady = Unsteady(failing=0.4, seed=1)
    with ScriptedServer(unsteady) as server:
        finished = run_python(
            f"""
            import random, signal
            import banyan_hp.engine.spool.writer as writing_module
            writing_module.SEGMENT_BYTES = 8_000

            def live(number):
                logger = make(durability="disk", batch_size={BATCH}, flush_interval=0.01,
                              retry_delay=0.02, max_retries=1, batching="always")
                while True:
                    assert logger.log_prompt("q", "a" * 50, metadata={{"number": number}})
                    os.write(1, b"%d\\n" % number)
                    number += 1
                    if number % 10 == 0:
                        time.sleep(0.001)

            # The numbers of a child that is killed soon after it has logged so many.
            def killed(first, logged):
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.dup2(writing, 1)
                    live(first)
                os.close(writing)
                said = b""
                while said.count(b"\\n") < logged:
                    more = os.read(reading, 64)
                    assert more, "the child has ended by itself"
                    said += more
                time.sleep(rng.uniform(0.0, 0.02))  # anywhere within the next call
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                while more := os.read(reading, 65536):
                    said += more
                os.close(reading)
                return said

            rng = random.Random(2)
            for number in range({KILL_ROUNDS}):
                os.write(1, killed(number * 1_000_000, rng.randint(0, 90)))
            """,
            url=server.url,
            timeout=120 + KILL_ROUNDS,
        )
        assert finished.status == 0, finished.stderr
        unsteady.failing = 0.0
        drained = run_python(DRAIN, url=server.url)
        assert drained.status == 0, drained.stderr
    acknowledged = numbers(finished.stdout)
    assert len(acknowledged) > 20 * KILL_ROUNDS
    assert acknowledged - unsteady.numbers() == set()
    assert len(unsteady.numbers() - acknowledged) <= KILL_ROUNDS  # a call that was killed before it returned
    assert unsteady.repeats() <= BATCH * KILL_ROUNDS
    assert {len(ids) for ids in unsteady.ids.values()} == {1}
    assert not (tmp_path / "state").rglob("quarantine*") or not damage_kept(tmp_path, KILL_ROUNDS)


def damage_kept(tmp_path: Path, at_most: int) -> bool:
    """Whether more lines were torn than processes were killed: a kill tears one line at the most."""
    kept = sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "state").rglob("quarantine*"))
    return kept > at_most


def test_eight_processes_two_of_them_killed_one_failing_backend() -> None:
    """They share one directory; each record that survived or was durable is in the backend, under one id."""
    unsteady = Unsteady(failing=0.5, seed=3)
    with ScriptedServer(unsteady) as server:
        finished = run_python(
            f"""
            import random, signal
            rng = random.Random(4)

            def live(first):
                logger = make(durability="disk", batch_size={BATCH}, retry_delay=0.02, max_retries=1,
                              batching="always")
                for number in range(first, first + 200):
                    assert logger.log_prompt("q", "a", metadata={{"number": number}})
                    os.write(1, b"%d\\n" % number)
                    time.sleep(0.002)
                logger.shutdown(30)
                os._exit(0)

            children = []
            for number in range(8):
                pid = os.fork()
                if pid == 0:
                    live(number * 1000)
                children.append(pid)
            victims = rng.sample(children, 2)
            for pid in victims:
                time.sleep(rng.uniform(0.1, 0.2))
                os.kill(pid, signal.SIGKILL)
            for pid in children:
                _, status = os.waitpid(pid, 0)
                assert pid in victims or status == 0, status
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        unsteady.failing = 0.0
        drained = run_python(DRAIN, url=server.url)
        assert drained.status == 0, drained.stderr
    acknowledged = numbers(finished.stdout)
    assert len(acknowledged) >= 6 * 200
    assert acknowledged - unsteady.numbers() == set()
    assert unsteady.repeats() <= 2 * BATCH
    assert {len(ids) for ids in unsteady.ids.values()} == {1}


def test_a_forked_child_does_not_hold_what_its_dead_parent_left(tmp_path: Path) -> None:
    """The owner is killed while its forked child lives on: its segment can be adopted at once."""
    with Backend() as backend:
        backend.stop()
        finished = run_python(
            """
            import signal
            pid = os.fork()
            if pid == 0:  # the owner, which forks a child that lives on
                logger = make(durability="disk")
                for number in range(50):
                    assert logger.log_prompt("q", "a", metadata={"number": number})
                if os.fork() == 0:
                    print(os.getpid(), flush=True)
                    os.close(1)
                    os.close(2)
                    time.sleep(60)
                    os._exit(0)
                time.sleep(0.2)  # the child has run its hooks
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(pid, 0)
            """,
            url=backend.url,
        )
        assert finished.status == 0, finished.stderr
        survivor = int(finished.stdout)
        try:
            backend.start()
            drained = run_python(DRAIN, url=backend.url)
            assert drained.status == 0, drained.stderr
            os.kill(survivor, 0)  # it lives
        finally:
            os.kill(survivor, signal.SIGKILL)
        assert (backend.count(), backend.deliveries()) == (51, 51)


def test_a_sibling_that_dies_is_noticed_while_running() -> None:
    """No outage, no restart: the look that every process takes now and then finds what a dead one left."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            import signal
            import banyan_hp.engine.spool.spool as spool_module
            spool_module.LOOK_SECONDS = 0.2
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                logger = make(durability="disk", flush_interval=60)
                for number in range(50):
                    assert logger.log_prompt("q", "a", metadata={"number": number})
                os.write(writing, b"logged")
                time.sleep(60)
            os.read(reading, 6)
            logger = make()
            logger.log_prompt("q", "a", metadata={"number": 50})
            assert logger.flush(5)
            time.sleep(0.3)  # the child is alive: nothing of it may be taken
            assert logger.get_stats()["adopted"]["logs"] == 0
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            deadline = time.monotonic() + 30
            while logger.get_stats()["logs_recovered"] < 50 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert logger.get_stats()["logs_recovered"] == 50, logger.get_stats()
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        assert len(server.ids()) == len(set(server.ids())) == 51
