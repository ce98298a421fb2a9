"""The directory of one destination: whether it may be used, what lies in it, and what is left over.

    <base>/spool/<16 digits for URL and project>-<16 for the key>/
        <created ms>-<process>-<number>.v1.jsonl    a segment, see `segment`
        <the same>.ack                              what of it is settled, see `acks`
        .<the same>.tmp                             a segment in the making
        destination.v1.json                         which destination this is, for people, see `address`
        health.v1.json                              whether the backend answers, see `silence`
        quarantine.v1.jsonl                         refused records

A key itself is never written, nor anything that it could be had from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...files import check_own_directory, make_own_directory
from .address import ADDRESS_NAME, Address
from .segment import Segment, is_segment, lockable
from .silence import HEALTH_NAME

OLD_SECONDS = 3600.0  # what is left over for so long has no process that still works on it

_TEMPORARY = re.compile(r"\.\d{13}-[0-9a-f]+-\d+\.v1\.jsonl\.tmp")
_REPLACED = "|".join(map(re.escape, (ADDRESS_NAME, HEALTH_NAME)))
_HALF_WRITTEN = re.compile(rf"\.(?:{_REPLACED})\.[0-9a-f]{{16}}\.tmp")
_OTHER_VERSION = re.compile(r"\d{13}-[0-9a-f]+-\d+\.v\d+\.jsonl")


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a directory."""

    segments: list[Path]
    unknown: list[str]


class Directory:
    """One destination's directory, private to its user. All methods raise `OSError`.

    Args:
        path: need not be there yet.
        durable: its name is to survive a power cut.
        address: what it is to say of itself once something is written there.
    """

    def __init__(self, path: Path, *, durable: bool = False, address: Address | None = None) -> None:
        self.path = path
        self._durable = durable
        self._address = address

    def prepare(self) -> Path:
        """Have it ready to be written to."""
        self.check()
        if self._address is not None:
            self._address.write(self.path)
        return self.path

    def check(self) -> Path:
        """Make it if need be, and make sure that it is ours."""
        if not lockable():
            raise OSError("this system has no flock; the spool needs Linux or macOS")
        if not self.path.is_absolute():
            raise OSError("no directory for it is known, set spool_dir")
        make_own_directory(self.path, durable=self._durable)
        return self.path

    def listing(self) -> Listing:
        names = [path.name for path in self.check().iterdir()]
        segments = [self.path / name for name in sorted(names) if is_segment(name)]
        unknown = [name for name in names if _OTHER_VERSION.fullmatch(name) and not is_segment(name)]
        return Listing(segments, sorted(unknown))

    # -- left-overs -------------------------------------------------------------------------------------

    def clean(self, now: float) -> None:
        """Delete what processes that died left half made or half deleted. `now` is the wall clock."""
        for path in list(self.path.iterdir()):
            if _TEMPORARY.fullmatch(path.name) and _is_old(path, now):
                self._delete_if_abandoned(path)
            elif (_HALF_WRITTEN.fullmatch(path.name) or _is_orphan(path)) and _is_old(path, now):
                path.unlink(missing_ok=True)

    def _delete_if_abandoned(self, path: Path) -> None:
        half_made = Segment.adopt(path)
        if half_made is not None:
            half_made.remove()


def segments_in(directory: Path) -> list[Path]:
    """The segments of another directory, if it is there; it is not made.

    Raises:
        OSError: it can't be listed, or is not ours.
    """
    try:
        check_own_directory(directory)
        return sorted(path for path in directory.iterdir() if is_segment(path.name))
    except FileNotFoundError:
        return []


def _is_orphan(path: Path) -> bool:
    """Whether this lists what is settled of a segment that is no more."""
    return path.suffix == ".ack" and is_segment(path.stem) and not path.with_suffix("").exists()


def _is_old(path: Path, now: float) -> bool:
    try:
        return path.lstat().st_mtime < now - OLD_SECONDS
    except FileNotFoundError:
        return False


def sizes(paths: Sequence[Path]) -> int:
    """The bytes of these files; one that is gone has none."""
    return sum(map(size_of, paths))


def size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
