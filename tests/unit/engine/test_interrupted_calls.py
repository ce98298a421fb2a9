"""An exception of a signal handler that leaves a public call leaves no lock held, wherever it strikes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from banyan_hp import PromptStackLogger
from banyan_hp.engine import parts
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.process import exit as process_exit
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.spool import disk as spool_disk
from banyan_hp.engine.spool import spool
from banyan_hp.engine.sync import EngineLock, Lock, ReleasingOnError
from tests.support.clock import FakeClock
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.stepped import FakeBackend, SteppedEngine, down
from tests.support.striking import is_inside

Call = Callable[[SteppedEngine], object]


class Interrupted(KeyboardInterrupt):
    """What a signal handler raises."""


class InterruptedLock(EngineLock):
    """As CPython 3.14 has it: the exception strikes when the lock is held, and before the section begins."""

    __slots__ = ()
    entries = 0
    strikes_at = 0

    def __enter__(self) -> bool:
        return self._strike(super().__enter__())

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        return self._strike(super().acquire(*args, **kwargs))

    def _strike(self, entered: bool) -> bool:
        InterruptedLock.entries += 1
        if InterruptedLock.entries == InterruptedLock.strikes_at:
            raise Interrupted
        return entered


@pytest.fixture
def _interrupted(monkeypatch: pytest.MonkeyPatch, may_leave: None) -> Iterator[None]:
    for module in (parts, spool, spool_disk):
        monkeypatch.setattr(module, "EngineLock", InterruptedLock)
    yield
    InterruptedLock.strikes_at = 0


def unregister_all() -> None:
    for engine in process_exit.members():
        process_exit.unregister(engine)


def recover(engine: SteppedEngine) -> None:
    engine.backend.behaviour = engine.backend.well
    engine.clock.advance(60)
    engine.flush(1)


CALLS: dict[str, Call] = {
    "log": lambda engine: [engine.log() for _ in range(3)],
    "stats": lambda engine: engine.stats(),
    "health": lambda engine: engine.health(),
    "flush": lambda engine: engine.flush(1),
    "wait": lambda engine: engine.wait_for(engine.log(), 1),  # type: ignore[arg-type]
    "recover": recover,
    "reject": lambda engine: engine.reject("bad input"),
    "retire": lambda engine: engine.core.retire(lambda: None),
    "shutdown": lambda engine: engine.shutdown(1),
    "exit": lambda _engine: process_exit.at_exit(),
}


def interrupt(call: Call, strikes_at: int, directory: Path, durability: str) -> bool:
    """Whether the call was interrupted."""
    backend = FakeBackend()
    backend.behaviour = down
    engine = SteppedEngine(
        backend, FakeClock(), directory, durability=durability, queue_size=4, max_retries=0, overflow="spill"
    )
    for _ in range(3):
        engine.log()
    unregister_all()
    process_exit.register(engine)
    InterruptedLock.entries, InterruptedLock.strikes_at = 0, strikes_at
    with suppress(Interrupted):
        call(engine)
    struck = InterruptedLock.entries >= strikes_at
    InterruptedLock.strikes_at = 0
    assert [lock.is_mine() for lock in engine.locks] == [False, False, False], strikes_at
    engine.shutdown(0)
    assert [lock.is_mine() for lock in engine.locks] == [False, False, False], strikes_at
    return struck


@pytest.mark.parametrize("durability", ["memory", "disk"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("_interrupted")
def test_whatever_section_is_interrupted_no_lock_stays_held(
    call: str, durability: str, tmp_path: Path
) -> None:
    """Of the engine and its spool; the next calls find them free."""
    try:
        strikes_at = 1
        while interrupt(CALLS[call], strikes_at, tmp_path / str(strikes_at), durability):
            strikes_at += 1
        assert strikes_at > 1
    finally:
        unregister_all()


def test_what_was_held_before_stays_held() -> None:
    """A destructor that is interrupted inside a section of its thread leaves that section whole."""
    outer, inner = EngineLock(), EngineLock()
    with outer:
        with suppress(Interrupted), ReleasingOnError((outer, inner)):
            inner.__enter__()
            raise Interrupted
        assert (outer.is_mine(), inner.is_mine()) == (True, False)


def is_free(lock: Lock) -> bool:
    entered: list[bool] = []

    def enter() -> None:
        with lock:
            entered.append(True)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(5)
    return bool(entered)


@pytest.fixture
def _swallowed_in_destructors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter reports an exception that strikes in a destructor or a callback of the collector."""
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            report(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", hook)


@pytest.mark.usefixtures("_swallowed_in_destructors")
@pytest.mark.parametrize("contended", [False, True])
@pytest.mark.parametrize("interruptions", [100, pytest.param(5000, marks=pytest.mark.soak)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a destructor
def test_timer_signals_in_the_middle_of_calls(
    interruptions: int,
    contended: bool,
    tmp_path: Path,
) -> None:
    """Their handler raises at any point: each time the locks are free, and the ledger is right at the end.

    `contended`: another thread holds the engine's lock half of the time, so callers use the inbox.
    """

    def strike(_signal: int, frame: FrameType | None) -> None:
        if is_inside(frame, log_on_and_on):
            raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    with ScriptedServer(batching()) as server:
        logger = PromptStackLogger("psk", server.url, spool_dir=tmp_path, flush_interval=0.01)
        engine = part_of(logger, Engine)
        locks, over = engine.locks, threading.Event()

        def hold() -> None:
            while contended and not over.wait(0.0003):
                with locks[0]:
                    over.wait(0.0003)

        def log_on_and_on() -> None:
            while True:
                logger.log_prompt("question", "answer")
                logger.get_stats()

        holder = threading.Thread(target=hold)
        holder.start()
        try:
            for number in range(interruptions):
                with suppress(Interrupted):
                    # Again and again: one that strikes in a destructor is swallowed by the interpreter.
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 + (number % 97) * 0.00001, 0.5)
                    log_on_and_on()
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert not any(lock.is_mine() for lock in locks)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            over.set()
            holder.join()
        assert all(is_free(lock) for lock in locks)
        logger.shutdown(10)
        assert engine.core.parts.ledger.own.balanced()
        assert not engine.core.parts.inbox.records


def test_an_interrupted_call_gives_up_nothing_that_a_worker_has_in_hand(tmp_path: Path) -> None:
    """The record was taken between the end of its section and the interrupt: nothing is wrong with it."""
    backend = FakeBackend()
    engine = SteppedEngine(backend, FakeClock(), tmp_path, batching="always")
    record = engine.log()
    assert record is not None
    engine.ledger.own.hand_over(engine.queue.take(1, 10**9))
    engine.core.intake._withdraw(record)  # private: what an interrupted call does, without the interrupt
    assert (record.term, record.claimed) == (Term.IN_FLIGHT, False)
    assert engine.ledger.own.drops == {}


def test_a_record_past_a_full_queue_is_read_back_though_its_caller_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception strikes when the record is on disk and counted, but not yet released from memory."""
    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path, queue_size=1)
    engine.log()
    assert engine.spool is not None
    release = engine.spool.release

    def strike(*_records: Any, **_options: Any) -> None:
        monkeypatch.setattr(engine.spool, "release", release)
        raise Interrupted

    monkeypatch.setattr(engine.spool, "release", strike)
    with pytest.raises(Interrupted):
        engine.log()
    assert engine.flush(5)
    stats = engine.stats()
    assert (stats["logs_queued"], stats["logs_sent"], stats["logs_spooled"]) == (2, 2, 0)
