"""Many loggers in one process: a bounded exit, and nothing left of those that are no longer used."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from banyan_hp import HuggingPlace, PromptStackLogger
from tests.lifecycle.test_exit_and_fork import spooled_ids, spooled_lines
from tests.support.process import PRELUDE, run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import HUGGINGPLACE_PATH, Hang, Reply, Request, batching
from tests.support.timing import assert_in_time

TIMED = """
import atexit
from banyan_hp.engine.process import exit as process_exit
def timed():
    started = []
    threading.Thread.start = lambda thread: started.append(thread.name)
    began = time.monotonic()
    process_exit.at_exit()
    print(time.monotonic() - began, started, flush=True)
atexit.register(timed)
"""


def test_the_exit_of_idle_loggers_is_short() -> None:
    """300 of one destination, with a healthy backend: no more than a second, and no thread is started."""
    with ScriptedServer(batching()) as server:
        program = """
        loggers = [make(flush_interval=0) for _ in range(300)]
        for logger in loggers:
            logger.log_prompt("q", "a")
        for logger in loggers:
            assert logger.flush(10)
        """
        finished = run_python(TIMED + textwrap.dedent(program), url=server.url)
    seconds, _, started = finished.stdout.strip().partition(" ")
    assert started == "[]", finished
    assert_in_time(float(seconds), 1.0)


def test_the_exit_of_loggers_whose_backend_hangs_takes_one_exit_timeout(tmp_path: Path) -> None:
    """The largest one, for all of them together."""
    with ScriptedServer(lambda _request: Hang()) as server:
        program = """
        loggers = [make(exit_timeout=(0.2, 0.8)[number % 2], batching="always") for number in range(50)]
        for logger in loggers:
            for _ in range(20):
                logger.log_prompt("q", "a")
        """
        finished = run_python(TIMED + textwrap.dedent(program), url=server.url)
    seconds, _, started = finished.stdout.strip().partition(" ")
    assert (float(seconds) >= 0.8, started) == (True, "[]"), finished
    assert spooled_lines(tmp_path) == 1000
    assert_in_time(float(seconds), 2.0)


def test_what_waits_is_on_disk_before_the_exit_waits_for_the_backend(tmp_path: Path) -> None:
    """SIGKILL while the process is ending: nothing is lost, not even what is under way."""
    with ScriptedServer(lambda _request: Hang()) as server:
        program = """
        from pathlib import Path
        loggers = [make(exit_timeout=40, timeout=60, batching="always") for _ in range(20)]
        for logger in loggers:
            for _ in range(50):
                logger.log_prompt("q", "a")
        def lines():
            paths = Path(os.environ["BANYAN_HP_SPOOL_DIR"]).rglob("*.v1.jsonl")
            return sum(path.read_bytes().count(b"\\n") for path in paths)
        def kill():
            while lines() < 1000: time.sleep(0.02)
            os.kill(os.getpid(), 9)
        threading.Thread(target=kill, daemon=True).start()
        """
        finished = run_python(program, url=server.url)
    assert finished.status == -signal.SIGKILL
    assert len(set(spooled_ids(tmp_path))) == 1000


def test_what_is_on_disk_first_and_delivered_then_is_not_sent_again(tmp_path: Path) -> None:
    """An exit whose responses all arrive leaves nothing on disk, and delivers each record once.

    So does a logger without a disk: it only sends.
    """
    with ScriptedServer(batching(latency=0.3)) as server:
        program = """
        loggers = [make(flush_interval=60, spool=number > 0) for number in range(5)]
        for logger in loggers:
            for _ in range(500):
                assert logger.log_prompt("q", "a")
        """
        finished = run_python(program, url=server.url)
        assert (finished.status, finished.stderr) == (0, "")
        assert len(server.ids()) == len(set(server.ids())) == 2500
    assert spooled_lines(tmp_path) == 0


# -- loggers that are no longer used -------------------------------------------------------------------------


def test_loggers_that_are_dropped_leave_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    """Made, used and garbage-collected: what was logged is delivered."""
    with ScriptedServer(batching()) as server:
        program = """
        import gc
        def held():
            gc.collect()
            return threading.active_count(), len(os.listdir("/proc/self/fd"))
        before = held()
        for _ in range(300):
            make(durability="disk", exit_timeout=20).log_prompt("q", "a")
        end = time.monotonic() + 20
        while held() != before and time.monotonic() < end:
            time.sleep(0.01)
        from banyan_hp.engine.process import exit as process_exit
        print(before == held(), len(process_exit._engines))
        """
        finished = run_python(program, url=server.url)
        assert (finished.stdout, finished.stderr) == ("True 0\n", "")
        assert len(server.ids()) == 300
    assert spooled_lines(tmp_path) == 0


def test_a_logger_that_is_dropped_while_the_backend_is_down_leaves_its_records_on_disk(
    tmp_path: Path,
) -> None:
    """Its thread writes them, and ends."""
    with ScriptedServer() as reserved:
        url = f"http://127.0.0.1:{reserved.port}"
    program = """
    make().log_prompt("q", "a")
    end = time.monotonic() + 30
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    print(threading.active_count())
    os._exit(0)
    """
    finished = run_python(program, url=url)
    assert (finished.stdout, finished.others) == ("1\n", "")
    assert spooled_lines(tmp_path) == 1


def test_loggers_without_threads_are_ended_by_the_next_one(tmp_path: Path) -> None:
    """With `background_thread=False` the caller's thread does what a worker would."""
    with ScriptedServer(lambda _request: Reply(503)) as server:
        program = """
        from banyan_hp.engine.process import exit as process_exit
        for _ in range(20):
            make(background_thread=False, max_retries=0, durability="disk").log_prompt("q", "a")
        print(len(process_exit._engines) <= 2)
        """
        finished = run_python(program, url=server.url)
    assert (finished.stdout, finished.others) == ("True\n", "")
    assert spooled_lines(tmp_path) == 20


def test_a_receipt_keeps_its_engine_at_work() -> None:
    """The client is gone; the record is retried until it is delivered, as long as somebody may ask."""
    attempts: list[float] = []

    def second_time(request: Request) -> Reply:
        if request.route != HUGGINGPLACE_PATH:
            return Reply(404)
        attempts.append(time.monotonic())
        return Reply(503 if len(attempts) < 3 else 200)

    with ScriptedServer(second_time) as server:
        receipt = HuggingPlace("key", "org", base_url=server.url, retry_delay=0.02).log(
            {"user_prompt": "q", "response": "a"}
        )
        receipt.result(timeout=30)
    assert len(attempts) == 3


def test_what_uses_a_logger_keeps_it_alive() -> None:
    """A session, a method and a traced function log for as long as they are there."""
    with ScriptedServer(batching()) as server:
        session = HuggingPlace("key", "org", base_url=server.url).start_session()
        log = PromptStackLogger("key", server.url, flush_interval=0).log_prompt
        traced = PromptStackLogger("key", server.url, flush_interval=0).trace(str.upper)
        for _ in range(3):
            gc.collect()
            session.log({"user_prompt": "q", "response": "a"}).result(timeout=5)
            assert log("q", "a")
            assert traced("q") == "Q"
            time.sleep(0.05)  # for a logger that is gone to be closed
        server.wait_for(9)


# -- Ctrl-C --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 0.02])
def test_a_third_ctrl_c_costs_no_record(after: float, tmp_path: Path) -> None:
    """The backend hangs; the second Ctrl-C ends the waiting, the third comes while the queue is written."""
    with ScriptedServer(lambda _request: Hang()) as server:
        program = """
        logger = make(exit_timeout=3, timeout=60, batching="always", flush_interval=60, queue_size=20_000)
        for number in range(10_000):
            logger.log_prompt("q", "a")
        import atexit
        atexit.register(lambda: print("leaving", flush=True))
        print("ready", flush=True)
        time.sleep(30)
        """
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "URL": server.url},
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "leaving\n"
        process.send_signal(signal.SIGINT)
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert len(set(spooled_ids(tmp_path))) == 10_000
