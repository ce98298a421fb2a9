"""Damaged lines and lines that make no sense: quarantined once, and no loss to the records beside them."""

from __future__ import annotations

import zlib

import pytest

from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.segment import format_entry
from tests.support.disk import NOW, Disk, Ledger, abandoned, full_disk, ids, in_hand, lines, read, spooled


def line_of(number: int, ident: str) -> bytes:
    return format_line(number, ident, NOW, b"{}")


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
    b'"n":1,"id":"a","t":1.500000,"body":%s}' % (b'{"a":' * 950 + b"1" + b"}" * 950),
    b'"n":1}',
    b"null}",
    b'"n":0,"id":"a","t":1.500000,"body":{"the":"same number again"}}',
]


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


def test_damage_that_can_t_be_kept_is_counted_as_lost(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged line that no quarantine takes is dropped, not silently gone."""
    abandoned(disk, lines(1, 2, 3).replace(b"id-2", b"ID-2"))
    # private: the disk is full for the quarantine alone
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


def test_damage_that_was_acknowledged_is_no_loss(disk: Disk) -> None:
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
