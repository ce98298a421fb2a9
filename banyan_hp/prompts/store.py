"""The last known good answers on disk, so that a restart during an outage finds them.

One file an answer, `<hash of the question>.v1.json`, an object with `question`, `fetched_at` (UTC, seconds),
`etag` and `answer` (the backend's JSON). Written beside and renamed over, so that it is always whole; any
number of processes may write. Directory 0700, files 0600, no links followed. Nothing here raises: a disk that
can't be used means that nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..engine.log import warn

MAX_FILES = 1000
MAX_BYTES = 4 * 1024 * 1024
WRITE_AGAIN_SECONDS = 600.0
_SUFFIX = ".v1.json"
_TEMPORARY = ".tmp"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it stands on disk."""

    question: list[Any]
    fetched_at: float
    etag: str | None
    answer: dict[str, Any]


class Store:
    """The answers of one destination. Thread-safe. An answer that stays the same is seldom written again.

    Args:
        directory: made when first needed; None remembers nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._written: dict[Path, tuple[str, float]] = {}  # what each file holds, and its time

    def load(self, question: Iterable[Any]) -> Kept | None:
        """What was kept for a question; None if there is nothing, or nothing that can be read."""
        if self._directory is None:
            return None
        try:
            content = _read(self._path(self._directory, question))
            kept = Kept(**json.loads(content))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        whole = kept.question == _plain(question) and isinstance(kept.answer, dict)
        return kept if whole and isinstance(kept.fetched_at, (int, float)) else None

    def keep(
        self, question: Iterable[Any], answer: dict[str, Any], etag: str | None, fetched_at: float
    ) -> None:
        """Remember an answer in the place of an earlier one."""
        if self._directory is None:
            return
        path = self._path(self._directory, question)
        digest = hashlib.sha256(json.dumps([etag, answer]).encode("ascii")).hexdigest()
        earlier, at = self._written.get(path, ("", 0.0))
        if earlier == digest and 0 <= fetched_at - at < WRITE_AGAIN_SECONDS:
            return
        content = json.dumps(asdict(Kept(_plain(question), fetched_at, etag, answer))).encode("ascii")
        if len(content) > MAX_BYTES:
            return
        try:
            _own_directory(self._directory)
            _replace(path, content)
            if not earlier:
                _make_room(self._directory)
            self._written[path] = (digest, fetched_at)
        except OSError as error:
            warn("prompt store", "prompts can't be kept in %s: %s", self._directory, error)

    def forget(self, question: Iterable[Any]) -> None:
        """The backend says that there is none."""
        if self._directory is not None:
            with suppress(OSError):
                path = self._path(self._directory, question)
                self._written.pop(path, None)
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        if self._directory is None:
            return
        self._written.clear()
        with suppress(OSError):
            for path in _files(self._directory):
                path.unlink(missing_ok=True)

    def _path(self, directory: Path, question: Iterable[Any]) -> Path:
        name = json.dumps(_plain(question)).encode("ascii")
        return directory / (hashlib.sha256(name).hexdigest()[:32] + _SUFFIX)


def _plain(question: Iterable[Any]) -> list[Any]:
    """The question as JSON has it: lists for tuples."""
    return [_plain(each) if isinstance(each, tuple) else each for each in question]


def _own_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is a symbolic link or belongs to another user")


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}{_TEMPORARY}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _make_room(directory: Path) -> None:
    """Keep the newest; what was cut short between writing and renaming goes with the old."""
    files = sorted(_files(directory), key=_written_at)
    for path in files[: max(0, len(files) - MAX_FILES)]:
        path.unlink(missing_ok=True)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.endswith((_SUFFIX, _TEMPORARY))]


def _written_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
