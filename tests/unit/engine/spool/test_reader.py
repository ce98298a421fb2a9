"""Records read back from disk: which, in which order, and each once."""

from __future__ import annotations

import pytest

from banyan_hp.engine.spool import writer as module
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.spool import Spool
from tests.support.disk import (
    NOW,
    Disk,
    Ledger,
    abandoned,
    all_of,
    call_id,
    ids,
    in_hand,
    lines,
    read,
    records,
    spooled,
)


def has_backlog(spool: Spool) -> bool:
    return spool.backlog


def line_of(number: int, ident: str) -> bytes:
    return format_line(number, ident, NOW, b"{}")


def test_records_come_back_as_they_were(disk: Disk) -> None:
    """The same id, time and bytes, in order."""
    spool = disk.spool()
    written = spooled(spool, 1, 2, 3)
    replayed = read(spool)
    assert [(r.line.id, r.line.time, r.line.body) for r in replayed] == [
        (r.id, r.time, r.body) for r in written
    ]
    assert [each.place for each in replayed] == [each.place for each in written]


def test_records_in_memory_are_not_read_back(disk: Disk) -> None:
    """A record is sent by whoever has it in hand: not twice."""
    spool = disk.spool()
    written = records(1, 2, 3)
    spool.append(written)
    assert not has_backlog(spool)
    assert read(spool) == []
    spool.release(written[1:2])
    assert has_backlog(spool)
    assert ids(read(spool)) == [2]
    assert read(spool) == []


def test_reading_back_keeps_to_its_bounds(disk: Disk) -> None:
    """So many records or about so many bytes, and the next time the next ones."""
    spool = disk.spool()
    spooled(spool, *range(10), size=100)
    assert ids(read(spool, count=2)) == [0, 1]
    assert ids(read(spool, size=250)) == [2, 3, 4]
    assert ids(read(spool, size=1)) == [5]
    assert ids(read(spool)) == [6, 7, 8, 9]


def test_released_in_order_records_are_next(disk: Disk) -> None:
    """What could not be sent comes again before younger records."""
    spool = disk.spool()
    spooled(spool, 1, 2, 3, 4)
    hand = in_hand(read(spool, count=2))
    spool.release(hand)
    assert ids(read(spool, count=3)) == [1, 2, 3]


def test_released_out_of_order_records_come_last(disk: Disk) -> None:
    """One record that a backend chokes on doesn't hold up the others."""
    spool = disk.spool()
    spooled(spool, 1, 2, 3, 4)
    hand = in_hand(read(spool, count=1))
    spool.release(hand, in_order=False)
    assert ids(read(spool, count=2)) == [2, 3]
    assert ids(read(spool)) == [4]
    assert ids(read(spool)) == [1]


def test_older_segments_are_read_first(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is that of their creation."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    spool = disk.spool()
    for number in range(6):
        spooled(spool, number)
        disk.clock.advance(1)
    assert len(disk.segments()) > 2
    read_ids: list[int] = []
    while found := read(spool):
        read_ids += ids(found)
    assert read_ids == list(range(6))


def test_acknowledged_records_do_not_come_back(disk: Disk) -> None:
    """Neither here nor to the next process."""
    spool = disk.spool()
    spooled(spool, 1, 2, 3)
    hand = in_hand(read(spool, count=2))
    spool.acknowledge(hand)
    spool.close()
    assert ids(read(disk.spool())) == [3]


@pytest.mark.parametrize("durable", [True, False])
def test_all_acknowledged_leaves_nothing(disk: Disk, durable: bool) -> None:
    """No segment, no list of numbers: the directory is empty, at the latest at the end."""
    spool = disk.spool(durable=durable)
    for _ in range(3):
        written = records(1, 2, 3)
        spool.append(written)
        spool.acknowledge(written[:1])
        spool.acknowledge(written[1:])
        if not durable:
            assert disk.names() == []
    spool.close()
    assert disk.names() == []


def test_records_without_a_place_are_of_no_interest(disk: Disk) -> None:
    """Settling a record that never was on disk touches nothing."""
    spool = disk.spool()
    spool.acknowledge(records(1))
    spool.release(records(2))
    assert disk.names() == []


def test_a_mark_shows_what_of_mine_is_not_acknowledged(disk: Disk) -> None:
    """A flush waits for what was written before it: not for later records, nor for adopted ones."""
    abandoned(disk, lines(8, 9))
    spool = disk.spool()
    read(spool)
    written = spooled(spool, 1, 2, 3)
    mark = spool.mark()
    spooled(spool, 4)
    assert mark.unacknowledged() == 3
    spool.acknowledge(written[:2])
    assert mark.unacknowledged() == 1
    spool.acknowledge(written[2:])
    assert mark.unacknowledged() == 0


def test_an_older_abandoned_segment_comes_before_our_own(disk: Disk) -> None:
    """Oldest first: a dead sibling's records do not wait until ours are sent."""
    spool = disk.spool()
    spooled(spool, 1, 2)
    abandoned(disk, lines(8, 9))
    spool.open()
    assert all_of(spool) == [8, 9, 1, 2]


def test_records_come_back_in_the_order_of_the_calls(disk: Disk) -> None:
    """A record that a thread had in hand stands behind later ones, and is sent before them all the same."""
    content = b"".join(line_of(n, call_id("ab", call)) for n, call in enumerate([1, 2, 9, 4, 3, 5, 0]))
    abandoned(disk, content)
    spool = disk.spool()
    first = [each.line.id for each in read(spool, count=3)]
    rest = [each.line.id for each in read(spool)]
    assert first + rest == [call_id("ab", call) for call in (0, 1, 2, 3, 4, 5, 9)]


def test_the_order_holds_for_each_process_whose_records_share_a_segment(disk: Disk) -> None:
    """Records of several processes in one segment: all come, each once, in their process's order."""
    calls = [("aa", 5), ("bb", 1), ("aa", 2), ("bb", 0), ("cc", 7), ("aa", 1)]
    abandoned(disk, b"".join(line_of(n, call_id(who, call)) for n, (who, call) in enumerate(calls)))
    spool = disk.spool()
    found = [each.line.id for _ in range(6) for each in read(spool, count=1)]
    assert sorted(found) == sorted(call_id(who, call) for who, call in calls)
    for who in ("aa", "bb"):
        mine = [int(ident.split("-")[1]) for ident in found if who in ident]
        assert mine == sorted(mine)


def test_ids_of_the_caller_say_nothing_about_the_order(disk: Disk) -> None:
    """Such a record stays behind the one that stands before it, whatever its id looks like."""
    one, four, two = (call_id("ab", call) for call in (1, 4, 2))
    names = ["zz-1", one, "aa-9-order", four, "aa-0-order", two, "aa-9-order"]
    abandoned(disk, b"".join(line_of(n, name) for n, name in enumerate(names)))
    found = [each.line.id for each in read(disk.spool())]
    assert found == ["zz-1", one, "aa-9-order", two, "aa-9-order", four, "aa-0-order"]


def test_damage_after_writing_does_not_leave_a_backlog_for_ever(disk: Disk) -> None:
    """A line of our own that can't be read back is given up and counted; the worker must not spin on it."""
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    spooled(spool, 1)
    (path,) = disk.directory.iterdir()
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(bytes(content))
    assert read(spool) == []
    assert not spool.backlog
    assert ledger.events
