"""What differs from one Python to the next: start methods, subinterpreters, collectors, threads, sizes."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from banyan_hp import PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.ledger import assert_balanced
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer, batching, records_in

IN_SUBINTERPRETERS = """
import _interpreters
program = '''
import gc, logging, os, warnings
warnings.simplefilter("ignore")  # a compiled dependency of requests can't be imported here
from banyan_hp import PromptStackLogger
logging.disable()  # a line says that there is no thread
logger = PromptStackLogger("psk_local", os.environ["URL"], flush_interval=30)
logger.log_prompt("q", "a", metadata={"number": 0})
logger.log_prompt("q", "a", metadata={"number": 1})
print(logger.flush(10).delivered, flush=True)
logger.log_prompt("q", "a", metadata={"number": 2})
gc.collect()
'''
for _ in range(int(os.environ["COUNT"])):
    made = _interpreters.create(os.environ["KIND"])
    failure = _interpreters.exec(made, program)
    assert failure is None, failure.errdisplay
    _interpreters.destroy(made)
"""


def log(logger: PromptStackLogger, first: int, count: int) -> None:
    for number in range(first, first + count):
        assert logger.log_prompt("q", ["a", {"b": "c"}], metadata={"number": number})


def in_threads(*work: Callable[[], None]) -> None:
    """All begin at once; what one raises is raised here."""
    ready = threading.Barrier(len(work))

    def run(each: Callable[[], None]) -> None:
        ready.wait(10)
        each()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(run, each) for each in work]:
            done.result(30)


def numbers(server: ScriptedServer) -> list[int]:
    """What arrived, in order of its number."""
    return sorted(
        body["metadata"]["number"] for request in server.requests for _, body in records_in(request)
    )


def test_children_deliver_where_forkserver_is_the_default(tmp_path: Path) -> None:
    """As on Python 3.14 and later: a child that is started without naming a method delivers what it logs."""
    (tmp_path / "work.py").write_text(
        "import os\nfrom banyan_hp import PromptStackLogger\n"
        "logger = PromptStackLogger('psk_local', os.environ['URL'], flush_interval=30)\n"
        "def work(number):\n    logger.log_prompt('q', 'a', metadata={'number': number})\n"
    )
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"""
            import multiprocessing
            sys.path.insert(0, {str(tmp_path)!r})
            import work
            if __name__ == "__main__":
                multiprocessing.set_start_method("forkserver")
                child = multiprocessing.Process(target=work.work, args=(0,))
                child.start()
                work.work(1)
                child.join()
            """,
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert numbers(server) == [0, 1]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="no way to make a subinterpreter before Python 3.13")
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython has subinterpreters")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_a_subinterpreter_delivers_what_it_logs(kind: str, count: int) -> None:
    """With threads, and where none of ours can even be made: then its calls send. So does its end.

    More than one after the other, too: orjson, which ends such a process, is not asked for there.
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(IN_SUBINTERPRETERS, url=server.url, KIND=kind, COUNT=str(count))
        assert (finished.status, finished.stdout, finished.stderr) == (0, "True\n" * count, "")
        assert numbers(server) == sorted([0, 1, 2] * count)


@pytest.fixture
def eager_collector() -> Iterator[None]:
    """Collects at each new container."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython has thresholds")
def test_a_collector_in_the_middle_of_calls_loses_nothing(
    make_logger: MakeLogger, server: ScriptedServer, eager_collector: None
) -> None:
    """Whatever step of a call a collection interrupts, each record arrives once."""
    server.handler = batching()
    logger = make_logger(server.url)
    in_threads(partial(log, logger, 0, 20), partial(log, logger, 20, 20))
    assert logger.flush(10)
    assert numbers(server) == list(range(40))


def test_records_are_conserved_at_every_read_of_the_statistics(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """With eight threads at once, on free-threaded builds in parallel."""
    server.handler = batching()
    logger = make_logger(server.url)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            assert_balanced(logger.get_stats())

    def write() -> None:
        in_threads(*(partial(log, logger, first, 50) for first in range(0, 400, 50)))
        over.set()

    in_threads(read, write)
    assert logger.flush(10)
    assert_balanced(logger.get_stats())
    assert numbers(server) == list(range(400))


def test_a_python_that_tells_no_sizes_logs_all_the_same(server: ScriptedServer) -> None:
    """PyPy's `sys.getsizeof` raises TypeError: the bytes in the queue are estimated."""
    server.handler = batching()
    finished = run_python(
        """
        logger = make(flush_interval=30)
        assert logger.log_prompt("q" * 1000, ["a"], metadata={"number": 0})
        print(logger.get_stats()["queue_bytes"] > 1000, logger.flush(10).delivered)
        """,
        before="import sys\ndef refuse(*_): raise TypeError\nsys.getsizeof = refuse\n",
        url=server.url,
    )
    assert (finished.stdout, finished.stderr) == ("True True\n", "")
