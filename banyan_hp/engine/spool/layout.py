"""Where the records of one destination lie: the directory's name, what lies in it, and whose it is.

    <base>/spool/<16 digits for URL and project>-<16 for the key>/
        <created ms>-<process>-<number>.v1.jsonl    a segment, see `segment`
        <the same>.ack                              which of its records are acknowledged
        .<the same>.tmp                             a segment in the making
        destination.v1.json                         which destination this is, for people
        health.v1.json                              whether the backend answers, see `backend_health`
        quarantine.v1.jsonl                         refused records
        discarded.v1.jsonl                          copies of what a collector took and threw away in part

A key itself is never written, nor anything that it could be derived from: only 64 bits of a hash of it. The
first versions took 32 bits, too few to tell keys apart for certain. Their directories are listed and sent on
request (`banyan-hp spool replay --from-key`), but no application takes records from them by itself.

`destination.v1.json` says what the directory's name, being hashes, can't. Delivery works without it:

    {"client": "banyan", "base_url": "https://…", "project": "…", "key_fingerprint": "0123456789abcdef"}
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ...files import can_lock, check_own_directory, make_own_directory, read_file, replace_file
from ...settings import checked_url

FORMAT = "v1"
SUFFIX = f".{FORMAT}.jsonl"
ADDRESS_NAME = "destination.v1.json"
KEYS = ("client", "base_url", "project", "key_fingerprint")
_LONGEST = 65536
_FINGERPRINT = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{8})?")
_SHORT = 8
_ON_MACOS = sys.platform == "darwin"
_NAME = re.compile(r"(\d{13})-([0-9a-f]+)-(\d+)\.v1\.jsonl")
_OTHER_VERSION = re.compile(r"\d{13}-[0-9a-f]+-\d+\.v\d+\.jsonl")


def is_segment(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def created_at(name: str) -> float:
    match = _NAME.fullmatch(name)
    return int(match[1]) / 1000 if match else 0.0


def segment_name(created: float, process: str, number: int) -> str:
    return f"{round(created * 1000):013d}-{process}-{number:04d}{SUFFIX}"


def key_fingerprint(key: str) -> str:
    """16 hex digits that tell keys apart, and from which no key can be derived."""
    return hashlib.sha256(b"banyan_hp key\0" + key.encode()).hexdigest()[:16]


def is_fingerprint(text: str) -> bool:
    """Whether this has the form of a fingerprint, be it a short one of the first versions."""
    return _FINGERPRINT.fullmatch(text) is not None


def short_directory(directory: Path) -> Path:
    """Where the first versions kept the records of the same destination and key."""
    where, _, fingerprint = directory.name.rpartition("-")
    return directory.with_name(f"{where}-{fingerprint[:_SHORT]}")


def destination_directory(base: Path, identity: Sequence[str], key: str) -> Path:
    """One directory a destination and key: a tenant's records must not leave under another's key."""
    return base / "spool" / Address.of(identity, key).directory_name


def spool_bases(given: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """The directories below which all spools are, absolute: the one given, else the user's state directory.

    Behind that, where an earlier platformdirs had the spools, if it is there.

    Raises:
        RuntimeError, KeyError: there is no home directory.
        OSError: the working directory is gone.
    """
    base = Path(given or _state_directory())
    if not given and not base.is_absolute():  # without a home it begins with a tilde
        raise RuntimeError("this user has no home directory")
    base, earlier = base.absolute(), None if given else _earlier_base()
    return (base, earlier) if earlier is not None and earlier != base and _was_there(earlier) else (base,)


def _state_directory() -> Path:
    import platformdirs  # only needed where no directory is given

    return platformdirs.user_state_path("banyan_hp")


def _earlier_base() -> Path | None:
    """On macOS platformdirs looks at XDG_STATE_HOME from version 4.6 on."""
    if not _ON_MACOS or not os.environ.get("XDG_STATE_HOME", "").strip():
        return None
    try:
        return Path.home() / "Library" / "Application Support" / "banyan_hp"
    except (RuntimeError, KeyError):  # there is no home directory
        return None


@cache
def _was_there(directory: Path) -> bool:
    """When this process first looked: nothing makes it any more."""
    return directory.is_dir()


class Address(NamedTuple):
    """Where the records of one directory go, as `destination.v1.json` says it."""

    client: str  # "banyan" or "huggingplace"
    base_url: str
    project: str  # or HuggingPlace's organisation; may be empty
    fingerprint: str  # of the key

    @classmethod
    def of(cls, identity: Sequence[str], key: str) -> Address:
        client, base_url, project = identity
        return cls(client, base_url, project, key_fingerprint(key))

    @property
    def directory_name(self) -> str:
        where = hashlib.sha256("\0".join(self[:3]).encode()).hexdigest()[:16]
        return f"{where}-{self.fingerprint}"

    @classmethod
    def read(cls, directory: Path) -> Address | None:
        """None if the file is not there, or does not fit the directory's name."""
        try:
            fields = json.loads(read_file(directory / ADDRESS_NAME, _LONGEST).decode("utf-8"))
            address = cls(*(fields[key] for key in KEYS))
            checked_url("base_url", address.base_url)
            return address if address.directory_name == directory.name else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, directory: Path) -> None:
        """Write it into the directory, once. A failure is ignored: only people miss the file."""
        path = directory / ADDRESS_NAME
        if not os.path.lexists(path):
            with suppress(OSError):
                replace_file(path, json.dumps(self.fields()).encode() + b"\n")

    def fields(self) -> dict[str, str]:
        return dict(zip(KEYS, self, strict=True))


class Directory:
    """One destination's directory, private to its user. All methods raise `OSError`."""

    def __init__(self, path: Path, *, durable: bool = False, address: Address | None = None) -> None:
        self.path = path
        self._durable = durable  # its name survives a power cut, too
        self._address = address  # written into it together with the first record

    def prepare(self) -> Path:
        self.check()
        if self._address is not None:
            self._address.write(self.path)
        return self.path

    def check(self) -> Path:
        """Make it, if need be, and check that it is ours."""
        if not can_lock():
            raise OSError("this system has no flock; the spool needs Linux or macOS")
        if not self.path.is_absolute():
            raise OSError("no directory for it is known, set spool_dir")
        make_own_directory(self.path, durable=self._durable)
        return self.path

    def listing(self) -> tuple[list[Path], list[str]]:
        """Its segments, and the names of those that another version of this library has made."""
        names = sorted(path.name for path in self.check().iterdir())
        unknown = [name for name in names if _OTHER_VERSION.fullmatch(name) and not is_segment(name)]
        return [self.path / name for name in names if is_segment(name)], unknown


def segments_in(directory: Path) -> list[Path]:
    """The segments of another directory, if it is there; it is not made. Raises `OSError`."""
    try:
        check_own_directory(directory)
        return sorted(path for path in directory.iterdir() if is_segment(path.name))
    except FileNotFoundError:
        return []


def size_of(path: Path) -> int:
    """Its bytes; 0 if it is gone."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0
