"""The on-disk queue among other processes: who takes what, what is left over, what is deleted by others."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from banyan_hp import logs
from banyan_hp.engine.spool import writer as module
from banyan_hp.engine.spool.layout import ADDRESS_NAME, segment_name
from banyan_hp.engine.spool.lease import OLD_SECONDS
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.retention import RESCAN_SECONDS
from banyan_hp.engine.spool.segment import format_entry
from banyan_hp.engine.spool.spool import LOOK_SECONDS, Spool
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


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(logs, "_last_said", {})
    disk = Disk(tmp_path / "spool" / "0123456789abcdef-00000001")
    yield disk
    for spool in disk.spools:
        spool.close()


def with_another_key(disk: Disk, number: int = 2) -> Disk:
    """The same URL and project, with the same clock, under another key."""
    other = Disk(disk.directory.with_name(f"0123456789abcdef-{number:08d}"))
    other.clock, other.spools = disk.clock, disk.spools
    return other


def all_of(spool: Spool) -> list[int]:
    found: list[int] = []
    while batch := read(spool):
        found += ids(batch)
    return found


def line_of(number: int, ident: str) -> bytes:
    return format_line(number, ident, NOW, b"{}")


# -- order ---------------------------------------------------------------------------------------------------


def test_an_older_abandoned_segment_comes_before_our_own(disk: Disk) -> None:
    """Oldest first: a dead sibling's records do not wait until ours are sent."""
    spool = disk.spool()
    spooled(spool, 1, 2)
    abandoned(disk, lines(8, 9))
    spool.open()
    assert all_of(spool) == [8, 9, 1, 2]


def test_records_come_back_in_the_order_of_the_calls(disk: Disk) -> None:
    """A record that a thread had in hand stands behind later ones, and is sent before them all the same."""
    content = b"".join(line_of(n, f"ab-{call:x}") for n, call in enumerate([1, 2, 9, 4, 3, 5, 0]))
    abandoned(disk, content)
    spool = disk.spool()
    first = [each.line.id for each in read(spool, count=3)]
    rest = [each.line.id for each in read(spool)]
    assert first + rest == ["ab-0", "ab-1", "ab-2", "ab-3", "ab-4", "ab-5", "ab-9"]


def test_the_order_holds_for_each_process_whose_records_share_a_segment(disk: Disk) -> None:
    """Records of several processes in one segment: all come, each once, in their process's order."""
    calls = [("aa", 5), ("bb", 1), ("aa", 2), ("bb", 0), ("cc", 7), ("aa", 1)]
    abandoned(disk, b"".join(line_of(n, f"{who}-{call:x}") for n, (who, call) in enumerate(calls)))
    spool = disk.spool()
    found = [each.line.id for _ in range(6) for each in read(spool, count=1)]
    assert sorted(found) == sorted(f"{who}-{call:x}" for who, call in calls)
    for who in ("aa", "bb"):
        mine = [int(ident.split("-")[1]) for ident in found if ident.startswith(who)]
        assert mine == sorted(mine)


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


# -- looking again -------------------------------------------------------------------------------------------


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


def test_another_format_is_left_alone_and_told(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """One warning and a remark, while all else works; gone, when the files are gone."""
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


# -- damage --------------------------------------------------------------------------------------------------


def adopt_damaged(disk: Disk, content: bytes) -> tuple[list[int], Ledger]:
    """Adopt this, and clear it all away."""
    path = abandoned(disk, content)
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    found = read(spool)
    spool.acknowledge(in_hand(found))
    assert not spool.backlog
    assert read(spool) == []
    spool.close()
    disk.spools.clear()
    assert not path.exists()
    return ids(found), ledger


def test_cut_at_every_byte(disk: Disk) -> None:
    """The records before the cut arrive, the torn one is in the quarantine, and the ledger says so."""
    content = lines(1, 2, 3)
    ends = [n for n in range(len(content) + 1) if n == 0 or content[n - 1 : n] == b"\n"]
    ends += [end - 1 for end in ends[1:]]  # only the line end is missing: nothing of the record is
    for size in range(len(content) + 1):
        found, ledger = adopt_damaged(disk, content[:size])
        whole = len([end for end in ends[1:4] if end - 1 <= size])
        assert found == [1, 2, 3][:whole]
        assert ledger.events == [("adopted", whole, int(size not in ends))], size
        if size not in ends:
            assert disk.quarantined()[-1].reason == "corrupt"


def test_every_byte_flipped(disk: Disk) -> None:
    """One record is lost, or two where it was a line end; the others arrive, and the sum is right."""
    content = lines(1, 2, 3)
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x2A
        found, ledger = adopt_damaged(disk, bytes(damaged))
        ((_, count, lost),) = ledger.events
        assert count == len(found)
        assert count + lost == 3 or content[at : at + 1] == b"\n", at
        assert set(found) < {1, 2, 3}
        assert disk.quarantined()[-1].reason == "corrupt"


def test_damage_is_put_aside_once(disk: Disk) -> None:
    """Who adopts a segment after a crash does not find the same damage again."""
    content = lines(1, 2, 3)
    at = content.index(b"id-2")
    abandoned(disk, content[:at] + b"ID" + content[at + 2 :] + b"torn")
    first, second = Ledger(), Ledger()
    spool = disk.spool(observer=first)
    assert ids(read(spool)) == [1, 3]
    spool.close()
    assert ids(read(disk.spool(observer=second))) == [1, 3]
    assert (first.events, second.events) == ([("adopted", 2, 2)], [("adopted", 2, 0)])
    assert len(disk.quarantined()) == 2


def test_damage_that_was_settled_is_no_loss(disk: Disk) -> None:
    """A bit that flips in a record already delivered concerns nobody's ledger."""
    owner = disk.spool()
    owner.acknowledge(spooled(owner, 1, 2, 3)[:2])
    owner.close()
    (path,) = disk.directory.glob("*.jsonl")
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(bytes(content))
    ledger = Ledger()
    assert ids(read(disk.spool(observer=ledger))) == [3]
    assert ledger.events == [("adopted", 1, 0)]


# -- caps ----------------------------------------------------------------------------------------------------


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


# -- deleted under us ----------------------------------------------------------------------------------------


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


# -- keys ----------------------------------------------------------------------------------------------------


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


def test_trouble_beside_our_own_records_is_told_and_no_more(
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


# -- lines that make no sense --------------------------------------------------------------------------------


def sealed(rest: bytes) -> bytes:
    """A line with the right CRC, whatever is in it."""
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


SENSELESS = [
    b'"n":-1,"id":"a","t":1.5,"body":{}}',
    b'"n":true,"id":"a","t":1.5,"body":{}}',
    b'"n":1.0,"id":"a","t":1.5,"body":{}}',
    b'"n":"1","id":"a","t":1.5,"body":{}}',
    b'"n":%s,"id":"a","t":1.5,"body":{}}' % (b"9" * 5000),
    b'"n":1,"id":%s,"t":1.5,"body":{}}' % (b"[" * 100_000),
    b'"n":1,"id":"","t":1.500000,"body":{}}',
    b'"n":1,"id":["a"],"t":1.500000,"body":{}}',
    b'"n":1,"id":"a\\nX-Evil: 1","t":1.500000,"body":{}}',
    b'"n":1,"id":"\\u20ac","t":1.500000,"body":{}}',
    b'"n":1,"id":"\\ud800","t":1.500000,"body":{}}',
    b'"n":1,"id":"%s","t":1.500000,"body":{}}' % (b"a" * 257),
    b'"n":1,"id":"a","t":NaN,"body":{}}',
    b'"n":1,"id":"a","t":1e20,"body":{}}',
    b'"n":1,"id":"a","t":99999999999999999999.000000,"body":{}}',
    b'"n":1,"id":"a","t":-1,"body":{}}',
    b'"n":1,"id":"a","t":true,"body":{}}',
    b'"n":1,"id":"a","t":1.500000,"body":}',
    b'"n":1,"id":"a","t":1.500000,"body":null}',
    b'"n":1,"id":"a","t":1.500000,"body":[{}]}',
    b'"n":1,"id":"a","t":1.500000,"body":{no json}}',
    b'"n":1,"id":"a","t":1.500000,"body":{"a":"\xff"}}',
    b'"n":1,"id":"a","t":1.500000,"body":%s}' % (b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    b'"n":1}',
    b"null}",
    b'"n":0,"id":"a","t":1.500000,"body":{"the":"same number again"}}',
]


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("next_number", [1, 2])
@pytest.mark.parametrize("senseless", SENSELESS, ids=[str(rest[:60]) for rest in SENSELESS])
def test_a_line_that_makes_no_sense_is_quarantined_whatever_its_crc_says(
    disk: Disk, senseless: bytes, next_number: int
) -> None:
    """The records around it are sent, the ledger counts it once, and nobody finds it again."""
    path = abandoned(disk, line_of(0, "id-1") + sealed(senseless) + line_of(next_number, "id-2"))
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    replayed = read(spool)
    assert ids(replayed) == [1, 2]
    assert ledger.events == [("adopted", 2, 1)]
    assert [(entry.reason, entry.body) for entry in disk.quarantined()] == [
        ("corrupt", sealed(senseless).rstrip(b"\n"))
    ]
    spool.release(in_hand(replayed))
    spool.close()
    again = Ledger()
    assert ids(read(disk.spool(observer=again))) == [1, 2]
    assert again.events == [("adopted", 2, 0)]
    assert path.exists()


def test_numbers_beyond_all_bounds_in_acknowledgements_settle_nothing(disk: Disk) -> None:
    """A right CRC over nonsense: the entry counts for nothing, and the records are sent."""
    path = abandoned(disk, lines(1, 2))
    path.with_name(path.name + ".ack").write_bytes(format_entry(b"9" * 5000))
    assert ids(read(disk.spool())) == [1, 2]


def test_a_record_that_lacks_only_its_line_end_is_sent(disk: Disk) -> None:
    """Its CRC is right: it is a record like the others, in whatever pieces it is read."""
    abandoned(disk, lines(1, 2)[:-1])
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    assert [ids(read(spool, count=1)) for _ in range(3)] == [[1], [2], []]
    assert (ledger.events, disk.quarantined()) == ([("adopted", 2, 0)], [])
