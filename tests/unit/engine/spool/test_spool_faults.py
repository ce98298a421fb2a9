"""File operations that fail: nothing is raised, the ledger holds, the counters name the loss."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.records.ledger import Term
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down

OPERATIONS = [
    (os, "open"),
    (os, "write"),
    (os, "pread"),
    (os, "fsync"),
    (os, "ftruncate"),
    (os, "fstat"),
    (os, "lstat"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (os, "mkdir"),
    (os, "listdir"),
    (os, "scandir"),
    (fcntl, "flock"),
]
ERRORS = ["ENOSPC", "EROFS", "EACCES", "EIO", "EMFILE"]


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: str, which: Callable[[int], bool]
) -> Iterator[list[int]]:
    """The calls of a number that `which` chooses fail."""
    real = getattr(module, name)
    failed: list[int] = []
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if which(calls):
            failed.append(calls)
            code = getattr(errno, error)
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        yield failed


class Story:
    """An outage, a recovery, an end and a successor, and what has become of all records by then."""

    def __init__(self, directory: Path, queue_size: int) -> None:
        self.queue_size = queue_size
        self.clock = FakeClock()
        self.backend = FakeBackend()
        self.directory = directory
        self.accepted = 0
        self.ended = dict.fromkeys((Term.DELIVERED, Term.QUARANTINED, Term.DROPPED), 0)
        self.errors = 0

    def engine(self) -> SteppedEngine:
        return SteppedEngine(
            self.backend,
            self.clock,
            self.directory,
            durability="disk",
            fsync="always",
            max_retries=0,
            batch_size=5,
            queue_size=self.queue_size,
        )

    def live_through_an_outage(self) -> None:
        engine = self.engine()
        self.backend.behaviour = down
        for _ in range(30):
            assert engine.log() is not None
            engine.run(2)
            assert engine.balanced()
        self.backend.behaviour = self.backend.well
        self.clock.advance(40)
        for _ in range(20):
            engine.run(5)
            self.clock.advance(10)
            assert engine.balanced()
        self.end(engine)

    def succeed(self) -> None:
        """Another process, whose disk is well."""
        engine = self.engine()
        engine.log()
        for _ in range(20):
            engine.flush(5)
            engine.run(10)
            self.clock.advance(40)
        assert engine.spool is not None
        assert not engine.spool.backlog
        self.end(engine)

    def end(self, engine: SteppedEngine) -> None:
        engine.shutdown(5)
        assert engine.balanced()
        self.accepted += engine.ledger.own.accepted
        self.errors += engine.stats()["spool_errors"]
        for book in (engine.ledger.own, engine.ledger.adopted):
            for term in self.ended:
                self.ended[term] += book[term]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("module", "name"), OPERATIONS, ids=[name for _, name in OPERATIONS])
@pytest.mark.parametrize("every", [1, 3])
def test_a_failing_file_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: str, every: int
) -> None:
    """Nothing reaches the caller, every record is delivered or counted, and trouble is counted too."""
    story = Story(tmp_path / "spool", queue_size=20)
    with failing(monkeypatch, module, name, error, lambda call: call % every == 0) as failed:
        story.live_through_an_outage()
    story.succeed()
    assert story.accepted == 31
    assert len(story.backend.taken) + story.ended[Term.QUARANTINED] + story.ended[Term.DROPPED] >= 31
    if failed and name not in {"fstat", "lstat", "replace", "scandir", "listdir", "ftruncate"}:
        assert story.errors, f"{len(failed)} failures"


@pytest.mark.parametrize("error", ERRORS)
def test_every_single_write_failing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    """Whichever write it is that fails: all records arrive, and the ledger holds."""
    for number in range(1, 12):
        story = Story(tmp_path / str(number), queue_size=100)
        with failing(monkeypatch, os, "write", error, lambda call, n=number: call == n):  # type: ignore[misc]
            story.live_through_an_outage()
        story.succeed()
        assert len(story.backend.taken) == story.accepted == 31
        assert story.ended[Term.DROPPED] == 0
