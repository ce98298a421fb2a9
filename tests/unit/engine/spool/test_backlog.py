"""What earlier processes have left on disk: when it is sent, and how much of it is held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.spool.adoption import HELD_AT_MOST
from banyan_hp.engine.spool.held_segments import HeldSegments
from banyan_hp.engine.spool.index import Index
from banyan_hp.engine.spool.lease import create
from banyan_hp.engine.spool.lines import format_line, parse_line
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.spool.spool import Spool
from tests.support.clock import FakeClock
from tests.support.disk import Disk, abandoned, ids, in_hand, lines, read
from tests.support.parts import part_of
from tests.support.stepped import Answer, FakeBackend, SteppedEngine, down


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def left(backend: FakeBackend, clock: FakeClock, tmp_path: Path) -> list[str]:
    """The ids of ten records that a process left when the backend was down."""
    return leave(backend, clock, tmp_path, 10)


def leave(backend: FakeBackend, clock: FakeClock, directory: Path, count: int) -> list[str]:
    backend.behaviour = down
    engine = SteppedEngine(backend, clock, directory, max_retries=0)
    records = [engine.log(number) for number in range(count)]
    engine.shutdown(1)
    assert engine.stats()["logs_spooled"] == count
    backend.behaviour = backend.well
    backend.requests.clear()
    clock.advance(1)
    return [record.id for record in records if record is not None]


def scatter(directory: Path, copies: int) -> list[str]:
    """Make many segments of one record each of the one that is there."""
    (path,) = (each for each in directory.rglob("*.v1.jsonl") if each.name[0].isdigit())
    line = path.read_bytes()
    path.unlink()
    start, process, _ = path.name.split("-", 2)
    made = []
    for number in range(copies):
        segment = create(path.parent, f"{int(start) + number:013d}-{process}-{number:04d}.v1.jsonl")
        ident = f"{process}-{number:x}"
        segment.write(_renamed(line, ident), 1)
        segment.close()
        made.append(ident)
    return made


def _renamed(line: bytes, ident: str) -> bytes:
    found = parse_line(line.rstrip(b"\n"))
    assert found is not None
    return format_line(0, ident, found.time, found.body)


def held(engine: SteppedEngine) -> int:
    assert engine.spool is not None
    return sum(not segment.own for segment in part_of(engine.spool, HeldSegments).segments)


def has_backlog(spool: Spool) -> bool:
    return spool.backlog


def number_of_records(request: Request) -> int:
    return len(json.loads(request.body)["records"])


# -- flush ---------------------------------------------------------------------------------------------------


def test_the_first_flush_sends_our_own_records_first_and_then_the_backlog(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A short script that logs, flushes and ends drains what an earlier one left."""
    engine = SteppedEngine(backend, clock, tmp_path)
    mine = [record.id for record in (engine.log(), engine.log()) if record is not None]
    result = engine.flush(10)
    assert (result.delivered, result.backlog, result.backlog_bytes) == (True, 0, 0)
    assert backend.order == mine + left
    engine.shutdown(1)
    assert set(backend.taken.values()) == {1}


def test_our_own_records_on_disk_go_before_an_older_backlog(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What this process had to leave to the disk is its own all the same."""
    engine = SteppedEngine(backend, clock, tmp_path, durability="disk", queue_size=2, overflow="spill")
    mine = {record.id for record in (engine.log() for _ in range(6)) if record is not None}
    assert engine.ledger.own[Term.SPOOLED] == 4
    assert engine.flush(10).backlog == 0
    assert set(backend.order[:6]) == mine
    assert backend.order[6:] == left


def test_the_first_flush_drains_where_nothing_was_logged(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A process that only fetches prompts, say."""
    engine = SteppedEngine(backend, clock, tmp_path)
    assert engine.flush(10)
    assert backend.order == left


def test_later_flushes_do_not_wait_for_a_backlog(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Only for what this process has logged."""
    engine = SteppedEngine(backend, clock, tmp_path)
    engine.log()
    assert engine.flush(10)
    left = leave(backend, clock, tmp_path, 500)
    assert engine.spool is not None
    engine.spool.open()
    result = engine.flush(10)
    assert result.delivered
    assert result.backlog_bytes > 0
    assert engine.flush(10)
    assert not set(backend.order) & set(left)


def test_a_flush_does_not_wait_for_a_backlog_that_nobody_takes(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """It gives up with the destination; `delivered` is about this process's own records."""
    backend.behaviour = down
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=1)
    began = clock.monotonic()
    result = engine.flush(600)
    assert clock.monotonic() - began < 60
    assert result.delivered
    assert result.backlog + result.backlog_bytes > 0
    assert engine.balanced()


def test_the_first_flush_ends_with_its_time(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What it has not drained by then is counted."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", max_retries=50)

    def slow(request: Request) -> Answer:
        clock.advance(1)
        return backend.well(request)

    backend.behaviour = slow
    result = engine.flush(4.5)
    assert result.delivered
    assert result.backlog == len(left) - len(backend.order) > 0


def test_a_first_flush_when_the_end_is_near_is_about_our_own_records(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """After SIGTERM no backlog is sent, nor waited for."""
    engine = SteppedEngine(backend, clock, tmp_path)
    mine = engine.log()
    assert mine is not None
    engine.core.stop_lingering()
    began = clock.monotonic()
    assert engine.flush(600)
    assert clock.monotonic() - began < 60
    assert backend.order == [mine.id]


# -- the end -------------------------------------------------------------------------------------------------


def test_no_request_with_a_backlog_begins_at_the_end(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Neither with what was read back already, nor with a retry; our own records are sent."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never")
    backend.behaviour = lambda _request: Response(503, {}, b"")
    while not backend.usage():
        engine.step()
    assert engine.ledger.adopted[Term.IN_FLIGHT] == len(left)
    backend.behaviour = backend.well
    mine = engine.log()
    assert mine is not None
    engine.shutdown(30)
    assert backend.order == [mine.id]
    assert engine.ledger.adopted[Term.SPOOLED] == len(left)
    assert engine.balanced()


def test_at_the_end_our_own_records_are_read_back_and_no_others(
    left: list[str], backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """However old the others are."""
    engine = SteppedEngine(backend, clock, tmp_path, queue_size=2, overflow="spill")
    mine = {record.id for record in (engine.log() for _ in range(6)) if record is not None}
    engine.shutdown(30)
    assert set(backend.order) == mine
    assert engine.ledger.adopted.accepted == 0


# -- how much is held ----------------------------------------------------------------------------------------


def test_a_batch_is_filled_from_several_segments(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Many segments of one record each don't cost a request each; their order is kept."""
    leave(backend, clock, tmp_path, 1)
    scattered = scatter(tmp_path, 10 * HELD_AT_MOST)
    engine = SteppedEngine(backend, clock, tmp_path)
    assert engine.flush(60).backlog == 0
    assert backend.order == scattered
    assert len(backend.usage()) <= 11
    assert max(map(number_of_records, backend.usage())) == HELD_AT_MOST


def test_an_outage_does_not_open_segment_after_segment(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """After a failed probe the segment is let go; the next probe takes another one.

    All are sent once the backend is back.
    """
    leave(backend, clock, tmp_path, 1)
    scattered = scatter(tmp_path, 60)
    backend.behaviour = down
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always")
    most = 0
    for _ in range(400):
        engine.step(1000)
        most = max(most, held(engine))
    assert len({request.body for request in backend.usage()}) > 30
    assert held(engine) <= 1
    assert most <= HELD_AT_MOST
    assert engine.balanced()
    assert engine.ledger.adopted.accepted == held(engine)
    backend.behaviour = backend.well
    for _ in range(200):
        engine.step(1000)
    assert sorted(backend.order) == sorted(scattered)
    assert set(backend.taken.values()) == {1}
    assert engine.balanced()


def test_a_reader_is_not_sent_to_the_disk_while_no_more_may_be_held(disk: Disk) -> None:
    """All that is held is in hand: there is nothing to read until some of it is acknowledged."""
    for number in range(HELD_AT_MOST + 2):
        abandoned(disk, lines(number), number)
    spool = disk.spool()
    hand = in_hand(read(spool))
    assert len(hand) == HELD_AT_MOST
    assert not has_backlog(spool)
    assert read(spool) == []
    spool.acknowledge(hand[:1])
    assert has_backlog(spool)
    assert len(read(spool)) == 1
    assert not spool.emptied


def test_what_was_read_before_a_failure_is_read_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that can't be taken over leaves no record of the one before it in nobody's hands."""
    for number in range(2):
        abandoned(disk, lines(number), number)
    spool = disk.spool()
    real = Segment.read_index

    def fail(segment: Segment) -> Index:
        if segment.path.name.endswith("0001.v1.jsonl"):
            raise IndexError
        return real(segment)

    monkeypatch.setattr(Segment, "read_index", fail)
    with pytest.raises(IndexError):
        read(spool)
    assert ids(read(spool)) == [0]


def test_acknowledged_segments_that_can_t_be_deleted_do_not_count(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep nobody from reading on."""
    for number in range(HELD_AT_MOST + 2):
        abandoned(disk, lines(number), number)
    spool = disk.spool()
    hand = in_hand(read(spool))

    def fail(_segment: Segment) -> None:
        raise PermissionError

    monkeypatch.setattr(Segment, "remove", fail)
    spool.acknowledge(hand)
    assert has_backlog(spool)
    assert len(read(spool)) == 2


def test_segments_that_had_their_turn_make_place_for_others(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Records that fail again and again don't keep the rest of the backlog on disk."""
    leave(backend, clock, tmp_path, 1)
    scattered = scatter(tmp_path, 3 * HELD_AT_MOST)
    poison = set(scattered[: HELD_AT_MOST + 2])

    def choking(request: Request) -> Answer:
        if any(record["id"] in poison for record in json.loads(request.body).get("records", ())):
            return Response(503, {}, b"")
        return backend.well(request)

    backend.behaviour = choking
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=1, batching="always", batch_size=1)
    for _ in range(3000):
        engine.step(1000)
        assert held(engine) <= HELD_AT_MOST
    assert set(backend.order) == set(scattered) - poison
    assert engine.balanced()
