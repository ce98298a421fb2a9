"""A spool's directory that several processes share, and records to put there: for tests without threads."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from banyan_hp.engine.records.ledger import Book, Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.spool.entries import Entry
from banyan_hp.engine.spool.layout import segment_name
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.reader import Replayed
from banyan_hp.engine.spool.spool import Spool, SpoolSettings
from tests.support.clock import FakeClock

NOW = 1_767_225_600.0
MANY = 1000
MUCH = 10_000_000


def call_id(process: str, call: int) -> str:
    """An id of the library's own: of a process's call."""
    return f"{process:0>16}-{call:x}-6440ca34d1f40"


class Ledger:
    """An observer that writes down its calls."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.failures = 0

    def adopted(self, count: int, damaged: int) -> None:
        self.events.append(("adopted", count, damaged))

    def handed_back(self, count: int) -> None:
        self.events.append(("handed back", count))

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None:
        self.events.append(("lost", count, reason, own))

    def damaged_on_disk(self, count: int, *, own: bool) -> None:
        self.events.append(("damaged", count, own))

    def disk_failed(self) -> None:
        self.failures += 1


class Disk:
    """A directory and a clock that several processes share, and their spools."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock(wall=NOW)
        self.spools: list[Spool] = []

    def spool(
        self,
        *,
        max_bytes: int = MUCH,
        max_age: float = 1e6,
        durable: bool = False,
        fsync: str = "never",
        observer: Ledger | None = None,
        previous: tuple[Path, ...] = (),
    ) -> Spool:
        """Another process."""
        settings = SpoolSettings(self.directory, max_bytes, max_age, durable, fsync, previous=previous)
        spool = Spool(settings, f"{len(self.spools) + 1:x}", self.clock, observer or Ledger())
        self.spools.append(spool)
        spool.open()
        return spool

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []

    def segments(self) -> list[str]:
        return [name for name in self.names() if name.endswith(".v1.jsonl") and name[0] in "01"]

    def quarantined(self) -> list[Entry]:
        return Quarantine(self.directory, self.clock).entries()


def record(number: int, size: int = 20, ident: str | None = None) -> Record:
    body = b'{"x":"%s"}' % (b"x" * max(0, size - 8))
    made = Record(
        id=ident or f"id-{number}",
        time=NOW + number,
        value=None,
        size=len(body),
        queued_at=0.0,
        book=Book(),
        term=Term.IN_FLIGHT,
    )
    made.body = body
    return made


def records(*numbers: int, size: int = 20) -> list[Record]:
    return [record(number, size) for number in numbers]


def spooled(spool: Spool, *numbers: int, size: int = 20) -> list[Record]:
    """Records that are on disk only."""
    written = records(*numbers, size=size)
    assert spool.append(written)
    spool.release(written)
    return written


def read(spool: Spool, count: int = MANY, size: int = MUCH) -> list[Replayed]:
    return spool.read_back(count, size)


def in_hand(replayed: list[Replayed]) -> list[Record]:
    """Records as the worker makes them of what was read."""
    made = []
    for each in replayed:
        made.append(record(0, ident=each.line.id))
        made[-1].place = each.place
    return made


def ids(replayed: list[Replayed]) -> list[int]:
    return [int(each.line.id.removeprefix("id-")) for each in replayed]


def abandoned(disk: Disk, content: bytes, number: int = 0) -> Path:
    """What a process that died leaves behind."""
    disk.directory.mkdir(parents=True, exist_ok=True)
    path = disk.directory / segment_name(NOW - 100 + number, "dead", number)
    path.write_bytes(content)
    return path


def lines(*numbers: int) -> bytes:
    return b"".join(
        format_line(place, f"id-{number}", NOW + number, b"{}") for place, number in enumerate(numbers)
    )


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


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")
