"""What earlier processes have left on disk, with real processes, threads and descriptors."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tests.lifecycle.test_spool_survival import DRAIN
from tests.support.backend import Backend
from tests.support.patience import PATIENCE
from tests.support.process import run_python
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Hang, Reply, Request, batching, records_in

LOG_FIVE = """
logger = make(max_retries=0)
for number in range(5):
    assert logger.log_prompt("q", "a", metadata={"number": number})
logger.shutdown(5)
assert logger.get_stats()["logs_spooled"] == 5
"""

LOG_AND_FLUSH = """
banyan.configure(api_key="psk_local", base_url=os.environ["URL"])
banyan.log_prompt("q", "a")
result = banyan.flush(5)
assert result.delivered, result
print(result.backlog + result.backlog_bytes)
"""

FLUSH_ONLY = """
banyan.configure(api_key="psk_local", base_url=os.environ["URL"])
result = banyan.flush(5)
assert result.delivered, result
print(result.backlog + result.backlog_bytes)
"""


@pytest.mark.parametrize("program", [LOG_AND_FLUSH, FLUSH_ONLY])
def test_a_short_script_sends_what_an_earlier_one_left_and_sends_it_once(program: str) -> None:
    """Configure, flush, end: after one run nothing is left, and no run repeats anything."""
    with Backend() as backend:
        backend.stop()
        finished = run_python(LOG_FIVE, url=backend.url)
        assert (finished.status, finished.others) == (0, "")
        backend.start()
        for _ in range(3):
            finished = run_python(program, url=backend.url)
            assert (finished.status, finished.stdout) == (0, "0\n"), finished.stderr
        expected = 5 + (3 if program is LOG_AND_FLUSH else 0)
        assert (backend.count(), backend.deliveries()) == (expected, expected)


class Slow:
    """A backend that is down at first. Later others' records are answered when their sender leaves."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.up = False
        self._leaves = threading.Event()
        self._well = batching()

    def __call__(self, request: Request) -> Answer:
        if not self.up:
            return Reply(503)
        if request.route == "/leaves":
            self._leaves.set()
            return Reply(200)
        records = records_in(request)
        if any(body["metadata"]["number"] >= 0 for _, body in records):
            self._leaves.wait(PATIENCE)
        self.taken.update(ident for ident, _ in records)
        return self._well(request)


ENDS = {
    "shutdown": "logger.shutdown(30)",
    "configure": "banyan.configure(api_key='psk_local', base_url=os.environ['URL'], max_retries=1)",
    "exit": "",
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_awaits_the_responses_to_what_is_in_flight_of_a_backlog(end: str) -> None:
    """With a healthy backend nothing is stored twice, and no further request of the backlog begins."""
    slow = Slow()
    with ScriptedServer(slow) as server:
        leave = LOG_FIVE.replace("range(5)", "range(300)").replace("== 5", "== 300")
        finished = run_python(leave, url=server.url)
        assert finished.status == 0, finished.stderr
        slow.up = True
        finished = run_python(
            f"""
            from urllib.request import urlopen
            logger = banyan.configure(
                api_key="psk_local", base_url=os.environ["URL"], batch_size=100, exit_timeout=20)
            logger.log_prompt("q", "a", metadata={{"number": -1}})
            deadline = time.monotonic() + 30
            engine = logger._engine
            def tell():
                while not engine.closed: time.sleep(0.001)
                urlopen(os.environ["URL"] + "/leaves", data=b"").close()
            threading.Thread(target=tell, daemon=True).start()
            while not engine.core.parts.runner.is_sending_backlog:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            {ENDS[end]}
            """,
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        in_flight = sum(slow.taken.values()) - 1
        finished = run_python(DRAIN, url=server.url)
        assert finished.status == 0, finished.stderr
        assert 0 < in_flight < 300
        assert len(slow.taken) == 302
        assert set(slow.taken.values()) == {1}


def test_an_outage_with_leftovers_leaves_the_application_its_descriptors() -> None:
    """Each probe takes over a segment, and lets it go: with a limit of 128 the application can open files."""
    with Backend() as backend:
        backend.stop()
        finished = run_python(
            """
            import resource
            import banyan_hp.engine.policy.circuit_breaker as gate_module
            gate_module.HURRIED_PROBE_GAP = 0.0
            for number in range(120):
                logger = make(max_retries=0, exit_timeout=0)
                logger.log_prompt("q", "a")
                logger.shutdown(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            before = len(os.listdir("/dev/fd"))
            logger = make(max_retries=0, exit_timeout=0)
            most = 0
            for _ in range(150):
                logger.log_prompt("q", "a")
                logger.flush(0.5)
                most = max(most, len(os.listdir("/dev/fd")))
            assert most - before < 30, (before, most)
            """,
            url=backend.url,
        )
        assert (finished.status, finished.others) == (0, "")


def test_a_forked_child_does_not_wait_for_a_receipt_of_its_parent() -> None:
    """Nothing more is heard of the record there: the await ends at once, as `result()` does."""
    with ScriptedServer(lambda _request: Hang()) as server:
        finished = run_python(
            """
            import asyncio
            from banyan_hp import HuggingPlace
            client = HuggingPlace("hp_local", "org", base_url=os.environ["URL"], exit_timeout=0)
            receipt = client.log({"user_prompt": "q", "response": "a"})
            if os.fork() == 0:
                async def wait():
                    await receipt
                try:
                    asyncio.run(asyncio.wait_for(wait(), 20))
                except Exception as error:
                    print(type(error).__name__, flush=True)
                os._exit(0)
            os.wait()
            """,
            url=server.url,
        )
        assert finished.status == 0, finished.stderr
        assert finished.stdout == "NetworkError\n", finished.stderr
