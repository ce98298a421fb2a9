"""`Engine.replay`: when it is through, and when it gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.spool.spool import Spool
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down


@pytest.fixture
def left(tmp_path: Path) -> FakeBackend:
    """A backend that was down while ten records were logged, and is well again."""
    backend = FakeBackend()
    backend.behaviour = down
    engine = SteppedEngine(backend, FakeClock(), tmp_path, max_retries=0)
    for number in range(10):
        engine.log(number)
    engine.shutdown(1.0)
    assert engine.stats()["logs_spooled"] == 10
    backend.behaviour = backend.well
    return backend


def test_it_ends_when_all_is_sent(left: FakeBackend, tmp_path: Path) -> None:
    """On the caller's thread where there is no other; it tells how far it is."""
    engine = SteppedEngine(left, FakeClock(), tmp_path)
    reported: list[int] = []
    engine.replay(60.0, lambda: reported.append(engine.stats()["adopted"]["recovered"]))
    assert reported[-1] == 10
    assert len(left.taken) == 10
    assert engine.balanced()
    engine.shutdown(1.0)


def test_nothing_to_send_is_soon_done(tmp_path: Path) -> None:
    """It looks at the disk once."""
    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path)
    began = engine.clock.monotonic()
    engine.replay(60.0, lambda: None)
    assert engine.clock.monotonic() - began < 1.0
    engine.shutdown(1.0)


def test_it_gives_up_with_the_destination(left: FakeBackend, tmp_path: Path) -> None:
    """After the retries; the records stay on disk."""
    left.behaviour = down
    engine = SteppedEngine(left, FakeClock(), tmp_path, max_retries=2)
    engine.replay(float("inf"), lambda: None)
    assert engine.breaker.is_open
    engine.shutdown(0.0)
    assert engine.stats()["adopted"]["pending"] == 10
    assert engine.balanced()


def test_a_disk_that_can_t_be_read_ends_it(
    left: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the disk to be mended."""
    monkeypatch.setattr(Spool, "readable", False)
    monkeypatch.setattr(Spool, "emptied", False)
    engine = SteppedEngine(left, FakeClock(), tmp_path)
    engine.replay(float("inf"), lambda: None)
    engine.shutdown(0.0)
    assert not left.taken


def test_it_is_not_over_while_a_thread_reads(
    left: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that is being taken over is neither waiting nor held."""
    over: list[bool] = []
    real = Spool.read_back

    def read_back(spool: Spool, *limits: int, **how: bool) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(Spool, "emptied", True)
            over.append(engine.core.flushing.backlog_is_sent())
        return real(spool, *limits, **how)

    monkeypatch.setattr(Spool, "read_back", read_back)
    engine = SteppedEngine(left, FakeClock(), tmp_path)
    engine.replay(60.0, lambda: None)
    assert over
    assert not any(over)
    engine.shutdown(1.0)
