"""What comes to disk at an engine's end: after failed writes, in little room, with Ctrl-C at any moment."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import banyan_hp.engine
from banyan_hp import PromptStackLogger
from banyan_hp.engine.process import exit as process_exit
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.spool.lines import parse_line
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down

ENGINE_CODE = str(Path(banyan_hp.engine.__file__).parent)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    backend = FakeBackend()
    backend.behaviour = down
    return backend


@pytest.fixture
def leaving(may_leave: None) -> None:
    """The process ends."""
    process_exit.at_exit(0.0)


def ids_on_disk(directory: Path) -> list[str]:
    lines = [
        parse_line(line)
        for path in sorted(directory.rglob("*.v1.jsonl"))
        if "quarantine" not in path.name
        for line in path.read_bytes().splitlines()
    ]
    return [line.id for line in lines if line is not None]


def ids(records: list[Record | None]) -> list[str]:
    return [record.id for record in records if record is not None]


@contextmanager
def full_disk(
    monkeypatch: pytest.MonkeyPatch, room: Callable[[bytes], bool] = lambda _: False
) -> Iterator[None]:
    """Writes fail, unless `room` says that there is some."""
    real = os.write

    def write(fd: int, content: bytes) -> int:
        if not room(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        yield


# -- the disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_a_write_that_failed_just_before_the_end_costs_nothing(
    backend: FakeBackend,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
) -> None:
    """A disk that was full for a moment has room again at the end: all records are on it."""
    engine = SteppedEngine(backend, clock, tmp_path, durability=durability, max_retries=0)
    logged = [engine.log()]
    with full_disk(monkeypatch):
        engine.flush(1)
        logged += [engine.log() for _ in range(1000)]
        engine.flush(1)
    assert not engine.waiting.spool_usable
    engine.shutdown(5)
    assert engine.ledger.own.drops == {}
    assert sorted(ids_on_disk(tmp_path)) == sorted(ids(logged))


def test_with_little_room_the_oldest_records_are_on_disk(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits is written, the oldest first; the rest is a counted loss."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0)
    logged = ids([engine.log() for _ in range(100)])
    written = 0

    def room(content: bytes) -> bool:
        nonlocal written
        fits = written + len(content) <= 5000
        written += len(content) * fits
        return fits

    with full_disk(monkeypatch, room):
        engine.shutdown(0)
    on_disk = ids_on_disk(tmp_path)
    assert len(on_disk) > 20
    assert on_disk == logged[: len(on_disk)]
    assert engine.ledger.own.drops == {"shutdown": 100 - len(on_disk)}
    assert engine.balanced()


def test_at_the_cap_the_final_write_gives_up_the_oldest(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """`spool_max_bytes` is reached while the queue is written: the newest are on disk."""
    engine = SteppedEngine(backend, clock, tmp_path, spool_max_bytes=64 * 1024, max_record_bytes=1024)
    logged = ids([engine.log("x" * 500) for _ in range(300)])
    engine.shutdown(0)
    on_disk = ids_on_disk(tmp_path)
    assert len(on_disk) > 50
    assert on_disk == logged[-len(on_disk) :]
    assert engine.ledger.own.drops == {"spool_full": 300 - len(on_disk)}
    assert engine.balanced()


def test_a_record_longer_than_the_cap_stops_no_other(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """It alone is lost, and counted, when it should go to disk."""
    engine = SteppedEngine(backend, clock, tmp_path, spool_max_bytes=64 * 1024, max_retries=0)
    logged = ids([engine.log("x" * 100), engine.log("x" * 70_000), engine.log("x" * 100)])
    engine.flush(1)
    assert engine.waiting.spool_usable
    assert engine.ledger.own.drops == {"spool_full": 1}
    assert ids_on_disk(tmp_path) == [logged[0], logged[2]]
    engine.shutdown(0)
    assert engine.balanced()


def test_shutdown_tries_once_more_also_for_what_is_on_disk(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """The destination was unwell and all is spooled: one attempt, which delivers it if it is well again."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    logged = ids([engine.log() for _ in range(20)])
    engine.flush(1)
    assert engine.ledger.own[Term.SPOOLED] == 20
    clock.advance(1.0)
    backend.behaviour = backend.well
    assert engine.shutdown(5)
    assert sorted(backend.taken) == sorted(logged)


# -- late records --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("leaving")
def test_a_record_logged_while_the_spool_is_closed_at_exit_is_on_disk(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no moment of the exit in which `submit` takes a record and loses it."""
    engine = SteppedEngine(backend, clock, tmp_path)
    logged = [engine.log()]
    assert engine.spool is not None
    close = engine.spool.close

    def close_while_others_log(*arguments: Any, **options: Any) -> None:
        logged.append(engine.log())
        close(*arguments, **options)
        logged.append(engine.log())

    monkeypatch.setattr(engine.spool, "close", close_while_others_log)
    engine.shutdown(0)
    logged.append(engine.log())
    assert engine.ledger.own.drops == {}
    assert sorted(ids_on_disk(tmp_path)) == sorted(ids(logged))
    assert len(ids(logged)) == 4


@pytest.mark.usefixtures("leaving")
def test_a_late_record_that_the_disk_refuses_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`log_prompt` says False while the process ends, unless the record is on disk."""
    logger = PromptStackLogger("psk", "http://127.0.0.1:9", spool_dir=tmp_path)
    with full_disk(monkeypatch):
        first = logger.log_prompt("q", "a")  # ends the engine, as the exit has begun
        late = logger.log_prompt("q", "a")
    assert (first, late) == (False, False)
    assert logger.get_stats()["drops"] == {"shutdown": 2}
    assert logger.log_prompt("q", "a") is True
    assert len(ids_on_disk(tmp_path)) == 1


def test_what_the_disk_refuses_is_taken_into_memory_and_counted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `durability="disk"`: accepted all the same, `logs_not_durable` says how many, and delivered."""
    backend.behaviour = backend.well
    engine = SteppedEngine(backend, clock, tmp_path, durability="disk", batching="always")
    engine.log()
    with full_disk(monkeypatch):
        record = engine.log()
    assert record is not None
    assert not record.turned_away
    assert engine.stats()["logs_not_durable"] == 1
    assert engine.flush(1)
    assert sum(backend.taken.values()) == 2


# -- Ctrl-C --------------------------------------------------------------------------------------------------


@contextmanager
def interrupted_at(moment: int) -> Iterator[list[int]]:
    """KeyboardInterrupt is raised at that moment, counted from here on, of those at which the interpreter
    looks for signals: at the beginning of a function of the engine, and behind each call in one.
    """
    moments = [0]

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if frame.f_code.co_filename.startswith(ENGINE_CODE) and event in ("call", "return", "c_return"):
            moments[0] += 1
            if moments[0] == moment:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        yield moments
    finally:
        sys.setprofile(None)


def end_interrupted_at(
    moment: int, directory: Path, end: Callable[[SteppedEngine], object]
) -> tuple[int, str]:
    """How many moments the end has, and what was wrong after it."""
    backend, clock = FakeBackend(), FakeClock()
    backend.behaviour = down
    engine = SteppedEngine(backend, clock, directory, batching="always", max_retries=0)
    logged = ids([engine.log() for _ in range(3)])
    process_exit.register(engine)
    with interrupted_at(moment) as moments, suppress(KeyboardInterrupt):
        end(engine)
    right = engine.core.lifecycle.over and engine.balanced() and set(ids_on_disk(directory)) == set(logged)
    return moments[0], "" if right else f"{moment}: {ids_on_disk(directory)}, {engine.stats()}"


def finish(engine: SteppedEngine) -> None:
    engine.core.ending.finish(engine.clock.monotonic())


@pytest.mark.parametrize("end", [finish, lambda _engine: process_exit.at_exit()], ids=["shutdown", "exit"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of generators
@pytest.mark.usefixtures("leaving")
def test_ctrl_c_at_any_moment_of_the_end_loses_nothing(
    end: Callable[[SteppedEngine], object], quick_path: Path
) -> None:
    """Whatever it interrupts is done again, and it is raised when all is on disk."""
    moments, _ = end_interrupted_at(0, quick_path / "0", end)
    assert moments > 300
    first = 2  # the very beginning is the caller's
    step = 1 if os.environ.get("SOAK") else 11
    tried = range(first, moments, step)
    ended = [end_interrupted_at(moment, quick_path / str(moment), end) for moment in tried]
    assert [wrong for _, wrong in ended if wrong] == []
