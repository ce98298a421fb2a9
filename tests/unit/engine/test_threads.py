"""Wherever a start is interrupted: no lock stays held, and a thread either runs or is not noted anywhere."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import banyan_hp
from banyan_hp.engine import threads
from banyan_hp.engine.delivery import worker as worker_module
from banyan_hp.engine.delivery.runner import TaskRunner
from banyan_hp.engine.threads import ThreadStart, start
from banyan_hp.prompts import fetching
from banyan_hp.prompts.fetching import Fetch, FetchThreads
from tests.support.clock import FakeClock
from tests.support.parts import lock_in, part_of
from tests.support.stepped import FakeBackend, SteppedEngine
from tests.support.striking import strikes

LONG = 30.0


def comes_true(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.0001)
    return True


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_start_that_is_interrupted_is_made_or_forgotten() -> None:
    """Never neither, and others can start threads afterwards."""
    noted: set[threading.Thread] = set()
    ran: list[threading.Thread] = []
    forgotten: list[threading.Thread] = []

    def run() -> None:
        me = threading.current_thread()
        ran.append(me)
        noted.discard(me)

    def forget(thread: threading.Thread) -> None:
        forgotten.append(thread)
        noted.discard(thread)

    def begin() -> None:
        thread = threading.Thread(target=run, daemon=True)
        with ThreadStart(thread, partial(forget, thread)) as begun:
            noted.add(thread)
            begun.make()

    for number in strikes(begin, threads, threading):
        assert comes_true(lambda: not noted), number
    assert ran
    assert forgotten
    assert not set(ran).intersection(forgotten)
    other = threading.Thread(target=ran.clear, daemon=True)
    start(other)
    other.join(LONG)
    assert ran == []


def test_a_refused_start_says_so_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the main thread as on others."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    forgotten: list[str] = []
    with pytest.raises(RuntimeError, match="can't start"):  # noqa: SIM117
        with ThreadStart(threading.Thread(), lambda: forgotten.append("here")) as begun:
            begun.make()
    assert "here" in forgotten
    with pytest.raises(RuntimeError, match="can't start"):
        start(threading.Thread())


def test_a_worker_notes_no_thread_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its start is interrupted by: else its records would wait for ever."""
    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path)
    worker, runner = engine.worker, part_of(engine.worker, TaskRunner)
    ran: list[int] = []

    def work() -> None:
        ran.append(number)
        runner.stopping = True

    # private: the thread's work is replaced, so that only its start is what is interrupted
    monkeypatch.setattr(worker, "_may_start", lambda: not runner.stopping)
    # private: likewise
    monkeypatch.setattr(worker, "_work", work)
    number = 0

    def begin() -> None:
        runner.stopping = False
        worker.start()

    for number in strikes(begin, worker_module, threads, threading):
        engine.lock.release_fully()  # as each public call does
        assert comes_true(lambda: not worker.threads), number
    assert ran
    engine.shutdown(0)


def test_a_fetch_that_is_interrupted_gives_its_place_back() -> None:
    """Else there were one fewer of them each time, and none in the end."""
    landed: list[object] = []
    fetchers = FetchThreads(landed.append, threaded=True)

    def begin() -> None:
        fetchers.start(Fetch("question", "key", 0.0))  # type: ignore[arg-type]

    for number in strikes(begin, fetching, threads, threading):
        assert comes_true(lambda: not fetchers._places), number  # private: no call says how many there are
        assert not getattr(*lock_in(fetchers)).is_mine()
    assert landed


def test_a_fetch_on_the_caller_s_thread_gives_its_place_back() -> None:
    """When it is interrupted, too."""
    fetchers = FetchThreads(lambda _fetch: None, threaded=False)

    def begin() -> None:
        fetchers.start(Fetch("question", "key", 0.0))  # type: ignore[arg-type]

    for number in strikes(begin, fetching):
        assert not fetchers._places, number  # private: likewise
        assert not getattr(*lock_in(fetchers)).is_mine()


def test_no_module_starts_a_thread_by_itself() -> None:
    """All go the one way that an exception can't leave half-done; tests and backends are another matter."""
    package = Path(banyan_hp.__file__).parent
    starts = re.compile(r"thread[^\n]*\.start\(\)", re.IGNORECASE)
    paths = [
        path
        for path in package.rglob("*.py")
        if not {"testing", "server"} & {*path.relative_to(package).parts}
    ]
    starters = {path.name for path in paths if starts.search(path.read_text("utf-8"))}
    assert starters == {"threads.py"}
