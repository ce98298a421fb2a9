"""One bad record never stops its neighbours: not while it is prepared, nor when the rest is left to disk."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.engine import Engine
from banyan_hp.engine.records.encode import event_time
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Deferred
from banyan_hp.engine.spool.quarantine import Quarantine
from tests.conftest import MakeLogger
from tests.support.clock import FakeClock
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer
from tests.support.stepped import FakeBackend, SteppedEngine, down

INTERRUPTIONS = [KeyboardInterrupt, SystemExit, GeneratorExit, RecursionError, ValueError]


@pytest.fixture
def few_digits() -> Iterator[None]:
    """As with PYTHONINTMAXSTRDIGITS=640."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


def raising_for_bad(error: type[BaseException]) -> Callable[[Any], Any]:
    def before_send(record: Any) -> Any:
        if record["input"] == "bad":
            raise error
        return record

    return before_send


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_whatever_before_send_raises_costs_its_own_record_only(
    make_logger: MakeLogger, server: ScriptedServer, error: type[BaseException]
) -> None:
    """The record is put aside, the others are delivered, and the worker does not restart."""
    logger = make_logger(server.url, before_send=raising_for_bad(error))
    for name in ("first", "bad", "last"):
        assert logger.log_prompt(name, "answer")
    logger.flush(5)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["callback_errors"]) == (2, 1, 1)
    assert stats["worker_restarts"] == 0


def test_huge_integers_stop_nothing_where_python_prints_few_digits(
    make_logger: MakeLogger, server: ScriptedServer, few_digits: None
) -> None:
    """With PYTHONINTMAXSTRDIGITS=640 they travel as a word, and everything is delivered."""
    logger = make_logger(server.url)
    for number in range(20):
        assert logger.log_prompt("q", "a", metadata={"n": 7**1200 if number == 3 else number})
    assert logger.flush(5)
    assert logger.get_stats()["worker_restarts"] == 0


def test_a_record_that_can_not_be_encoded_is_put_aside_alone(tmp_path: Path) -> None:
    """Should freezing ever let something pass that encoding refuses, its neighbours are delivered."""
    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path)
    _, bad, _ = (engine.log(name) for name in ("first", "bad", "last"))
    assert bad is not None
    bad.value["input"] = object()
    engine.flush(5)
    assert engine.ledger.own[Term.DELIVERED] == 2
    assert engine.spool is not None
    (entry,) = Quarantine(engine.spool.directory, engine.clock).entries()
    assert (entry.reason, entry.detail) == ("unencodable", "preparing it raised TypeError")
    assert engine.balanced()


def test_a_caller_who_is_stopped_in_before_send_loses_no_neighbour(tmp_path: Path) -> None:
    """Where the caller's own thread delivers, Ctrl-C passes; the other records stay with us."""
    engine = SteppedEngine(
        FakeBackend(), FakeClock(), tmp_path, before_send=raising_for_bad(KeyboardInterrupt)
    )
    for name in ("first", "bad", "last"):
        engine.log(name)
    with pytest.raises(KeyboardInterrupt):
        engine.flush(5)
    assert engine.ledger.own[Term.QUARANTINED] == 1
    engine.flush(5)
    assert engine.ledger.own[Term.DELIVERED] == 2
    assert engine.balanced()


@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_leaving_to_disk_raises_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """At the end of a process all records are written; `before_send` is not called."""
    backend = FakeBackend()
    backend.behaviour = down
    engine = SteppedEngine(backend, FakeClock(), tmp_path, before_send=raising_for_bad(error))
    for name in ("first", "bad", "last"):
        engine.log(name)
    engine.shutdown(0)
    assert (engine.ledger.own[Term.SPOOLED], engine.ledger.own[Term.QUARANTINED]) == (3, 0)
    assert engine.balanced()


@pytest.mark.parametrize("time", [1e20, -1e20, math.inf, -math.inf, math.nan, 253402300800.0])
def test_any_time_can_be_sent(time: float) -> None:
    """A line of the spool may hold a time of no calendar; it must not stop its batch."""
    assert event_time(time) == "1970-01-01T00:00:00.000Z"


# -- what is left for our threads ----------------------------------------------------------------------------


def test_a_deferred_part_is_completed_before_before_send_sees_the_record(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """And once it is encoded, nothing of it is held."""
    seen: list[Any] = []

    def look(record: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(record))
        return record

    logger = make_logger(server.url, before_send=look)
    deferred = Deferred(lambda body: {**body, "output": "answer"}, size=5_000)
    record = part_of(logger, Engine).submit({"input": "q", "output": ""}, deferred=deferred)
    assert record is not None
    assert record.size > 5_000
    assert logger.flush(5)
    assert seen == [{"input": "q", "output": "answer"}]
    assert [body for _, body in server.records()] == seen
    assert record.deferred is None


def test_a_part_that_can_not_be_completed_costs_that_part_only(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """The record goes as it is, and the failure is counted."""

    def fail(body: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("unreadable")

    logger = make_logger(server.url)
    part_of(logger, Engine).submit({"input": "q", "output": ""}, deferred=Deferred(fail))
    assert logger.flush(5)
    assert [body for _, body in server.records()] == [{"input": "q", "output": ""}]
    assert logger.get_stats()["callback_errors"] == 1


def test_what_is_put_aside_is_complete(tmp_path: Path, make_logger: MakeLogger) -> None:
    """A record that `before_send` could not be run on is kept with all of it."""

    def fail(record: Any) -> Any:
        raise ValueError

    logger = make_logger("http://127.0.0.1:9", spool=True, spool_dir=str(tmp_path), before_send=fail)
    part_of(logger, Engine).submit({"input": "q"}, deferred=Deferred(lambda body: {**body, "output": "late"}))
    logger.flush(5)
    assert any(b'"late"' in path.read_bytes() for path in tmp_path.rglob("quarantine*"))
