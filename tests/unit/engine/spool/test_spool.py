"""The on-disk queue: what it keeps, gives back, gives up, and how it fails."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import logs
from banyan_hp.engine.spool import layout as directory
from banyan_hp.engine.spool import writer as module
from banyan_hp.engine.spool.disk_health import TRY_AGAIN_SECONDS
from banyan_hp.engine.spool.entries import Entry
from banyan_hp.engine.spool.layout import destination_directory, segment_name
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.segment import Segment, format_entry
from banyan_hp.engine.spool.spool import Spool
from banyan_hp.engine.spool.writer import FSYNC_INTERVAL
from tests.support.disk import (
    NOW,
    Disk,
    Ledger,
    abandoned,
    ids,
    in_hand,
    lines,
    read,
    record,
    records,
    spooled,
)

KEY = "sk-very-secret-key"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(logs, "_last_said", {})
    disk = Disk(tmp_path / "spool" / "destination")
    yield disk
    for spool in disk.spools:
        spool.close()


def is_usable(spool: Spool) -> bool:
    return spool.usable


def has_backlog(spool: Spool) -> bool:
    return spool.backlog


def problem(spool: Spool) -> str | None:
    return spool.problem


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


# -- the directory -------------------------------------------------------------------------------------------


def test_directory_and_files_are_private(disk: Disk) -> None:
    """Only the user may read what was logged."""
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    spool.quarantine(record(3), "refused", 422, "bad")
    spool.acknowledge(written[:1])
    assert stat.S_IMODE(disk.directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in disk.directory.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_the_directories_above_are_private_too(disk: Disk) -> None:
    """What we make on the way to the directory is as private as the directory itself."""
    spooled(disk.spool(), 1)
    assert stat.S_IMODE(disk.directory.parent.stat().st_mode) == 0o700


def test_nothing_is_written_before_there_is_something_to_write(disk: Disk) -> None:
    """An application that never has trouble has an empty directory."""
    spool = disk.spool()
    assert spool.opened
    assert read(spool) == []
    assert disk.names() == []


def test_a_link_in_place_of_the_directory_is_refused(disk: Disk, tmp_path: Path) -> None:
    """Records must not go where a symbolic link points."""
    target = tmp_path / "target"
    target.mkdir()
    disk.directory.parent.mkdir()
    disk.directory.symlink_to(target)
    spool = disk.spool()
    assert not spool.usable
    assert "symbolic link" in (spool.problem or "")
    assert not spool.append(records(1))
    assert list(target.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_refused(disk: Disk) -> None:
    """The problem is told and nothing is raised."""
    disk.directory.parent.mkdir()
    disk.directory.touch()
    spool = disk.spool()
    assert not spool.usable
    assert "FileExistsError" in (spool.problem or "")
    assert read(spool) == []


def test_another_user_s_directory_is_refused(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else could read along or hand us records."""
    disk.directory.mkdir(parents=True)
    owner = disk.directory.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert "another user" in (disk.spool().problem or "")


def test_a_system_without_locks_has_no_spool(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leases two processes would send the same records."""
    monkeypatch.setattr(directory, "can_lock", lambda: False)
    spool = disk.spool()
    assert "flock" in (spool.problem or "")
    assert disk.names() == []


def test_a_destination_s_directory_depends_on_url_project_and_key(tmp_path: Path) -> None:
    """One tenant's records must not leave under another's key; and the key is not in the name."""
    one = destination_directory(tmp_path, ("banyan", "https://host", "p"), KEY)
    assert one == destination_directory(tmp_path, ("banyan", "https://host", "p"), KEY)
    others = [
        destination_directory(tmp_path, ("banyan", "https://host", "p"), KEY + "2"),
        destination_directory(tmp_path, ("banyan", "https://host", "q"), KEY),
        destination_directory(tmp_path, ("banyan", "https://hostp", ""), KEY),
        destination_directory(tmp_path, ("huggingplace", "https://host", "p"), KEY),
    ]
    assert len({one, *others}) == 5
    assert one.parent == tmp_path / "spool"
    assert KEY not in str(one)


def test_the_key_is_nowhere_on_disk(tmp_path: Path) -> None:
    """Neither in a name nor in a file, refused records included."""
    disk = Disk(destination_directory(tmp_path, ("banyan", "https://host", "p"), KEY))
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    spool.quarantine(record(3), "refused", 401, "no such key")
    spool.acknowledge(written[:1])
    paths = list(tmp_path.rglob("*"))
    contents = [path.read_bytes() for path in paths if path.is_file()]
    assert len(contents) == 3
    assert not any(KEY.encode() in content for content in contents)
    assert not any(KEY in str(path) for path in paths)
    spool.close()


# -- there and back ------------------------------------------------------------------------------------------


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


def test_settled_records_do_not_come_back(disk: Disk) -> None:
    """Neither here nor to the next process."""
    spool = disk.spool()
    spooled(spool, 1, 2, 3)
    hand = in_hand(read(spool, count=2))
    spool.acknowledge(hand)
    spool.close()
    assert ids(read(disk.spool())) == [3]


@pytest.mark.parametrize("durable", [True, False])
def test_all_settled_leaves_nothing(disk: Disk, durable: bool) -> None:
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


def test_a_mark_tells_what_of_mine_is_unsettled(disk: Disk) -> None:
    """A flush waits for what was written before it: not for later records, nor for adopted ones."""
    abandoned(disk, lines(8, 9))
    spool = disk.spool()
    read(spool)
    written = spooled(spool, 1, 2, 3)
    mark = spool.mark()
    spooled(spool, 4)
    assert spool.unacknowledged(mark) == 3
    spool.acknowledge(written[:2])
    assert spool.unacknowledged(mark) == 1
    spool.acknowledge(written[2:])
    assert spool.unacknowledged(mark) == 0


# -- other processes -----------------------------------------------------------------------------------------


def test_a_dead_process_s_records_are_adopted_once(disk: Disk) -> None:
    """Of all that look, exactly one gets them, and its ledger is told how many."""
    abandoned(disk, lines(1, 2, 3))
    first, second = Ledger(), Ledger()
    spools = [disk.spool(observer=first), disk.spool(observer=second)]
    assert [ids(read(spool)) for spool in spools] == [[1, 2, 3], []]
    assert (first.events, second.events) == ([("adopted", 3, 0)], [])


def test_a_living_process_s_records_are_not_adopted(disk: Disk) -> None:
    """Its segment is leased: nobody else sends what it will send itself."""
    owner = disk.spool()
    spooled(owner, 1, 2)
    other = disk.spool()
    assert has_backlog(other)
    assert read(other) == []
    assert not has_backlog(other)
    assert ids(read(owner)) == [1, 2]


def test_closing_leaves_segments_to_others(disk: Disk) -> None:
    """Both what was on disk only and what was in memory too can be sent by the next process."""
    owner = disk.spool()
    spooled(owner, 1)
    owner.append(records(2))
    owner.close()
    ledger = Ledger()
    assert ids(read(disk.spool(observer=ledger))) == [1, 2]
    assert ledger.events == [("adopted", 2, 0)]


def test_a_closed_spool_does_nothing_more(disk: Disk) -> None:
    """A late answer to a thread that hung finds nobody at home, and breaks nothing."""
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    spool.close()
    before = {path.name: path.read_bytes() for path in disk.directory.iterdir()}
    assert not spool.usable
    assert not spool.append(records(3))
    assert not spool.quarantine(record(4), "refused", 422, "")
    spool.acknowledge(written)
    spool.release(written)
    spool.close()
    assert read(spool) == []
    assert {path.name: path.read_bytes() for path in disk.directory.iterdir()} == before


def test_a_forked_child_takes_nothing_from_its_parent(disk: Disk) -> None:
    """Abandoning closes descriptors and leaves every file as it is."""
    spool = disk.spool()
    spooled(spool, 1)
    before = {path.name: path.read_bytes() for path in disk.directory.iterdir()}
    spool.abandon()
    assert not spool.append(records(2))
    assert {path.name: path.read_bytes() for path in disk.directory.iterdir()} == before


def test_a_settled_segment_of_a_dead_process_is_cleared_away(disk: Disk) -> None:
    """A crash between the last acknowledgement and the removal leaves no rubbish for ever."""
    path = abandoned(disk, lines(1, 2))
    path.with_name(path.name + ".ack").write_bytes(format_entry(b"0-1"))
    ledger = Ledger()
    assert read(disk.spool(observer=ledger)) == []
    assert ledger.events == [("adopted", 0, 0)]
    assert disk.names() == []


def test_damaged_lines_are_quarantined_and_stop_nothing(disk: Disk) -> None:
    """They are kept with their reason, counted, and the others are sent."""
    content = lines(1, 2, 3)
    at = content.index(b"id-2")
    abandoned(disk, content[:at] + b"ID" + content[at + 2 :] + b'{"crc":"torn')
    ledger = Ledger()
    assert ids(read(disk.spool(observer=ledger))) == [1, 3]
    assert ledger.events == [("adopted", 2, 2)]
    kept = disk.quarantined()
    assert [(entry.reason, entry.origin) for entry in kept] == [("corrupt", "line")] * 2
    assert b"ID-2" in kept[0].body
    assert kept[1].body == b'{"crc":"torn'


def test_damage_that_is_no_text_is_quarantined(disk: Disk) -> None:
    """Whatever bytes a bad sector gives are kept."""
    abandoned(disk, b"\xff\x00\xfe\n" + lines(1))
    assert ids(read(disk.spool())) == [1]
    assert disk.quarantined()[0].body == b"\xff\x00\xfe"


def test_damage_that_looks_like_deep_json_stops_nothing(disk: Disk) -> None:
    """A line of brackets is a damaged line like any other."""
    abandoned(disk, b"[" * 100_000 + b"\n" + lines(1))
    assert ids(read(disk.spool())) == [1]


def test_a_link_with_a_segment_s_name_is_passed_over(disk: Disk, tmp_path: Path) -> None:
    """It is neither read nor removed, and the others are."""
    (tmp_path / "target").write_bytes(lines(7))
    abandoned(disk, lines(1), number=1)
    (disk.directory / segment_name(NOW - 200, "dead", 0)).symlink_to(tmp_path / "target")
    assert ids(read(disk.spool())) == [1]
    assert (tmp_path / "target").read_bytes() == lines(7)


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


# -- caps ----------------------------------------------------------------------------------------------------


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
    """Every record lost is counted, those already settled are not."""
    ledger = Ledger()
    spool = disk.spool(max_bytes=80_000, observer=ledger)
    first = spooled(spool, *range(10), size=1000)
    spool.acknowledge(first[:3])
    for number in range(10, 16):
        spooled(spool, number, size=12_000)
    assert ledger.events == [("lost", 7, "spool_full", True)]


def test_records_in_hand_are_not_given_up(disk: Disk) -> None:
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
    """They are older; their loss is told as of adopted ones."""
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
    """Adopted, then given up: both are told."""
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


def test_a_failure_to_remove_what_is_given_up_is_a_problem(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file can't be deleted nothing is raised, and the spool says what is wrong."""
    spool = filled(disk, Ledger())

    def refuse(self: Segment) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Segment, "remove", refuse)
    assert not spool.append(records(4, size=25_000))
    assert "Read-only" in (spool.problem or "")


def test_records_given_up_are_counted_also_where_the_file_stays(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is either still there to be read or told as lost."""
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


# -- trouble -------------------------------------------------------------------------------------------------


def short_write(fd: int, data: bytes) -> int:
    return _real_write(fd, bytes(data)[:5])


_real_write = os.write


@pytest.mark.parametrize("trouble", [full_disk, short_write])
def test_a_full_disk_degrades_to_memory_for_a_while(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[int, bytes], int]
) -> None:
    """The file is as before, the records have no place, and after half a minute the disk is tried again."""
    spool = disk.spool()
    spooled(spool, 1)
    (path,) = disk.directory.iterdir()
    before = path.read_bytes()
    monkeypatch.setattr(os, "write", trouble)
    refused = records(2, 3)
    assert not spool.append(refused)
    monkeypatch.undo()
    assert [each.place for each in refused] == [None, None]
    assert path.read_bytes() == before
    assert problem(spool) is not None
    assert not is_usable(spool)
    assert not spool.append(records(4))
    disk.clock.advance(TRY_AGAIN_SECONDS - 0.1)
    assert not is_usable(spool)
    disk.clock.advance(0.2)
    assert is_usable(spool)
    assert spool.append(refused)
    assert problem(spool) is None
    spool.close()
    assert ids(read(disk.spool())) == [1, 2, 3]


def test_trouble_is_logged_once(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, not one for each record."""
    spool = disk.spool()
    monkeypatch.setattr(os, "write", full_disk)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        for number in range(5):
            disk.clock.advance(TRY_AGAIN_SECONDS)
            assert not spool.append(records(number))
    monkeypatch.undo()
    assert ["No space left" in line.getMessage() for line in caplog.records] == [True]


def test_a_torn_segment_is_not_written_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a short write could not be undone, the next records go into a new file."""

    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    spool = disk.spool()
    spooled(spool, 1)
    monkeypatch.setattr(os, "write", short_write)
    monkeypatch.setattr(os, "ftruncate", refuse)
    assert not spool.append(records(2))
    monkeypatch.undo()
    disk.clock.advance(TRY_AGAIN_SECONDS)
    spooled(spool, 2)
    assert len(disk.segments()) == 2
    spool.close()
    ledger = Ledger()
    other = disk.spool(observer=ledger)
    assert ids(read(other)) == [1, 2]
    assert ("adopted", 1, 1) in ledger.events


def test_a_failed_fsync_leaves_nothing_behind(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """False means that nothing was written: the engine keeps the records, and another process must not."""

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    spool = disk.spool(fsync="always")
    monkeypatch.setattr(os, "fsync", refuse)
    refused = records(1)
    assert not spool.append(refused)
    assert refused[0].place is None
    monkeypatch.undo()
    spool.close()
    assert read(disk.spool()) == []


def test_a_failed_acknowledgement_costs_a_repetition_only(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised; this process does not send the record again, though a later one may."""
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    monkeypatch.setattr(os, "write", full_disk)
    spool.acknowledge(written[:1])
    monkeypatch.undo()
    assert spool.problem is not None
    assert ids(read(spool)) == [2]


def test_an_unreadable_directory_is_a_problem_and_no_exception(disk: Disk) -> None:
    """The directory may be removed under us: the next write makes it again."""
    spool = disk.spool()
    disk.directory.rmdir()
    assert spool.append(records(1))
    assert len(disk.segments()) == 1


# -- fsync ---------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def note(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):  # directories are synced, too, when a file is made
            calls.append(fd)

    monkeypatch.setattr(os, "fsync", note)
    return calls


@pytest.mark.parametrize(("fsync", "expected"), [("never", 0), ("interval", 0), ("always", 2)])
def test_fsync_at_each_write(disk: Disk, synced: list[int], fsync: str, expected: int) -> None:
    """Only "always" syncs before `append` returns."""
    spool = disk.spool(fsync=fsync)
    spool.append(records(1, 2))
    spool.append(records(3))
    assert len(synced) == expected


def test_fsync_at_intervals(disk: Disk, synced: list[int]) -> None:
    """Due soon after a write, not without one, and not more often than that."""
    spool = disk.spool(fsync="interval")
    never = float("inf")
    assert spool.sync_due_in(disk.clock.monotonic()) == never
    spool.append(records(1))
    assert spool.sync_due_in(disk.clock.monotonic()) <= FSYNC_INTERVAL
    spool.sync()
    assert len(synced) == 1
    assert spool.sync_due_in(disk.clock.monotonic()) == never
    spool.append(records(2))
    assert spool.sync_due_in(disk.clock.monotonic()) == FSYNC_INTERVAL
    disk.clock.advance(FSYNC_INTERVAL)
    assert spool.sync_due_in(disk.clock.monotonic()) == 0
    spool.close()
    assert len(synced) == 2


def test_a_finished_segment_is_synced_too(disk: Disk, synced: list[int]) -> None:
    """What was written last before a new segment began reaches the disk within the interval as well."""
    spool = disk.spool(fsync="interval", max_bytes=128_000)
    spooled(spool, 1, size=15_000)
    spooled(spool, 2, size=15_000)
    assert len(disk.segments()) == 2
    disk.clock.advance(FSYNC_INTERVAL)
    spool.sync()
    assert len(synced) == 2


# -- quarantine ----------------------------------------------------------------------------------------------


def test_a_refused_record_is_put_aside_with_its_reason(disk: Disk) -> None:
    """Also one that was not encoded yet, and with the segment it was in."""
    spool = disk.spool()
    assert spool.quarantine(record(1), "refused", 422, "bad field")
    unencoded = record(2)
    unencoded.body, unencoded.value = None, {"as": "it was"}
    assert spool.quarantine(unencoded, "before_send_failed", None, "")
    (written,) = spooled(spool, 3)
    assert spool.quarantine(written, "refused", 400, "")
    first, second, third = disk.quarantined()
    assert first == Entry(
        "refused", record(1).body or b"", "record", 422, "bad field", None, "id-1", NOW + 1, NOW
    )
    assert (json.loads(second.body), second.status) == ({"as": "it was"}, None)
    assert [third.segment] == disk.segments()


def test_a_quarantine_that_can_t_be_written_says_so(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is then dropped by the caller, and counted."""
    spool = disk.spool()
    monkeypatch.setattr(os, "write", full_disk)
    assert not spool.quarantine(record(1), "refused", 422, "")
    assert not spool.usable


def test_a_quarantine_that_is_locked_is_no_trouble_of_the_disk(disk: Disk) -> None:
    """Another process that stands still with the lock costs a counted record, not the whole spool."""
    spool = disk.spool()
    with Quarantine(disk.directory, disk.clock)._locked():
        assert not spool.quarantine(record(1), "refused", 422, "")
    assert spool.usable
    assert spool.quarantine(record(2), "refused", 422, "")


def test_a_signal_in_the_middle_of_a_write_spoils_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C or SystemExit from a handler after the write, before it was noted: the next goes elsewhere."""

    def interrupted(fd: int, data: bytes) -> int:
        _real_write(fd, data)
        raise KeyboardInterrupt

    spool = disk.spool(durable=True)
    spooled(spool, 1)
    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spool.append(records(2))
    monkeypatch.undo()
    hand = spooled(spool, 3)
    spool.acknowledge(hand)
    spool.close()
    successor = disk.spool()
    assert sorted(ids(read(successor)) + ids(read(successor))) == [1, 2]


def test_a_slow_sync_holds_up_no_caller(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fsync="interval"`: records are written while the disk is busy with earlier ones."""
    spool = disk.spool(fsync="interval", durable=True)
    spooled(spool, 1)
    written = []

    def slow(fd: int) -> None:
        writer = threading.Thread(target=lambda: written.append(spool.append(records(2))))
        writer.start()
        writer.join(5)

    with monkeypatch.context() as slowly:
        slowly.setattr(os, "fsync", slow)
        spool.sync()
    assert written == [1]


def test_damage_that_can_t_be_kept_is_counted_as_lost(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged line that no quarantine takes is dropped, not silently gone."""
    abandoned(disk, lines(1, 2, 3).replace(b"id-2", b"ID-2"))
    monkeypatch.setattr(Quarantine, "_append", full_disk)
    ledger = Ledger()
    assert ids(read(disk.spool(observer=ledger))) == [1, 3]
    assert ledger.events == [("adopted", 3, 0), ("lost", 1, "corrupt", False)]


def test_damage_is_quarantined_once_however_often_it_is_found(disk: Disk) -> None:
    """A process that restarts again and again during an outage must not push out older entries."""
    abandoned(disk, lines(1) + b"damaged\n")
    for _ in range(3):
        spool = disk.spool()
        assert ids(read(spool)) == [1]
        spool.close()
    assert [entry.body for entry in disk.quarantined()] == [b"damaged"]
