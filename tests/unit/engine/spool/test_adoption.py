"""What other processes have left: found, taken over once, and handed back; what belongs to others stays."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from banyan_hp.engine.spool.layout import ADDRESS_NAME, segment_name
from banyan_hp.engine.spool.lease import OLD_SECONDS
from banyan_hp.engine.spool.segment import format_entry
from banyan_hp.engine.spool.spool import LOOK_SECONDS, Spool
from tests.support.disk import (
    NOW,
    Disk,
    Ledger,
    abandoned,
    all_of,
    ids,
    in_hand,
    lines,
    read,
    record,
    records,
    spooled,
    with_another_key,
)


def has_backlog(spool: Spool) -> bool:
    return spool.backlog


def test_a_dead_process_s_records_are_adopted_once(disk: Disk) -> None:
    """Of all that look, exactly one gets them, and its ledger learns how many."""
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


def test_an_acknowledged_segment_of_a_dead_process_is_cleared_away(disk: Disk) -> None:
    """A crash between the last acknowledgement and the removal leaves no rubbish for ever."""
    path = abandoned(disk, lines(1, 2))
    path.with_name(path.name + ".ack").write_bytes(format_entry(b"0-1"))
    ledger = Ledger()
    assert read(disk.spool(observer=ledger)) == []
    assert ledger.events == [("adopted", 0, 0)]
    assert disk.names() == []


def test_a_link_with_a_segment_s_name_is_passed_over(disk: Disk, tmp_path: Path) -> None:
    """It is neither read nor removed, and the others are."""
    (tmp_path / "target").write_bytes(lines(7))
    abandoned(disk, lines(1), number=1)
    (disk.directory / segment_name(NOW - 200, "dead", 0)).symlink_to(tmp_path / "target")
    assert ids(read(disk.spool())) == [1]
    assert (tmp_path / "target").read_bytes() == lines(7)


def test_a_look_is_due_now_and_then(disk: Disk) -> None:
    """What a sibling left when it died is found without an outage and without a restart."""
    owner, spool = disk.spool(), disk.spool()
    spooled(owner, 1, 2)
    assert read(spool) == []
    owner.close()
    assert read(spool) == []  # nobody has looked
    assert 0 < spool.look_due_in(disk.clock.monotonic()) <= LOOK_SECONDS
    disk.clock.advance(LOOK_SECONDS)
    assert spool.look_due_in(disk.clock.monotonic()) == 0
    spool.open()
    assert ids(read(spool)) == [1, 2]


def test_half_made_and_half_deleted_files_of_the_dead_are_cleared_away(disk: Disk) -> None:
    """When they are old and nobody's; young ones may be in use."""
    disk.directory.mkdir(parents=True)
    names = [f".{segment_name(NOW, 'dead', 0)}.tmp", segment_name(NOW, "dead", 1) + ".ack"]
    names.append(f".{ADDRESS_NAME}.0123456789abcdef.tmp")
    others = ["note.tmp", "x.ack", "quarantine.v1.jsonl"]
    for name in names + others:
        (disk.directory / name).touch()
        os.utime(disk.directory / name, (NOW, NOW))
    spool = disk.spool()
    assert disk.names() == sorted(names + others)
    disk.clock.advance(OLD_SECONDS + 1)
    spool.open()
    assert disk.names() == sorted(others)


def test_acknowledgements_of_a_living_segment_are_not_left_over(disk: Disk) -> None:
    """However old they are."""
    owner = disk.spool()
    owner.acknowledge(spooled(owner, 1, 2)[:1])
    (acks,) = disk.directory.glob("*.ack")
    os.utime(acks, (0, 0))
    disk.spool()
    assert acks.exists()


def test_another_format_is_left_alone_and_reported(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """One log line and a warning in `health`, while all else works; gone, when the files are gone."""
    disk.directory.mkdir(parents=True)
    strange = disk.directory / segment_name(NOW, "beef", 0).replace(".v1.", ".v2.")
    strange.write_bytes(b"tomorrow's format")
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        spool = disk.spool()
        for _ in range(3):
            spool.open()
    assert [strange.name in each.getMessage() for each in caplog.records] == [True]
    assert strange.name in (spool.warning or "")
    assert spool.usable
    assert read(spool) == []
    assert strange.read_bytes() == b"tomorrow's format"
    strange.unlink()
    spool.open()
    assert spool.warning is None


def test_another_key_s_records_are_not_adopted(disk: Disk) -> None:
    """One tenant's records must not leave under another's key."""
    other = with_another_key(disk)
    tenant = other.spool()
    spooled(tenant, 1, 2)
    tenant.close()
    assert read(disk.spool()) == []
    assert len(other.segments()) == 1


def test_a_previous_key_s_records_are_adopted_when_their_owner_is_gone(disk: Disk) -> None:
    """The application named it; a directory that is not there is no trouble, and is not made."""
    other, nobody = with_another_key(disk), with_another_key(disk, 3)
    old = other.spool()
    spooled(old, 1, 2)
    ledger = Ledger()
    spool = disk.spool(previous=(nobody.directory, other.directory), observer=ledger)
    assert read(spool) == []  # its owner lives
    old.close()
    spool.open()
    found = read(spool)
    assert ids(found) == [1, 2]
    assert ledger.events == [("adopted", 2, 0)]
    spool.acknowledge(in_hand(found))
    assert other.segments() == []
    assert not nobody.directory.exists()


def test_the_oldest_segment_of_all_keys_comes_first(disk: Disk) -> None:
    """Records leave in the order in which they were logged."""
    other = with_another_key(disk)
    for each, number in ((disk, 2), (other, 1), (disk, 4), (other, 3)):
        abandoned(each, lines(number), number)
    spool = disk.spool(previous=(other.directory,))
    assert ids(read(spool)) == [1, 2, 3, 4]


def test_a_linked_directory_of_a_previous_key_is_left_alone(disk: Disk, tmp_path: Path) -> None:
    """Somebody else may have put the link there."""
    other, real = with_another_key(disk), Disk(tmp_path / "real")
    abandoned(real, lines(1))
    disk.directory.parent.mkdir()
    other.directory.symlink_to(real.directory)
    assert read(disk.spool(previous=(other.directory,))) == []


def test_a_key_that_is_no_longer_named_keeps_its_records(disk: Disk) -> None:
    """Also what was found but not taken over yet."""
    other, third = with_another_key(disk), with_another_key(disk, 3)
    abandoned(other, lines(1))
    spool = disk.spool(previous=(other.directory,))
    assert spool.backlog
    spool.reconfigure(third.directory)
    spool.open()
    assert read(spool) == []
    assert len(other.segments()) == 1


def test_a_new_key_in_a_running_process_writes_to_a_new_place(disk: Disk) -> None:
    """What it held stays its own; what comes later lies where the old key's processes don't take it."""
    other = with_another_key(disk)
    spool = disk.spool()
    spooled(spool, 1)
    spool.reconfigure(other.directory)
    spooled(spool, 2)
    assert (len(disk.segments()), len(other.segments())) == (1, 1)
    assert sorted(all_of(spool)) == [1, 2]
    assert read(disk.spool()) == []


def test_trouble_beside_our_own_records_is_reported_and_no_more(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A left-over that can't be deleted, an older key's directory that can't be read: ours works on."""

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    ledger = Ledger()
    spool = disk.spool(observer=ledger, previous=(with_another_key(disk).directory,))
    monkeypatch.setattr("banyan_hp.engine.spool.spool.delete_leftovers", denied)
    monkeypatch.setattr("banyan_hp.engine.spool.adoption.segments_in", denied)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        spool.open()
    assert ledger.failures == 2
    assert len(caplog.records) == 1
    assert spool.problem is None
    assert spool.append(records(1))
