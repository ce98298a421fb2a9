"""What happens to records when a process ends or forks. Real processes, real backends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, Reply, batching
from tests.support.timing import assert_in_time


def spooled_lines(tmp_path: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in (tmp_path / "state").rglob("*.v1.jsonl"))


def spooled_ids(tmp_path: Path) -> list[str]:
    paths = (tmp_path / "state").rglob("*.v1.jsonl")
    return [json.loads(line)["id"] for path in paths for line in path.read_text().splitlines()]


def ids(server: ScriptedServer) -> list[int]:
    return sorted(body["metadata"]["number"] for _, body in server.records())


LOG_500 = """
logger = make(flush_interval=5.0)
for number in range(500):
    assert logger.log_prompt("q", "a", metadata={"number": number})
"""


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError('the application failed')"])
def test_the_exit_delivers_without_being_asked(ending: str) -> None:
    """Normal end, sys.exit and an unhandled exception: what was logged is delivered, without a line."""
    with ScriptedServer(batching()) as server:
        finished = run_python(LOG_500 + ending, url=server.url)
        assert ids(server) == list(range(500))
    assert ("the application failed" in finished.stderr) == ("raise" in ending)
    assert ("banyan_hp" in finished.stderr, finished.on_disk) == (False, 0)


def test_the_exit_with_the_backend_down_is_quick_quiet_and_loses_nothing(tmp_path: Path) -> None:
    """Records go to disk within a bounded time, one line says so, the next process delivers them."""
    with ScriptedServer() as reserved:
        port = reserved.port
    url = f"http://127.0.0.1:{port}"
    finished = run_python(LOG_500 + "leave()", url=url)
    # The sender may have tried already, and said so.
    unexpected = [line for line in finished.stderr.splitlines() if "the backend can't be reached" not in line]
    assert (finished.status, finished.stdout, unexpected, finished.on_disk) == (0, "", [], 500)
    exit_seconds = finished.exit_seconds
    assert spooled_lines(tmp_path) == 500
    with ScriptedServer(batching(), port=port) as server:
        next_process = """
            logger = make()
            logger.log_prompt("q", "a", metadata={"number": 500})
            while logger.get_stats()["logs_recovered"] < 500:
                logger.flush(1)
        """
        finished = run_python(next_process, url=url)
        assert finished.status == 0, finished.stderr
        assert ids(server) == list(range(501))
    assert spooled_lines(tmp_path) == 0
    assert_in_time(exit_seconds, 2)


def test_the_exit_does_not_wait_for_a_backend_that_hangs(tmp_path: Path) -> None:
    """`exit_timeout` bounds the exit; what was under way is on disk."""
    with ScriptedServer(lambda _request: Hang()) as server:
        finished = run_python(
            """
            logger = make(exit_timeout=0.5, timeout=60, batching="always")
            for number in range(50):
                logger.log_prompt("q", "a")
            leave()
            """,
            url=server.url,
        )
    assert (finished.status, finished.stderr) == (0, "")
    assert spooled_lines(tmp_path) == 50
    assert_in_time(finished.exit_seconds, 2)


def test_kill_9_loses_nothing_with_durability_disk(tmp_path: Path) -> None:
    """1,000 calls returned, then SIGKILL: all 1,000 arrive through the next process, each once."""
    with Backend() as backend:
        port, key = backend.port, backend.api_key
        backend.stop()
        killed = run_python(
            """
            import signal
            logger = make(durability="disk")
            for number in range(1000):
                assert logger.log_prompt("q", "a", metadata={"number": number})
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            url=f"http://127.0.0.1:{port}",
        )
        assert killed.status == -signal.SIGKILL
        assert spooled_lines(tmp_path) == 1000
        backend.start()
        finished = run_python(
            """
            logger = make()
            logger.log_prompt("the one that starts the worker", "a")
            while logger.get_stats()["logs_recovered"] < 1000:
                logger.flush(1)
            """,
            url=backend.url,
            BANYAN_API_KEY=key,
        )
        assert finished.status == 0, finished.stderr
        assert (backend.count(), backend.deliveries()) == (1001, 1001)


def test_a_forked_child_sends_its_own_and_only_its_own() -> None:
    """Fork while records wait and a request is under way: parent's and child's arrive once each."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            logger = make(flush_interval=0.3)
            for number in range(300):
                logger.log_prompt("q", "a", metadata={"number": number})
            pid = os.fork()
            if pid == 0:
                assert logger.get_stats()["logs_queued"] == 0
                for number in range(300, 450):
                    assert logger.log_prompt("q", "a", metadata={"number": number})
                assert logger.flush(10)
                assert logger.get_stats()["logs_sent"] == 150
                os._exit(0)
            for number in range(450, 600):
                logger.log_prompt("q", "a", metadata={"number": number})
            _, status = os.waitpid(pid, 0)
            assert status == 0
            assert logger.flush(10)
            assert logger.get_stats()["logs_sent"] == 450
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        assert ids(server) == list(range(600))
        assert len(set(server.ids())) == 600


def test_a_destructor_that_logs_in_the_middle_of_a_log_call_does_no_harm() -> None:
    """The garbage collector may call us while we hold our lock: no deadlock, no record lost."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            import gc
            logger = make()
            count = 0
            class Chatty:
                def __init__(self):
                    self.me = self
                def __del__(self):
                    global count
                    count += logger.log_prompt("from __del__", "a", metadata={"number": -1})
            gc.set_threshold(1, 1, 1)
            for number in range(2000):
                Chatty()
                assert logger.log_prompt("q", "a", metadata={"number": number, "more": [[], {}]})
            gc.collect()
            assert logger.flush(20)
            stats = logger.get_stats()
            assert count > 1500, count
            assert stats["logs_sent"] == stats["logs_queued"] == 2000 + count, stats
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr


def test_ctrl_c_in_shutdown_still_leaves_the_records_on_disk(tmp_path: Path) -> None:
    """Impatience while the backend hangs costs no record."""
    with ScriptedServer(lambda _request: Hang()) as server:
        finished = run_python(
            """
            import signal
            logger = make(timeout=60, batching="always")
            for number in range(50):
                logger.log_prompt("q", "a")
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                logger.shutdown(30)
            except KeyboardInterrupt:
                leave()
                print("interrupted")
            """,
            url=server.url,
        )
    assert (finished.stdout, finished.stderr) == ("interrupted\n", "")
    assert spooled_lines(tmp_path) == 50
    assert_in_time(finished.exit_seconds, 10)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver_what_they_log(method: str, tmp_path: Path) -> None:
    """They leave without running atexit; their records arrive all the same."""
    with ScriptedServer(batching()) as server:
        (tmp_path / "work.py").write_text(
            "import os\nfrom banyan_hp import PromptStackLogger\n"
            "logger = PromptStackLogger('psk_local', os.environ['URL'], flush_interval=30)\n"
            "def work(number):\n    logger.log_prompt('q', 'a', metadata={'number': number})\n"
        )
        finished = run_python(
            f"""
            import multiprocessing, sys
            sys.path.insert(0, {str(tmp_path)!r})
            import work
            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                children = [context.Process(target=work.work, args=(number,)) for number in range(4)]
                for child in children: child.start()
                for child in children: child.join()
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        assert ids(server) == [0, 1, 2, 3]


def test_a_forked_child_asks_for_prompts_on_a_connection_of_its_own() -> None:
    """Parent and child get the prompts that they asked for, even at the same time."""
    with ScriptedServer() as server:
        server.handler = lambda request: Reply(
            200, {"prompt_id": "1", "name": request.route.rpartition("/")[2], "content": "c"}
        )
        finished = run_python(
            """
            logger = make()
            assert logger.get_prompt("warm").name == "warm"
            pid = os.fork()
            who = "child" if pid == 0 else "parent"
            for number in range(100):
                assert logger.get_prompt(f"{who}-{number}").name == f"{who}-{number}"
            if pid == 0:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        assert server.connections >= 2


def test_memory_stays_inside_queue_bytes_while_a_backend_hangs() -> None:
    """A burst of 60,000 records that can't be sent: the process grows by `queue_bytes` and little more."""
    with ScriptedServer(lambda _request: Hang()) as server:
        finished = run_python(
            """
            import resource
            def peak_mib():
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            logger = make(spool=False, queue_bytes=16 * 2**20, queue_size=10**6, batching="always")
            logger.log_prompt("warm", "up")
            before = peak_mib()
            for number in range(60_000):
                texts = f"{number} " + "q" * 500, "a" * 800 + str(number)
                logger.log_prompt(*texts, metadata={"number": number})
            grown = peak_mib() - before
            stats = logger.get_stats()
            assert 12 * 2**20 < stats["queue_bytes"] <= 16 * 2**20, stats["queue_bytes"]
            assert stats["drops"]["queue_full"] > 40_000, stats
            assert grown < 16 + 20, grown
            logger.shutdown(0)
            """,
            url=server.url,
        )
    assert finished.status == 0, finished.stderr


def test_blocking_is_bounded_when_a_backend_asks_for_long_patience() -> None:
    """`Retry-After: 300` does not hold a request handler: False after the attempts' time."""
    with ScriptedServer(lambda _request: Reply(429, {}, {"Retry-After": "300"})) as server:
        finished = run_python(
            """
            logger = make(timeout=0.2, max_retries=1, batching="never")
            began = time.monotonic()
            assert logger.log_prompt("q", "a", blocking=True) is False
            assert time.monotonic() - began < 30, "as if it obeyed"
            logger.shutdown(0.5)
            assert logger.get_stats()["logs_spooled"] == 1
            """,
            url=server.url,
        )
    assert finished.status == 0, finished.stderr


@pytest.mark.parametrize("warm", [True, False])
def test_a_child_that_clears_atexit_and_runs_it_at_its_end_delivers(warm: bool) -> None:
    """As task runners do; whether or not the parent has logged before the fork."""
    program = f"""
    import atexit
    logger = make(flush_interval=30)
    if {warm}: logger.log_prompt("q", "a", metadata={{"number": 100}})
    if not os.fork():
        atexit._clear()
        for number in range(5): logger.log_prompt("q", "a", metadata={{"number": number}})
        atexit._run_exitfuncs()
        os._exit(0)
    os.wait()
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(program, url=server.url)
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [*range(5), *([100] if warm else [])]


LEAVING = {
    "_exit": "os._exit(0)",
    "exec": "os.execv(sys.executable, [sys.executable, '-c', ''])",
}


@pytest.mark.parametrize("leave", LEAVING)
def test_drain_before_an_end_without_hooks_delivers(leave: str) -> None:
    """What other processes have left, too; the process may go on after it, and drain again."""
    program = f"""
    if not os.fork():
        make(durability="disk", flush_interval=30).log_prompt("q", "a", metadata={{"number": 20}})
        os._exit(0)
    os.wait()
    logger = make(flush_interval=30)
    for first in (0, 10):
        for number in range(first, first + 10): logger.log_prompt("q", "a", metadata={{"number": number}})
        assert banyan.drain()
    {LEAVING[leave]}
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(program, url=server.url)
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == list(range(21))


def test_drain_writes_first_and_has_a_deadline(tmp_path: Path) -> None:
    """A backend that hangs: False within the time, and all is on disk."""
    with ScriptedServer(lambda _request: Hang()) as server:
        program = """
        logger = make(batching="always")
        for number in range(50): logger.log_prompt("q", "a")
        began = time.monotonic()
        print(banyan.drain(0.3), time.monotonic() - began)
        os._exit(0)
        """
        finished = run_python(program, url=server.url)
    result, seconds = finished.stdout.split()
    assert (finished.status, result, finished.stderr) == (0, "False", "")
    assert spooled_lines(tmp_path) == 50
    assert_in_time(float(seconds), 1.3)
