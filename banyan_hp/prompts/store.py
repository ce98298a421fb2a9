"""The last known good answers on disk, so that a restart during an outage finds them.

One file an answer, `<hash of the question>.v1.json`, an object with `question`, `fetched_at` (UTC, seconds),
`etag` and `answer` (the backend's JSON). Written beside and renamed over, so that it is always whole; any
number of processes may write. Directory 0700, files 0600, no links followed, owner checked. Nothing here
raises: a disk that can't be used means that nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files import check_own_directory, make_own_directory, read_file, replace_file
from ..logs import warn

MAX_FILES = 1000
MAX_BYTES = 4 * 1024 * 1024  # of one
MAX_TOTAL_BYTES = 64 * 1024 * 1024
WRITE_AGAIN_SECONDS = 600.0
_SUFFIX = ".v1.json"
_TEMPORARY = ".tmp"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it stands on disk; `size` is that of its file, which does not name it."""

    question: list[Any]
    fetched_at: float
    etag: str | None
    answer: dict[str, Any]
    size: int = field(default=0, compare=False)


class Store:
    """The answers of one destination. Thread-safe. An answer that stays the same is seldom written again.

    Args:
        directory: made when first needed; None remembers nothing, and neither does a system without POSIX
            owners and modes.
        earlier: where answers may be that were kept before an upgrade; none is kept there any more.
    """

    def __init__(self, directory: Path | None = None, earlier: Path | None = None) -> None:
        self._directory = directory if hasattr(os, "geteuid") else None
        self._earlier = earlier if self._directory is not None else None
        self._written: dict[Path, tuple[str, float, int]] = {}  # what each file holds, its time and size

    def load(self, question: Iterable[Any]) -> Kept | None:
        """What was kept for a question; None if there is nothing, or nothing that can be read."""
        found = (self._load(directory, question) for directory in self._directories())
        return next((kept for kept in found if kept is not None), None)

    def _directories(self) -> list[Path]:
        return [each for each in (self._directory, self._earlier) if each is not None]

    def _load(self, directory: Path, question: Iterable[Any]) -> Kept | None:
        try:
            check_own_directory(directory)
            content = read_file(self._path(directory, question), MAX_BYTES + 1)
            kept = replace(Kept(**json.loads(content)), size=len(content))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return kept if kept.question == _plain(question) and _is_whole(kept) else None

    def keep(
        self, question: Iterable[Any], answer: dict[str, Any], etag: str | None, fetched_at: float
    ) -> None:
        """Remember an answer in the place of an earlier one."""
        if self._directory is None:
            return
        path = self._path(self._directory, question)
        digest = hashlib.sha256(json.dumps([etag, answer]).encode("ascii")).hexdigest()
        earlier, at, size = self._written.get(path, ("", 0.0, 0))
        if earlier == digest and 0 <= fetched_at - at < WRITE_AGAIN_SECONDS:
            return
        reported = {"question": _plain(question), "fetched_at": fetched_at, "etag": etag, "answer": answer}
        content = json.dumps(reported).encode("ascii")
        try:
            self._write(self._directory, path, content, grown=len(content) > size)
        except OSError as error:
            warn("prompt store", "prompts can't be kept in %s: %s", self._directory, error)
            return
        if len(self._written) >= MAX_FILES:
            self._written.clear()
        self._written[path] = (digest, fetched_at, len(content))

    def _write(self, directory: Path, path: Path, content: bytes, *, grown: bool) -> None:
        if len(content) > MAX_BYTES:  # an older one must not stand in for it
            for each in self._directories():
                (each / path.name).unlink(missing_ok=True)
            return
        make_own_directory(directory)
        replace_file(path, content)
        if grown:
            _make_room(directory)

    def renew(self, question: Iterable[Any], etag: str | None, fetched_at: float) -> None:
        """The backend has confirmed what it gave under this tag."""
        kept = self.load(question)
        if kept is not None and kept.etag == etag and fetched_at - kept.fetched_at >= WRITE_AGAIN_SECONDS:
            self.keep(question, kept.answer, etag, fetched_at)

    def forget(self, question: Iterable[Any]) -> None:
        """The backend says that there is none."""
        for directory in self._directories():
            with suppress(OSError):
                path = self._path(directory, question)
                self._written.pop(path, None)
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        self._written.clear()
        for directory in self._directories():
            with suppress(OSError):
                check_own_directory(directory)
                for path in _files(directory):
                    path.unlink(missing_ok=True)

    def _path(self, directory: Path, question: Iterable[Any]) -> Path:
        name = json.dumps(_plain(question)).encode("ascii")
        return directory / (hashlib.sha256(name).hexdigest()[:32] + _SUFFIX)


def _plain(question: Iterable[Any]) -> list[Any]:
    """The question as JSON has it: lists for tuples."""
    return [_plain(each) if isinstance(each, tuple) else each for each in question]


def _is_whole(kept: Kept) -> bool:
    etag = kept.etag
    return (
        isinstance(kept.answer, dict)
        and isinstance(kept.fetched_at, (int, float))
        and (etag is None or (isinstance(etag, str) and etag.isascii() and etag.isprintable()))
    )


def _make_room(directory: Path) -> None:
    """Keep the newest; what was cut short between writing and renaming goes with the old."""
    newest_first = sorted((_dated(path) for path in _files(directory)), reverse=True)
    total = 0
    for number, (_at, size, path) in enumerate(newest_first):
        total += size
        if number >= MAX_FILES or total > MAX_TOTAL_BYTES:
            path.unlink(missing_ok=True)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.endswith((_SUFFIX, _TEMPORARY))]


def _dated(path: Path) -> tuple[float, int, Path]:
    try:
        status = path.lstat()
    except OSError:  # another process was quicker
        return 0.0, 0, path
    return status.st_mtime, status.st_size, path
