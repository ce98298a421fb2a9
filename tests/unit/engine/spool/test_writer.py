"""Records written to disk: what failures, syncs, and files that others delete do to them."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable

import pytest

from banyan_hp.engine.spool.disk import TRY_AGAIN_SECONDS
from banyan_hp.engine.spool.spool import FSYNC_INTERVAL, Spool
from tests.support.disk import Disk, Ledger, full_disk, ids, read, record, records, spooled


def is_usable(spool: Spool) -> bool:
    return spool.usable


def problem(spool: Spool) -> str | None:
    return spool.problem


def short_write(fd: int, data: bytes) -> int:
    return _real_write(fd, bytes(data)[:5])


_real_write = os.write


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def note(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):  # directories are synced, too, when a file is made
            calls.append(fd)

    monkeypatch.setattr(os, "fsync", note)
    return calls


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


@pytest.mark.parametrize("notice", ["open", "read", "append", "sync", "close"])
def test_what_others_delete_is_counted_when_noticed(disk: Disk, notice: str) -> None:
    """Records that were on disk only are lost for the reason "removed"; those in memory are not."""
    ledger = Ledger()
    spool = disk.spool(observer=ledger, fsync="interval")
    kept = records(1)
    spool.append(kept)
    spooled(spool, 2, 3)
    (path,) = disk.directory.glob("*.jsonl")
    path.unlink()
    if notice == "read":
        assert read(spool) == []
    elif notice == "append":
        assert spool.append(records(4))
        assert len(disk.segments()) == 1  # written again, where it has a name
    else:
        getattr(spool, notice)()
    assert ledger.events == [("lost", 2, "removed", True)]
    assert kept[0].place is not None
    assert kept[0].place.segment.gone
    assert not spool.backlog


def test_a_record_whose_segment_was_deleted_settles_in_peace(disk: Disk) -> None:
    """It was in memory too: delivered, it is nobody's loss; released, it is counted as removed."""
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    written = records(1, 2)
    spool.append(written)
    (path,) = disk.directory.glob("*.jsonl")
    path.unlink()
    spool.open()
    spool.acknowledge(written[:1])
    spool.release(written[1:])
    assert ("lost", 1, "removed", True) in ledger.events
    assert sum(events[1] for events in ledger.events) == 1


def test_acknowledgements_that_others_delete_are_written_again(disk: Disk) -> None:
    """Else the next process would send again what was delivered."""
    spool = disk.spool()
    spool.acknowledge(spooled(spool, 1, 2, 3)[:2])
    (acks,) = disk.directory.glob("*.ack")
    acks.unlink()
    spool.open()
    spool.abandon()  # a crash
    assert ids(read(disk.spool())) == [3]


def test_acknowledgements_that_did_not_fit_are_caught_up_with(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full for a while costs no repetition after an end in good order."""

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    spool = disk.spool()
    written = spooled(spool, 1, 2, 3)
    monkeypatch.setattr(os, "write", full)
    spool.acknowledge(written[:2])
    monkeypatch.undo()
    spool.close()
    assert ids(read(disk.spool())) == [3]


def test_a_record_too_late_for_its_place_is_written_again(disk: Disk) -> None:
    """`append` gives a new place to a record whose old one is gone."""
    spool = disk.spool()
    written = [record(1)]
    spool.append(written)
    (path,) = disk.directory.glob("*.jsonl")
    path.unlink()
    spool.open()
    old = written[0].place
    assert spool.append(written)
    assert written[0].place is not old
    spool.close()
    assert ids(read(disk.spool())) == [1]
