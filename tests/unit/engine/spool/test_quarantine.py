"""The quarantine: what it keeps, how it is bounded, and that many processes can use it at once."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from banyan_hp.engine.spool import quarantine as module
from banyan_hp.engine.spool.entries import DETAIL_LENGTH, LINE, Entry, format_entry, parse_entry
from banyan_hp.engine.spool.quarantine import LOCK_SECONDS, QUARANTINE_NAME, Quarantine
from tests.support.clock import FakeClock
from tests.support.disk import (
    Disk,
    full_disk,
    record,
    spooled,
)

NOW = 1_767_225_600.0
_real_write = os.write


def quarantine(directory: Path, max_bytes: int = 100_000) -> Quarantine:
    return Quarantine(directory, FakeClock(wall=NOW), max_bytes=max_bytes)


def entry(number: int, body: bytes = b'{"x":1}') -> Entry:
    return Entry("refused", body, status=422, detail="bad", id=f"id-{number}", time=NOW + number)


def numbers(kept: Quarantine) -> list[int]:
    return [int(str(found.id)[3:]) for found in kept.entries()]


def held(kept: Quarantine) -> AbstractContextManager[int]:
    """As by another process that is writing."""
    return kept._locked()  # private: every public call releases it again


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


# -- entries -------------------------------------------------------------------------------------------------


PRINTABLE = some.characters(min_codepoint=33, max_codepoint=126)


@settings(max_examples=100, deadline=None)
@given(
    some.builds(
        Entry,
        reason=some.text(PRINTABLE),
        body=some.one_of(
            some.binary(),
            some.text().map(str.encode),
            some.recursive(
                some.none() | some.integers() | some.text(), lambda inner: some.lists(inner, max_size=3)
            ).map(lambda value: json.dumps(value).encode()),
        ),
        origin=some.sampled_from(["record", "line"]),
        status=some.none() | some.integers(100, 599),
        detail=some.text(PRINTABLE),
        segment=some.none() | some.text(),
        id=some.none() | some.text(PRINTABLE, min_size=1, max_size=256),
        time=some.none() | some.integers(0, 2**32).map(float),
        at=some.integers(0, 2**32).map(float),
    )
)
def test_an_entry_comes_back_as_it_was(one: Entry) -> None:
    """Whatever the body's bytes are; on one line, which is JSON."""
    line = format_entry(one)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert isinstance(json.loads(line), dict)
    assert parse_entry(line[:-1]) == one


def test_json_bodies_stand_in_the_line_as_they_are() -> None:
    """What people grep for is there unescaped; text is text, and only the rest is base64."""
    assert b'"body":{"q": "caf\xc3\xa9"}}' in format_entry(entry(1, '{"q": "café"}'.encode()))
    assert json.loads(format_entry(entry(1, b"torn {")))["text"] == "torn {"
    assert json.loads(format_entry(entry(1, b"\xff\x00\xfe")))["base64"] == "/wD+"


def test_the_backend_s_words_are_bounded() -> None:
    """A page of HTML per record would fill the quarantine."""
    line = format_entry(Entry("refused", b"{}", detail="x" * 10_000))
    assert len(json.loads(line)["detail"]) == DETAIL_LENGTH


def test_a_line_with_one_wrong_bit_is_no_entry() -> None:
    """It would be sent again as something else."""
    line = format_entry(entry(1))[:-1]
    for at in range(len(line)):
        assert parse_entry(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]) is None
        assert parse_entry(line[:at]) is None


@pytest.mark.parametrize(
    ("one", "sendable"),
    [
        (entry(1), True),
        (entry(1, b"\xff"), False),
        (Entry("corrupt", b"{}", LINE, segment="s"), False),
        (Entry("refused", b"{}"), False),
    ],
)
def test_only_whole_records_can_be_sent(one: Entry, sendable: bool) -> None:
    """A damaged line, or a body that is not JSON, is for people to look at."""
    assert one.sendable is sendable


# -- keeping -------------------------------------------------------------------------------------------------


def test_entries_are_private_and_in_order(tmp_path: Path) -> None:
    """With the time at which they came."""
    kept = quarantine(tmp_path)
    assert all(kept.add(entry(number)) for number in range(3))
    assert numbers(kept) == [0, 1, 2]
    assert {found.at for found in kept.entries()} == {NOW}
    assert stat.S_IMODE((tmp_path / QUARANTINE_NAME).stat().st_mode) == 0o600
    assert kept.size == (tmp_path / QUARANTINE_NAME).stat().st_size


def test_it_is_bounded_and_counts_what_it_gives_up(tmp_path: Path) -> None:
    """The oldest go first; none is gone uncounted."""
    kept = quarantine(tmp_path, 2000)
    for number in range(50):
        assert kept.add(entry(number))
        assert kept.size <= 2000
    left = numbers(kept)
    assert left == list(range(50 - len(left), 50))
    assert 0 < kept.evicted == 50 - len(left)


def test_an_entry_larger_than_half_the_bound_is_not_taken(tmp_path: Path) -> None:
    """It would push out all others."""
    kept = quarantine(tmp_path, 2000)
    assert kept.add(entry(1))
    assert not kept.add(entry(2, b'"%s"' % (b"x" * 1000)))
    assert numbers(kept) == [1]


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path) -> None:
    """Whatever a crash left behind, the entries around it are read, and the next one is whole."""
    kept = quarantine(tmp_path)
    kept.add(entry(1))
    with (tmp_path / QUARANTINE_NAME).open("ab") as file:
        file.write(b"\n[[[\n\xff\n" + format_entry(entry(2))[:40])
    kept.add(entry(3))
    assert numbers(kept) == [1, 3]


def test_a_line_found_again_is_kept_once(tmp_path: Path) -> None:
    """By segment and content; the same damage in another segment is another one."""
    kept = quarantine(tmp_path)
    assert kept.add_damage("one", [b"bad", b"worse"]) == 2
    assert kept.add_damage("one", [b"bad", b"new"]) == 2
    assert kept.add_damage("two", [b"bad"]) == 1
    assert [(found.segment, found.body) for found in kept.entries()] == [
        ("one", b"bad"), ("one", b"worse"), ("one", b"new"), ("two", b"bad")
    ]  # fmt: skip


# -- trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["open", "write", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_failing_disk_is_an_error_and_leaves_the_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int
) -> None:
    """At whatever operation it fails: what was there stays readable, and the next entry is taken."""
    kept = Quarantine(tmp_path, FakeClock(), sync=True)
    kept.add(entry(1))
    with monkeypatch.context() as patched:
        patched.setattr(os, operation, failing(number))
        with pytest.raises(OSError, match=os.strerror(number)):
            kept.add(entry(2))
    assert numbers(kept) == [1]
    kept.add(entry(3))
    assert numbers(kept) == [1, 3]


def test_an_entry_that_the_disk_took_in_part_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is as before."""
    kept = quarantine(tmp_path)
    kept.add(entry(1))
    before = (tmp_path / QUARANTINE_NAME).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: _real_write(fd, bytes(data)[:9]))
        with pytest.raises(OSError, match="only a part"):
            kept.add(entry(2))
    assert (tmp_path / QUARANTINE_NAME).read_bytes() == before


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Somebody else's file is neither read nor written."""
    target = tmp_path / "target"
    target.write_bytes(format_entry(entry(1)))
    (tmp_path / QUARANTINE_NAME).symlink_to(target)
    kept = quarantine(tmp_path)
    with pytest.raises(OSError, match="symbolic link"):
        kept.add(entry(2))
    with pytest.raises(OSError, match="symbolic link"):
        kept.entries()
    assert target.read_bytes() == format_entry(entry(1))


def test_a_pipe_in_the_way_blocks_nobody(tmp_path: Path) -> None:
    """It is refused as what it is."""
    os.mkfifo(tmp_path / QUARANTINE_NAME)
    with pytest.raises(PermissionError, match="not a regular file"):
        quarantine(tmp_path).add(entry(1))


def test_a_holder_that_stands_still_is_not_waited_for_long(tmp_path: Path) -> None:
    """The wait has an end, and says for what it was."""
    kept = quarantine(tmp_path)
    with held(quarantine(tmp_path)), pytest.raises(TimeoutError, match=f"for {LOCK_SECONDS:g} s"):
        kept.add(entry(1))
    kept.add(entry(2))
    assert numbers(kept) == [2]


def test_a_child_forked_under_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    """A copy of the descriptor in a child that lives on locks nobody out."""
    kept = quarantine(tmp_path)
    with held(kept) as fd:
        inherited = os.dup(fd)  # shares the lock, as a forked child's descriptor does
    try:
        assert kept.add(entry(1))
    finally:
        os.close(inherited)


# -- many processes ------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from banyan_hp.engine.sync import Clock
from banyan_hp.engine.spool.entries import Entry
from banyan_hp.engine.spool.quarantine import Quarantine
kept = Quarantine(Path(sys.argv[1]), Clock(), max_bytes=int(sys.argv[3]))
for number in range(200):
    assert kept.add(Entry("refused", b'{"x":"%s"}' % (b"x" * 50), id=f"{sys.argv[2]}-{number}", time=1.0))
print(kept.evicted)
"""


def write_from_processes(directory: Path, max_bytes: int) -> int:
    """Four processes, 200 entries each; returns how many they say they have given up."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory), str(number), str(max_bytes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    said = [writer.communicate(timeout=30)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    return sum(map(int, said))


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    """Each entry is there once, whole, and in its writer's order."""
    assert write_from_processes(tmp_path, 10_000_000) == 0
    ids = [str(found.id) for found in quarantine(tmp_path).entries()]
    assert len(ids) == len(set(ids)) == 800
    for writer in range(4):
        mine = [ident for ident in ids if ident.startswith(f"{writer}-")]
        assert mine == [f"{writer}-{number}" for number in range(200)]


def test_rotation_by_many_processes_loses_nothing_uncounted(tmp_path: Path) -> None:
    """What is there and what was given up is all that was written."""
    evicted = write_from_processes(tmp_path, 20_000)
    kept = quarantine(tmp_path, 20_000)
    left = [found.id for found in kept.entries()]
    assert len(left) == len(set(left))
    assert kept.size <= 20_000
    assert evicted + len(left) == 800


def test_a_rotation_while_reading_shows_each_entry_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the newer file when reading began is neither missed nor shown twice."""
    kept = quarantine(tmp_path, 2000)
    for number in range(4):
        kept.add(entry(number))
    # private: a moment between two reads of one call
    real = module._read_with_inode
    reads = []

    def read(path: Path) -> tuple[bytes, int]:
        content = real(path)
        reads.append(path)
        if len(reads) == 1:
            newer = tmp_path / QUARANTINE_NAME
            newer.replace(tmp_path / (QUARANTINE_NAME + ".old"))
            newer.write_bytes(format_entry(entry(9)))
        return content

    # private: likewise
    monkeypatch.setattr(module, "_read_with_inode", read)
    assert numbers(kept) == [0, 1, 2, 3]


# -- taking out ----------------------------------------------------------------------------------------------


def test_taking_leaves_the_others(tmp_path: Path) -> None:
    """From both files, after they are safe elsewhere."""
    kept = quarantine(tmp_path, 4000)
    for number in range(20):
        kept.add(entry(number))
    before = numbers(kept)
    assert (tmp_path / (QUARANTINE_NAME + ".old")).exists()
    saved: list[Entry] = []
    taken = kept.take(lambda found: found.id in {f"id-{before[0]}", f"id-{before[-1]}"}, saved.extend)
    assert saved == taken
    assert [found.id for found in taken] == [f"id-{before[0]}", f"id-{before[-1]}"]
    assert numbers(kept) == before[1:-1]


def test_taking_everything_leaves_no_file(tmp_path: Path) -> None:
    """Nor does taking from nothing make one."""
    kept = quarantine(tmp_path)
    assert kept.take(lambda _: True, lambda _: None) == []
    assert not list(tmp_path.iterdir())
    kept.add(entry(1))
    assert len(kept.take(lambda _: True, lambda _: None)) == 1
    assert not list(tmp_path.iterdir())


def test_what_can_t_be_kept_elsewhere_stays(tmp_path: Path) -> None:
    """The error goes to the caller, the entries nowhere."""
    kept = quarantine(tmp_path)
    kept.add(entry(1))
    with pytest.raises(OSError, match="No space"):
        kept.take(lambda _: True, failing(errno.ENOSPC))
    assert numbers(kept) == [1]


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "replace"])
def test_a_failure_while_taking_repeats_but_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Each entry is still in the quarantine, or safe elsewhere, or both; and no rubbish is left."""
    kept = quarantine(tmp_path)
    for number in range(4):
        kept.add(entry(number))
    saved: list[Entry] = []

    def keep(entries: list[Entry]) -> None:
        saved.extend(entries)
        monkeypatch.setattr(os, operation, failing(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        kept.take(lambda found: found.id == "id-1", keep)
    monkeypatch.undo()
    assert {found.id for found in (*saved, *kept.entries())} == {f"id-{number}" for number in range(4)}
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE_NAME]


def test_a_writer_that_waited_for_a_rewrite_writes_to_the_new_file(tmp_path: Path) -> None:
    """Its descriptor may be of the file that was replaced: it looks again."""
    kept, other = quarantine(tmp_path), quarantine(tmp_path)
    kept.add(entry(1))
    kept.add(entry(2))
    real = Quarantine._try_lock  # private: the moment between the opening and the lock
    opened_before = os.open(tmp_path / QUARANTINE_NAME, os.O_RDWR)
    kept.take(lambda found: found.id == "id-1", lambda _: None)
    opens = iter([opened_before])
    with pytest.MonkeyPatch.context() as patched:
        real_open = os.open
        patched.setattr(os, "open", lambda *a, **k: next(opens, None) or real_open(*a, **k))
        assert real(other) is None
    assert other.add(entry(3))
    assert numbers(kept) == [2, 3]


# -- from the spool ------------------------------------------------------------------------------------------


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
    with held(Quarantine(disk.directory, disk.clock)):
        assert not spool.quarantine(record(1), "refused", 422, "")
    assert spool.usable
    assert spool.quarantine(record(2), "refused", 422, "")
