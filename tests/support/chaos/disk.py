"""The file system of the spool: filled, freed, robbed of files; and what its files say.

The reader shares no code with the engine: what both read wrong would otherwise look right.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

_BYTES = 3 * 2**20
_ENTRY = re.compile(rb"([0-9a-f]{8}) ([\d,-]+)")


class ChaosDisk:
    """A directory for the spool, on a small file system of its own where the plan wants that and root allows.

    A context manager: what was mounted is unmounted at the end.

    Attributes:
        kind: well, tmpfs or fake; what is wanted as tmpfs and can't be mounted is faked.
        full: when it was full, as pairs of times.
    """

    def __init__(self, directory: Path, kind: str, seed: int) -> None:
        self.base = directory / "disk"
        self.flag = directory / "full"
        self.kind = kind
        self.full: list[tuple[float, float]] = []
        self._chance = random.Random(f"{seed} disk")
        self._deleted: list[int] = []  # descriptors of files that have no name any more
        self._mounted = False

    @property
    def spool(self) -> Path:
        return self.base / "state"

    def __enter__(self) -> ChaosDisk:
        self.base.mkdir()
        if self.kind == "tmpfs":
            self._mounted = self._mount()
            self.kind = "tmpfs" if self._mounted else "fake"
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._deleted:
            os.close(fd)
        if self._mounted:
            subprocess.run(["umount", "--lazy", self.base], check=False)

    def _mount(self) -> bool:
        if os.geteuid() != 0:
            return False
        command = ["mount", "-t", "tmpfs", "-o", f"size={_BYTES},mode=700", "banyan-hp-chaos", str(self.base)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    # -- full -------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """From now on nothing more fits on it."""
        if self.kind == "tmpfs":
            with (self.base / "ballast").open("ab", buffering=0) as ballast:
                _write_until_full(ballast.fileno())
        else:
            self.flag.touch()
        self.full.append((time.monotonic(), float("inf")))

    def free(self) -> None:
        (self.base / "ballast").unlink(missing_ok=True)
        self.flag.unlink(missing_ok=True)
        if self.full:
            self.full[-1] = (self.full[-1][0], time.monotonic())

    def was_full(self, begin: float, end: float) -> bool:
        return any(begin <= until and end >= since for since, until in self.full)

    # -- deleted files ----------------------------------------------------------------------------------

    def delete(self) -> None:
        """Delete some segments with their acknowledgements; what they hold to the end stays readable here."""
        segments = sorted(_segments(self.spool))
        for path in self._chance.sample(segments, min(len(segments), 2)):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            self._deleted.append(fd)
            path.unlink(missing_ok=True)
            _ack_of(path).unlink(missing_ok=True)

    def deleted(self) -> set[str]:
        """The inputs of the records in the files that were deleted."""
        return {text for fd in self._deleted for _, text in _records(_whole(fd))}

    # -- what is there ----------------------------------------------------------------------------------

    def unsent(self) -> set[str]:
        """The inputs of the records that are on disk and not acknowledged."""
        found = set()
        for path in _segments(self.spool):
            settled = _settled(_ack_of(path))
            found |= {text for number, text in _records(path.read_bytes()) if number not in settled}
        return found

    def segments(self) -> list[Path]:
        return _segments(self.spool)

    def quarantined(self) -> dict[str, str]:
        """The inputs of the records in quarantine, each with the reason."""
        entries = [entry for path in self.spool.rglob("quarantine.v1.jsonl*") for entry in _entries(path)]
        return {entry["body"]["input"]: entry["reason"] for entry in entries if "body" in entry}


def _write_until_full(fd: int) -> None:
    size = 2**20
    while size:
        try:
            os.write(fd, bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size //= 2


def _segments(spool: Path) -> list[Path]:
    return [path for path in spool.rglob("*.v1.jsonl") if path.name[0].isdigit()]


def _ack_of(path: Path) -> Path:
    return path.with_name(path.name + ".ack")


def _whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _lines(content: bytes) -> list[dict[str, Any]]:
    """The JSON of the lines whose checksum is right."""
    return [
        json.loads(line)
        for line in content.split(b"\n")
        if line.startswith(b'{"crc":"') and line[8:16] == b"%08x" % zlib.crc32(line[18:])
    ]


def _records(content: bytes) -> list[tuple[int, str]]:
    return [(line["n"], line["body"]["input"]) for line in _lines(content)]


def _entries(path: Path) -> list[dict[str, Any]]:
    return _lines(path.read_bytes())


def _settled(ack: Path) -> set[int]:
    numbers: set[int] = set()
    if not ack.exists():
        return numbers
    for line in ack.read_bytes().split(b"\n"):
        entry = _ENTRY.fullmatch(line)
        if entry is not None and entry[1] == b"%08x" % zlib.crc32(entry[2]):
            for part in entry[2].decode().split(","):
                first, _, last = part.partition("-")
                numbers.update(range(int(first), int(last or first) + 1))
    return numbers
