"""What is discarded to stay within the caps: the oldest first, and counted."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from banyan_hp.engine.spool import writer as module
from banyan_hp.engine.spool.disk import TRY_AGAIN_SECONDS
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.retention import RESCAN_SECONDS
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.spool.spool import Spool
from tests.support.disk import NOW, Disk, Ledger, abandoned, all_of, ids, lines, read, records, spooled


def filled(disk: Disk, ledger: Ledger, **options: Any) -> Spool:
    """Four finished segments of one big record each, a second apart."""
    spool = disk.spool(max_bytes=80_000, observer=ledger, **options)
    for number in range(4):
        spooled(spool, number, size=15_000)
        disk.clock.advance(1)
    return spool


def test_beyond_its_cap_the_oldest_segment_goes(disk: Disk) -> None:
    """The disk is not filled; the loss has a number and a reason."""
    ledger = Ledger()
    spool = filled(disk, ledger)
    assert len(disk.segments()) == 4
    assert ledger.events == []
    spooled(spool, 4, size=25_000)
    assert ledger.events == [("lost", 1, "spool_full", True)]
    assert sum(path.stat().st_size for path in disk.directory.iterdir()) <= 80_000
    found = []
    while batch := read(spool):
        found += ids(batch)
    assert found == [1, 2, 3, 4]


def test_a_whole_segment_is_counted(disk: Disk) -> None:
    """Every record lost is counted, those already acknowledged are not."""
    ledger = Ledger()
    spool = disk.spool(max_bytes=80_000, observer=ledger)
    first = spooled(spool, *range(10), size=1000)
    spool.acknowledge(first[:3])
    for number in range(10, 16):
        spooled(spool, number, size=12_000)
    assert ledger.events == [("lost", 7, "spool_full", True)]


def test_records_in_hand_are_not_discarded(disk: Disk) -> None:
    """A segment of which a record is being sent stays; the next older one goes."""
    ledger = Ledger()
    spool = filled(disk, ledger)
    assert ids(read(spool, count=1)) == [0]
    spooled(spool, 4, size=25_000)
    assert ledger.events == [("lost", 1, "spool_full", True)]
    found = []
    while batch := read(spool):
        found += ids(batch)
    assert found == [2, 3, 4]


def test_a_dead_process_s_records_go_first(disk: Disk) -> None:
    """They are older; their loss is reported as of adopted ones."""
    big = format_line(0, "id-90", NOW, b'{"x":"%s"}' % (b"x" * 40_000))
    abandoned(disk, big)
    ledger = Ledger()
    spool = disk.spool(max_bytes=80_000, observer=ledger)
    spooled(spool, 1, size=15_000)
    spooled(spool, 2, size=30_000)
    assert ledger.events == [("adopted", 1, 0), ("lost", 1, "spool_full", False)]


def test_what_can_never_fit_costs_nothing_else(disk: Disk) -> None:
    """Records larger than the whole cap are refused, and what is on disk stays there."""
    ledger = Ledger()
    spool = filled(disk, ledger)
    assert not spool.append(records(9, size=100_000))
    assert ledger.events == []
    assert len(disk.segments()) == 4


def test_what_can_never_fit_is_refused(disk: Disk) -> None:
    """The problem says why."""
    spool = disk.spool(max_bytes=80_000)
    assert not spool.append(records(9, size=100_000))
    assert spool.problem is None  # the disk is fine


def test_old_segments_expire(disk: Disk) -> None:
    """Records beyond the greatest age, and the eighth of grace, are given up and counted, by segment."""
    ledger = Ledger()
    spool = filled(disk, ledger, max_age=3600.0)
    disk.clock.advance(3600.0 * 9 / 8 - 3.0)
    assert ids(read(spool, count=1)) == [1]
    assert ledger.events == [("lost", 1, "spool_expired", True)]


def test_a_dead_process_s_old_records_expire(disk: Disk) -> None:
    """Adopted, then discarded: both are reported."""
    abandoned(disk, lines(1, 2))
    ledger = Ledger()
    spool = disk.spool(max_age=50.0, observer=ledger)
    assert read(spool) == []
    assert ledger.events == [("adopted", 2, 0), ("lost", 2, "spool_expired", False)]
    assert disk.names() == []


def test_young_records_do_not_expire_with_old_ones(disk: Disk) -> None:
    """A record is kept for its full time, although its segment was begun long before."""
    ledger = Ledger()
    spool = disk.spool(max_age=3600.0, max_bytes=200_000, observer=ledger)
    spooled(spool, 1)
    disk.clock.advance(3700.0)
    spooled(spool, 2)
    spooled(spool, 3, size=30_000)
    disk.clock.advance(1.0)
    spooled(spool, 4)
    found = []
    while batch := read(spool):
        found += ids(batch)
    assert [number for number in found if number != 1] == [2, 3, 4]


def test_a_failure_to_remove_what_is_discarded_is_a_problem(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file can't be deleted nothing is raised, and the spool says what is wrong."""
    spool = filled(disk, Ledger())

    def refuse(self: Segment) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Segment, "remove", refuse)
    assert not spool.append(records(4, size=25_000))
    assert "Read-only" in (spool.problem or "")


def test_discarded_records_are_counted_also_where_the_file_stays(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is either still there to be read or counted as lost."""
    ledger = Ledger()
    spool = filled(disk, ledger)

    def refuse(self: Segment) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Segment, "remove", refuse)
    spool.append(records(4, size=25_000))
    monkeypatch.undo()
    disk.clock.advance(TRY_AGAIN_SECONDS)
    lost = sum(events[1] for events in ledger.events)
    found: list[int] = []
    while batch := read(spool):
        found += ids(batch)
    assert lost + len(found) == 4


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_changes_no_order_and_loses_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Segments stay in the order in which they were made, and none counts as a day older or younger."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 300)
    ledger = Ledger()
    spool = disk.spool(observer=ledger, max_age=3600.0)
    for number in range(4):
        spooled(spool, number, size=150)
    disk.clock.set_wall(disk.clock.wall() + jump)
    for number in range(4, 8):
        spooled(spool, number, size=150)
        disk.clock.advance(0.5)
    disk.clock.set_wall(disk.clock.wall() - jump)
    for number in range(8, 12):
        spooled(spool, number, size=150)
    assert len(disk.segments()) > 4
    spool.close()
    successor = disk.spool(max_age=1e6)
    assert all_of(successor) == list(range(12))
    assert ledger.events == []


def test_our_own_records_expire_by_the_time_that_passed(disk: Disk) -> None:
    """Not by a wall clock that was set forward by a day: nothing is lost to that."""
    ledger = Ledger()
    spool = disk.spool(observer=ledger, max_age=3600.0)
    spooled(spool, 1)
    disk.clock.set_wall(disk.clock.wall() + 86_400)
    disk.clock.advance(10)
    spooled(spool, 2)
    assert all_of(spool) == [1, 2]
    assert ledger.events == []


def test_what_others_wrote_counts_when_it_is_seen(disk: Disk) -> None:
    """The cap is the directory's: reached, we look again, and give up our own when others fill it."""
    mine, theirs = Ledger(), Ledger()
    spool = disk.spool(max_bytes=80_000, observer=mine)
    other = disk.spool(max_bytes=80_000, observer=theirs)
    spooled(spool, 1, size=15_000)
    for number in range(10, 13):
        spooled(other, number, size=15_000)
    disk.clock.advance(RESCAN_SECONDS)
    spooled(spool, 2, size=15_000)  # exceeds nothing that has been seen
    assert mine.events == []
    spool.open()
    spooled(spool, 3, size=15_000)
    assert mine.events == [("lost", 1, "spool_full", True)]
    assert theirs.events == []


def test_when_the_living_fill_the_cap_records_stay_in_memory(disk: Disk) -> None:
    """Their segments are not ours to give up; we try again a second later, and not in a tight loop."""
    other = disk.spool(max_bytes=200_000)
    for number in range(5):
        spooled(other, number, size=15_000)
    ledger = Ledger()
    spool = disk.spool(max_bytes=80_000, observer=ledger)
    assert not spool.append(records(9, size=15_000))
    assert 0 < spool.usable_in() <= RESCAN_SECONDS
    assert "spool_max_bytes" in (spool.problem or "")
    assert ledger.events == []
    assert len(disk.segments()) == 5
    other.close()
    disk.clock.advance(RESCAN_SECONDS)
    assert spool.append(records(9, size=15_000))


def test_the_oldest_goes_first_whoever_left_it(disk: Disk) -> None:
    """A dead sibling's segment that is younger than ours stays, and ours goes."""
    ledger = Ledger()
    spool = disk.spool(max_bytes=80_000, observer=ledger)
    spooled(spool, 1, size=15_000)
    disk.clock.advance(5)
    other = disk.spool(max_bytes=80_000)
    spooled(other, 2, size=30_000)
    other.close()
    disk.clock.advance(5)
    spool.open()
    spooled(spool, 3, size=40_000)
    assert [events for events in ledger.events if events[0] == "lost"] == [("lost", 1, "spool_full", True)]
    assert all_of(spool) == [2, 3]
