"""One file of the spool: its lines, its lease, its acknowledgements."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from pathlib import Path

import pytest

from banyan_hp.engine.spool import lease as lease_module
from banyan_hp.engine.spool import lines as lines_module
from banyan_hp.engine.spool.index import ACKNOWLEDGED, IN_MEMORY, ON_DISK_ONLY
from banyan_hp.engine.spool.layout import created_at, is_segment, segment_name
from banyan_hp.engine.spool.lease import create, take_over
from banyan_hp.engine.spool.lines import Line, format_line, parse_line
from banyan_hp.engine.spool.segment import Segment, format_entry, format_ranges
from banyan_hp.files import lock_file

NAME = segment_name(1_767_225_600.0, "abc123", 0)
BODIES = [b'{"input":1}', b"{}", '{"text":"é\\n,\\"body\\":"}'.encode()]


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(format_line(n, f"id-{n}", 1.5 + n, b'{"n":%d}' % n) for n in range(first, first + count))


def abandoned(directory: Path, content: bytes, acknowledgements: bytes | None = None) -> Path:
    """A segment as a dead process leaves it."""
    path = directory / NAME
    path.write_bytes(content)
    if acknowledgements is not None:
        path.with_name(path.name + ".ack").write_bytes(acknowledgements)
    return path


def entry(*numbers: int) -> bytes:
    """An acknowledgement of these."""
    return format_entry(format_ranges(numbers))


def adopted(path: Path) -> Segment:
    segment = take_over(path)
    assert segment is not None
    return segment


def free_numbers(segment: Segment) -> list[int]:
    return [number for number, state in enumerate(segment.states) if state == ON_DISK_ONLY]


def read_all(segment: Segment) -> list[Line | None]:
    return [parse_line(raw) for _, raw in segment.content.lines()]


# -- lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("ident", ["01J-abc", 'a"b\\,"body":', "x y"])
def test_a_line_comes_back_as_it_was(ident: str, body: bytes) -> None:
    """Number, id, time to the microsecond, and the very bytes of the body."""
    raw = format_line(17, ident, 1767225600.123456, body)
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    assert parse_line(raw[:-1]) == Line(17, ident, 1767225600.123456, body)


def test_a_line_is_json() -> None:
    """Anybody can read a segment with the usual tools."""
    assert json.loads(format_line(3, "x", 2.0, b'{"a":[1]}')) == {
        "crc": format_line(3, "x", 2.0, b'{"a":[1]}')[8:16].decode(),
        "n": 3,
        "id": "x",
        "t": 2.0,
        "body": {"a": [1]},
    }


def test_every_flipped_byte_is_detected() -> None:
    """No single damaged byte, wherever it is and whatever it became, passes for a record."""
    good = format_line(7, "id", 1.25, b'{"text":"answer"}')[:-1]
    for at in range(len(good)):
        for byte in {good[at] ^ (1 << bit) for bit in range(8)} | {0, 0x20, 0xFF} - {good[at]}:
            assert parse_line(good[:at] + bytes([byte]) + good[at + 1 :]) is None, (at, byte)


def test_every_shortened_line_is_detected() -> None:
    """A line that is cut, at either end, is no record."""
    good = format_line(7, "id", 1.25, b'{"text":"answer"}')[:-1]
    for at in range(1, len(good) + 1):
        assert parse_line(good[:-at]) is None
        assert parse_line(good[at:]) is None


@pytest.mark.parametrize("raw", [b"", b"{}", b"\0" * 64, b"[]", b"\xff" * 40, b'{"crc":"00000000",}'])
def test_rubbish_is_no_record(raw: bytes) -> None:
    """What never was a line is not taken for one."""
    assert parse_line(raw) is None


# -- names ---------------------------------------------------------------------------------------------------


def test_a_name_tells_the_time_of_creation() -> None:
    """And names sort by it."""
    early, late = segment_name(999.5, "ff", 9), segment_name(1_767_225_600.25, "00", 0)
    assert is_segment(early)
    assert is_segment(late)
    assert created_at(late) == 1_767_225_600.25
    assert early < late
    assert segment_name(1.0, "a", 1) < segment_name(1.0, "a", 2)


@pytest.mark.parametrize(
    "name", [f".{NAME}.tmp", NAME + ".ack", "quarantine.v1.jsonl", NAME[:-9] + ".v2.jsonl", "x"]
)
def test_other_files_are_no_segments(name: str) -> None:
    """Unfinished ones, acknowledgements, the quarantine and other versions of the format are left alone."""
    assert not is_segment(name)
    assert created_at(name) == 0.0


# -- writing -------------------------------------------------------------------------------------------------


def test_a_new_segment_is_private_and_leased(tmp_path: Path) -> None:
    """Nobody else may read it, and nobody can adopt it while its owner lives."""
    segment = create(tmp_path, NAME)
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600
    assert segment.own
    assert segment.created == 1_767_225_600.0
    assert take_over(segment.path) is None
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    segment.close()


def test_a_descriptor_does_not_reach_other_programs(tmp_path: Path) -> None:
    """A program that the application starts must not keep the lease alive."""
    segment = create(tmp_path, NAME)
    assert not os.get_inheritable(segment.fd)
    segment.close()


def test_written_records_count_as_in_memory(tmp_path: Path) -> None:
    """Until they are released, nobody reads them back."""
    segment = create(tmp_path, NAME)
    segment.write(lines(2), 2)
    segment.write(lines(1, 2), 1)
    assert bytes(segment.states) == bytes([IN_MEMORY] * 3)
    assert (segment.unacknowledged, segment.on_disk_only, segment.dirty) == (3, 0, True)
    assert segment.size == segment.path.stat().st_size
    assert [line.number for line in read_all(segment) if line] == [0, 1, 2]
    segment.sync()
    assert not segment.dirty
    segment.close()


def test_states_are_counted(tmp_path: Path) -> None:
    """`on_disk_only` and `unacknowledged` follow each change of state, repeated ones included."""
    segment = create(tmp_path, NAME)
    segment.write(lines(3), 3)
    for number, state in [
        (0, ON_DISK_ONLY),
        (0, ON_DISK_ONLY),
        (1, ACKNOWLEDGED),
        (0, IN_MEMORY),
        (1, ACKNOWLEDGED),
        (2, ON_DISK_ONLY),
    ]:
        segment.set_state(number, state)
    assert (segment.on_disk_only, segment.unacknowledged) == (1, 2)
    segment.forget()
    assert (segment.on_disk_only, segment.unacknowledged) == (0, 0)
    assert bytes(segment.states) == bytes([ACKNOWLEDGED] * 3)
    segment.close()


def test_a_short_write_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as it was, the caller learns of it, and the next write is whole."""
    segment = create(tmp_path, NAME)
    segment.write(lines(1), 1)
    before = segment.path.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    with pytest.raises(OSError, match="only a part"):
        segment.write(lines(1, 1), 1)
    monkeypatch.undo()
    assert segment.path.read_bytes() == before
    assert (segment.unacknowledged, segment.size, segment.torn) == (1, len(before), False)
    segment.write(lines(1, 1), 1)
    assert segment.path.read_bytes() == lines(2)
    segment.close()


def test_a_short_write_that_can_t_be_undone_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn segment is not to be written again."""
    segment = create(tmp_path, NAME)
    real = os.write

    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="no"):
        segment.write(lines(1), 1)
    assert segment.torn
    assert segment.unacknowledged == 0
    segment.close()


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a descriptor."""

    def refuse(fd: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(lease_module, "lock_file", refuse)
    closed: list[int] = []
    real = os.close

    def close(fd: int) -> None:
        closed.append(fd)
        real(fd)

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError, match="no locks"):
        create(tmp_path, NAME)
    assert list(tmp_path.iterdir()) == []
    assert len(closed) == 1


# -- adopting ------------------------------------------------------------------------------------------------


def test_one_adopts_and_only_one(tmp_path: Path) -> None:
    """As long as the lease is held nobody else gets it; then the next one does."""
    path = abandoned(tmp_path, lines(2))
    first = adopted(path)
    assert not first.own
    assert take_over(path) is None
    first.close()
    adopted(path).close()


def test_what_is_gone_can_t_be_adopted(tmp_path: Path) -> None:
    """Another process may have finished it meanwhile."""
    assert take_over(tmp_path / NAME) is None


def test_a_file_replaced_meanwhile_is_not_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a file that no longer has this name is worth nothing."""
    path = abandoned(tmp_path, lines(2))
    real = lock_file

    def lease(fd: int) -> None:
        real(fd)
        (tmp_path / "new").write_bytes(b"")
        (tmp_path / "new").rename(path)

    monkeypatch.setattr(lease_module, "lock_file", lease)
    assert take_over(path) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link with a segment's name could point to anybody's file."""
    target = tmp_path / "target"
    target.write_bytes(lines(1))
    (tmp_path / NAME).symlink_to(target)
    with pytest.raises(OSError, match=NAME):
        take_over(tmp_path / NAME)


def test_what_the_owner_wrote_last_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record written between our look and our lease, by an owner that then ended, is not lost."""
    path = abandoned(tmp_path, lines(1))
    real = lock_file

    def lease(fd: int) -> None:
        with path.open("ab") as file:
            file.write(lines(1, 1))
        real(fd)

    monkeypatch.setattr(lease_module, "lock_file", lease)
    segment = adopted(path)
    assert segment.read_index().damaged == []
    assert free_numbers(segment) == [0, 1]
    segment.close()


def test_cut_at_every_byte_the_records_before_survive(tmp_path: Path) -> None:
    """A file that ends anywhere gives back all its whole lines, and the rest as one damaged line.

    A line of which only its end is missing is whole.
    """
    content = lines(3)
    ends = [len(lines(count)) for count in range(4)]
    for size in range(len(content) + 1):
        segment = adopted(abandoned(tmp_path, content[:size]))
        damaged = segment.read_index().damaged
        whole = max(count for count, end in enumerate(ends) if end - bool(end) <= size)
        assert free_numbers(segment) == list(range(whole)), size
        assert damaged == ([content[ends[whole] : size]] if size > ends[whole] else []), size
        assert [line.number for line in read_all(segment) if line] == list(range(whole))
        segment.close()


def test_damage_in_the_middle_costs_its_own_line_only(tmp_path: Path) -> None:
    """The lines around it are read."""
    content = bytearray(lines(3))
    at = len(lines(1)) + 40
    content[at] ^= 1
    segment = adopted(abandoned(tmp_path, bytes(content)))
    assert segment.read_index().damaged == [bytes(content).split(b"\n")[1]]
    assert free_numbers(segment) == [0, 2]
    segment.close()


def test_lines_longer_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and chunks need not end together."""
    content = lines(20)
    path = abandoned(tmp_path, content)
    for chunk in (1, 7, 64, len(content) - 1, len(content)):
        # private: so that a small file has many
        monkeypatch.setattr(lines_module, "_CHUNK", chunk)
        segment = adopted(path)
        ends = [end for end, _ in segment.content.lines()]
        assert ends == [len(lines(count)) for count in range(1, 21)]
        assert [raw for _, raw in segment.content.lines()] == content.split(b"\n")[:-1]
        segment.close()


# -- acknowledgements ----------------------------------------------------------------------------------------


def test_acknowledged_records_stay_so(tmp_path: Path) -> None:
    """The next owner knows them, in whatever order they were acknowledged."""
    segment = create(tmp_path, NAME)
    segment.write(lines(4), 4)
    segment.acknowledge([3, 1])
    segment.acknowledge([0])
    assert stat.S_IMODE(segment.ack_path.stat().st_mode) == 0o600
    segment.close()
    after = adopted(tmp_path / NAME)
    assert after.read_index().damaged == []
    assert free_numbers(after) == [2]
    assert (after.on_disk_only, after.unacknowledged) == (1, 1)
    after.close()


def test_acknowledgements_cut_at_every_byte_acknowledge_nothing_else(tmp_path: Path) -> None:
    """A number that a crash cut short is not another record's number, also when the next owner goes on."""
    whole = entry(17) + entry(3, 12)
    for size in range(len(whole) + 1):
        path = abandoned(tmp_path, lines(20), whole[:size])
        segment = adopted(path)
        segment.read_index()
        assert set(range(20)) - set(free_numbers(segment)) <= {17, 3, 12}, size
        segment.acknowledge([5])
        segment.close()
        again = adopted(path)
        again.read_index()
        assert set(range(20)) - set(free_numbers(again)) <= {17, 3, 12, 5}, size
        assert 5 not in free_numbers(again)
        again.close()


def test_an_acknowledgement_cut_by_a_full_disk_acknowledges_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a full disk left of one number must not become another one with the next."""
    segment = create(tmp_path, NAME)
    segment.write(lines(20), 20)
    segment.acknowledge([0])
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:1]))
    for number in (0, 12):
        segment.set_state(number, ACKNOWLEDGED)
    with contextlib.suppress(OSError):  # saying so is all right
        segment.acknowledge([12])
    monkeypatch.undo()
    segment.acknowledge([7])
    segment.close()
    after = adopted(tmp_path / NAME)
    after.read_index()
    assert free_numbers(after) == [n for n in range(20) if n not in (0, 7, 12)]  # 12 was caught up with
    after.close()


def test_every_flipped_byte_of_an_acknowledgement_is_detected(tmp_path: Path) -> None:
    """A damaged entry costs a repetition, never another record."""
    whole = entry(*range(3, 15), 17)
    for at in range(len(whole)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 0x0A, 0x1D):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            segment = adopted(abandoned(tmp_path, lines(20), bytes(damaged)))
            segment.read_index()
            settled = set(range(20)) - set(free_numbers(segment))
            segment.close()
            assert settled <= {*range(3, 15), 17}, (at, flip)


def test_ranges_are_short(tmp_path: Path) -> None:
    """A batch acknowledged takes a line, not a hundred; none at all takes nothing."""
    segment = create(tmp_path, NAME)
    segment.write(lines(300), 300)
    segment.acknowledge(range(100))
    segment.acknowledge([])
    segment.acknowledge([299, 101, 100, 298])
    sums = [line.partition(b" ")[2] for line in segment.ack_path.read_bytes().split()]
    assert segment.ack_path.read_bytes() == format_entry(b"0-99") + format_entry(b"100-101,298-299"), sums
    segment.close()


def test_deleted_acknowledgements_are_written_again(tmp_path: Path) -> None:
    """Somebody removes the list: what it said is said again, and nothing else."""
    segment = create(tmp_path, NAME)
    segment.write(lines(5), 5)
    for number in (0, 3):
        segment.set_state(number, ACKNOWLEDGED)
        segment.acknowledge([number])
    segment.ack_path.unlink()
    segment.catch_up()
    segment.close()
    after = adopted(tmp_path / NAME)
    after.read_index()
    assert free_numbers(after) == [1, 2, 4]
    after.close()


@pytest.mark.parametrize(
    "content",
    [b"5", b"5\n", b"00000000 5\n", b"4cad93ca 5 \n", b"4cad93ca 6\n", b"4cad93ca -5\n", b"\xff5\n", b"\0"],
)
def test_rubbish_acknowledges_nothing(tmp_path: Path, content: bytes) -> None:
    """Only an entry with the right sum counts."""
    segment = adopted(abandoned(tmp_path, lines(8), content))
    segment.read_index()
    assert free_numbers(segment) == list(range(8))
    segment.close()


def test_an_acknowledged_number_that_is_not_there_harms_nothing(tmp_path: Path) -> None:
    """An acknowledgement may have outlived the line that it is for."""
    segment = adopted(abandoned(tmp_path, lines(2), entry(1_000_000) + entry(1)))
    segment.read_index()
    assert free_numbers(segment) == [0]
    assert len(segment.states) <= 2
    segment.close()


def test_removing_takes_both_files(tmp_path: Path) -> None:
    """Nothing is left, and closing twice does no harm."""
    segment = create(tmp_path, NAME)
    segment.write(lines(1), 1)
    segment.acknowledge([0])
    segment.remove()
    segment.close()
    assert list(tmp_path.iterdir()) == []


def test_repr_shows_the_state(tmp_path: Path) -> None:
    """Name, what is not acknowledged, what is on disk only, the size."""
    segment = create(tmp_path, NAME)
    segment.write(lines(2), 2)
    assert repr(segment) == f"<Segment {NAME}: 2 unacknowledged, 0 on disk only, {segment.size} bytes>"
    segment.close()


def test_closing_tolerates_descriptors_that_are_closed_already(tmp_path: Path) -> None:
    """As in a child whose parent was closing the segment at the moment of the fork."""
    segment = create(tmp_path, NAME)
    os.close(segment.fd)
    segment.close()
