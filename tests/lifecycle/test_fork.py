"""Forks at any moment, from any thread, however made: nothing twice, nothing lost, nothing shared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lifecycle.test_exit_and_fork import ids
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching

CHILDREN = """
def child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid

def wait(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "a child failed"

def log(logger, *numbers):
    for number in numbers:
        assert logger.log_prompt("q", "a", metadata={"number": number})
"""


def check(program: str, *, expected: int, timeout: float = 30) -> None:
    """Run it; all numbers below `expected` arrive, each once, under as many ids."""
    with ScriptedServer(batching()) as server:
        finished = run_python(CHILDREN + program, url=server.url, timeout=timeout)
        assert (finished.status, finished.stderr) == (0, ""), finished.stderr
        assert ids(server) == list(range(expected))
        assert len(set(server.ids())) == expected


@pytest.mark.parametrize("lock", ["guard", "spool", "prompts", "logging", "default"])
def test_a_lock_held_at_the_fork_does_not_hang_the_child(lock: str) -> None:
    """Another thread is inside a section of ours, or of `logging`, and does not exist in the child."""
    check(
        f"""
import logging
import banyan_hp.clients.banyan as banyan_clients
logger = banyan.configure("psk_local", os.environ["URL"], flush_interval=0.05)
log(logger, 0)
assert logger.flush(5)
engine = logger._engine
handler = logging.StreamHandler(open(os.devnull, "w"))
logging.getLogger("banyan_hp").addHandler(handler)
locks = {{
    "guard": engine.core.parts.lock,
    "spool": engine.core.parts.spool._lock,
    "prompts": logger._prompts.cache._state.lock,
    "logging": handler.lock,
    "default": banyan_clients._default_lock,
}}
held, go = threading.Event(), threading.Event()
def hold():
    with locks[{lock!r}]:
        held.set()
        go.wait(20)
threading.Thread(target=hold, daemon=True).start()
held.wait(5)
def work():
    banyan.log_prompt("q", "a", metadata={{"number": 1}})
    assert not logger.log_prompt("q", "a", metadata="text")  # which is warned of
    logger.get_prompt("nothing")
    stats = logger.get_stats()
    assert (stats["logs_queued"], stats["logs_rejected"]) == (1, 1), stats
    assert "metadata must be a dict or None" in str(logger.health()["reasons"])
    assert logger.shutdown(5)
    assert logger.get_stats()["logs_sent"] == 1
pid = child(work)
wait(pid)
go.set()
""",
        expected=2,
    )


def test_without_fork_hooks_the_process_id_tells() -> None:
    """A server that forks past Python's hooks: each call finds out by itself, many threads together."""
    check(
        """
import banyan_hp.engine.process.exit as process_exit
process_exit._engines.clear()  # what the hook would find
logger = make(flush_interval=0.3)
log(logger, *range(50))
process_exit._engines.clear()
def asks_first():
    stats = logger.get_stats()
    assert (stats["logs_queued"], stats["worker_alive"]) == (0, False), stats
    log(logger, 50)
    assert logger.flush(5)
def flushes_first():
    assert logger.flush(5).ledger["accepted"] == 0
    log(logger, 51)
    assert logger.shutdown(5)
def many_at_once():
    ready = threading.Barrier(8)
    def run(number):
        ready.wait(5)
        log(logger, number)
    threads = [threading.Thread(target=run, args=(52 + n,)) for n in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert logger.flush(5)
    assert logger.get_stats()["logs_sent"] == 8, logger.get_stats()
def ends_first():
    assert logger.shutdown(5).ledger["accepted"] == 0
for work in (asks_first, flushes_first, many_at_once, ends_first):
    wait(child(work))
assert logger.flush(5)
assert logger.get_stats()["logs_sent"] == 50
logger.shutdown(5)
""",
        expected=60,
    )


def test_what_is_logged_while_the_child_is_made_anew_arrives() -> None:
    """A destructor may log in the middle of that, and again in the middle of what that brings about."""
    check(
        """
logger = make(flush_interval=0.05)
log(logger, 0)
assert logger.flush(5)
import banyan_hp.engine.parts as parts
destructors = {}
def interrupted(name, make):
    def run(*args, **options):
        part = make(*args, **options)
        if name in destructors:
            log(logger, destructors.pop(name))
        return part
    return run
names = ["EngineLock", "Ledger", "Queue", "Scheduler", "Worker"]
for name in names:
    setattr(parts, name, interrupted(name, getattr(parts, name)))
def work():
    log(logger, 6)
    assert logger.shutdown(5)
    assert logger.get_stats()["logs_sent"] == 6, logger.get_stats()
destructors.update(zip(names, range(1, 6)))
wait(child(work))
""",
        expected=7,
    )


def test_a_destructor_that_logs_in_the_middle_of_threadings_own_fork_hook_is_delivered() -> None:
    """A thread started there would be forgotten at once: KeyError on stderr, and nobody who sends."""
    check(
        """
logger = make(flush_interval=0.05)
log(logger, 0)
assert logger.flush(5)
parent, enumerate_threads = os.getpid(), threading._enumerate
def interrupted():
    if os.getpid() != parent:
        log(logger, 1)
    return enumerate_threads()
threading._enumerate = interrupted  # which the hook calls, holding a lock of its own
def work():
    end = time.monotonic() + 30
    while not logger.get_stats()["logs_sent"] and time.monotonic() < end:  # with no call that would help
        time.sleep(0.01)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["worker_alive"]) == (1, True), stats
    logger.shutdown(5)
wait(child(work))
""",
        expected=2,
    )


def test_grandchildren_and_forks_from_threads() -> None:
    """Each generation sends its own, whichever thread forked it."""
    check(
        """
logger = make(flush_interval=0.2)
def generation(number):
    def work():
        log(logger, *range(number * 10, number * 10 + 10))
        if number < 3:
            if number == 1:
                thread = threading.Thread(target=lambda: wait(child(generation(number + 1))))
                thread.start()
                thread.join()
            else:
                wait(child(generation(number + 1)))
        assert logger.flush(5)
        stats = logger.get_stats()
        assert stats["logs_sent"] == stats["logs_queued"] == 10, stats
    return work
generation(0)()
""",
        expected=40,
    )


def test_forks_while_threads_log_to_disk() -> None:
    """Twenty forks while the spool is being written: parent's and children's records arrive once each."""
    check(
        """
logger = make(durability="disk", flush_interval=0.02)
stop = threading.Event()
logged = []
def keep_logging(offset):
    number = offset
    while not stop.is_set() and number < offset + 1000:
        log(logger, number)
        logged.append(number)
        number += 1
        time.sleep(0.0005)
threads = [threading.Thread(target=keep_logging, args=(n * 1000,)) for n in range(2)]
for thread in threads: thread.start()
def work(number):
    def run():
        log(logger, number)
        assert logger.shutdown(10)
    return run
wait(*[child(work(2000 + n)) for n in range(20)])
stop.set()
for thread in threads: thread.join()
assert logger.flush(10)
missing = sorted(set(range(2000)) - set(logged))
log(logger, *missing)
""",
        expected=2020,
    )


def test_a_child_of_a_logger_in_shutdown_ends_at_once() -> None:
    """The parent is in the middle of `shutdown()`: the child is shut down, refuses, and waits for nobody."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CHILDREN
            + """
logger = make()
log(logger, 0)
inside, go = threading.Event(), threading.Event()
join = logger._engine.core.parts.worker.join
logger._engine.core.parts.worker.join = lambda deadline: (inside.set(), go.wait(40), join(deadline))
thread = threading.Thread(target=logger.shutdown, args=(60,))
thread.start()
inside.wait(40)
def work():
    began = time.monotonic()
    assert not logger.log_prompt("q", "a")
    assert logger.get_stats()["logs_rejected"] == 1
    logger.shutdown(40)
    assert time.monotonic() - began < 20, "it waited"
wait(child(work))
go.set()
thread.join()
""",
            url=server.url,
        )
        assert finished.status == 0
        assert finished.stderr.count("is used after its shutdown()") == finished.stderr.count("\n") == 1
        assert ids(server) == [0]


def test_a_child_closes_the_leases_of_its_parent() -> None:
    """It keeps no descriptor of a segment open: when the parent dies, others may send its records at once."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CHILDREN
            + """
logger = make(durability="disk", flush_interval=30)
log(logger, 0)
mine = lambda: [n for n in os.listdir("/dev/fd") if ".jsonl" in os.path.realpath(f"/dev/fd/{n}")]
assert len(mine()) == 1, mine()
def work():
    assert mine() == [], mine()
wait(child(work))
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [0]


WORK = """
import os, sys
from banyan_hp import PromptStackLogger
logger = PromptStackLogger('psk_local', os.environ['URL'], flush_interval=30)
def work(number):
    assert logger.log_prompt('q', 'a', metadata={'number': number})
    return number
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool_executors_deliver_what_their_workers_log(method: str, tmp_path: Path) -> None:
    """They leave past `atexit`."""
    (tmp_path / "work.py").write_text(WORK)
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"""
sys.path.insert(0, {str(tmp_path)!r})
import multiprocessing, work
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as pool:
        assert list(pool.map(work.work, range(20))) == list(range(20))
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == list(range(20))


def test_what_a_spawned_child_logs_while_it_is_still_being_made_arrives(tmp_path: Path) -> None:
    """multiprocessing forgets the finalizers made before a child's own beginning."""
    at_import = "if __name__ != '__main__' and 'CHILD' in os.environ: work(0)\n"
    (tmp_path / "work.py").write_text(WORK + at_import)
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"""
sys.path.insert(0, {str(tmp_path)!r})
import multiprocessing, work
if __name__ == "__main__":
    os.environ["CHILD"] = "1"
    child = multiprocessing.get_context("spawn").Process(target=work.work, args=(1,))
    child.start()
    child.join()
    assert child.exitcode == 0
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [0, 1]


def test_billiard_s_children_deliver_what_they_log(tmp_path: Path) -> None:
    """Celery's fork of multiprocessing leaves past `atexit`, too."""
    (tmp_path / "work.py").write_text(WORK)
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"""
sys.path.insert(0, {str(tmp_path)!r})
import billiard, work
if __name__ == "__main__":
    children = [billiard.Process(target=work.work, args=(number,)) for number in range(3)]
    for child in children: child.start()
    for child in children: child.join()
    work.work(3)
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [0, 1, 2, 3]


def test_coroutines_that_waited_at_the_fork_disturb_nothing_in_the_child() -> None:
    """The child's copy of the wait ends without making later records linger, or later waits hang."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CHILDREN
            + """
import asyncio
from banyan_hp import HuggingPlace
client = HuggingPlace("psk_local", "org", base_url=os.environ["URL"], flush_interval=30, batching="always")
async def in_the_child():
    began = time.monotonic()
    await asyncio.wait_for(client.log({"user_prompt": "p", "response": "child"}), 25)
    assert time.monotonic() - began < 25, "it lingered"
async def main():
    receipts = [client.log({"user_prompt": "p", "response": str(n)}) for n in range(3)]
    waits = [asyncio.ensure_future(receipt) for receipt in receipts]
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        try:
            for receipt in receipts: receipt.close()
            assert not client._engine.core.parts.watchers
            asyncio.run(in_the_child())
            assert client.get_stats()["logs_sent"] == 1
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    await asyncio.gather(*waits)
    assert os.waitpid(pid, 0)[1] == 0
asyncio.run(main())
client.shutdown(5)
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


def test_a_receipt_of_the_parent_s_is_not_waited_for_in_the_child() -> None:
    """Nothing more is heard of it there: the wait ends at once, and not as delivered."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CHILDREN
            + """
from banyan_hp import HuggingPlace, HuggingPlaceSDKError
client = HuggingPlace("psk_local", "org", base_url=os.environ["URL"], flush_interval=30)
receipt = client.log({"user_prompt": "p", "response": "r"})
def work():
    began = time.monotonic()
    try:
        receipt.result(40)
    except HuggingPlaceSDKError:
        assert time.monotonic() - began < 20, "it waited"
    else:
        raise AssertionError("delivered?")
wait(child(work))
client.shutdown(5)
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_parent_and_child_share_no_connection() -> None:
    """Requests at the same time go over connections of their own, although the parent's was kept open."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CHILDREN
            + """
logger = make(flush_interval=0.001)
log(logger, 0)
assert logger.flush(5)
def work():
    for number in range(1, 21):
        log(logger, number)
        assert logger.flush(5)
pid = child(work)
for number in range(21, 41):
    log(logger, number)
    assert logger.flush(5)
wait(pid)
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == list(range(41))
        by_connection: dict[int, set[str]] = {}
        for request in server.requests:
            for record in request.json()["records"] if b'"records"' in request.body else []:
                by_connection.setdefault(request.connection, set()).add(record["id"].partition("-")[0])
        assert all(len(processes) == 1 for processes in by_connection.values()), by_connection
