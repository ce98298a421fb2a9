"""The last good responses on disk, so that a restart during an outage finds them.

One file a query, `<hash of the query>.v1.json`, an object with `question` (the query), `fetched_at` (UTC,
seconds), `etag` and `answer` (the backend's JSON). Written beside and renamed over, so that it is always
whole; any number of processes may write. Directory 0700, files 0600, no links followed, owner checked.
Nothing here raises: where the disk can't be used, nothing is kept.
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
    """A file's content, by its names; `size` is that of the file, which does not name it."""

    question: list[Any]
    fetched_at: float
    etag: str | None
    answer: dict[str, Any]
    size: int = field(default=0, compare=False)


class Store:
    """The responses of one destination. Thread-safe. One that stays the same is seldom written again.

    Args:
        directory: made when first needed. Nothing is kept without one, or on a system without POSIX owners
            and modes.
        earlier: where responses may be that were kept before an upgrade; nothing is written there.
    """

    def __init__(self, directory: Path | None = None, earlier: Path | None = None) -> None:
        self._directory = directory if hasattr(os, "geteuid") else None
        self._earlier = earlier if self._directory is not None else None
        self._written: dict[Path, tuple[str, float, int]] = {}  # what each file holds, its time and size

    def load(self, query: Iterable[Any]) -> Kept | None:
        """What was kept for a query; None if there is nothing, or nothing that can be read."""
        found = (self._load(directory, query) for directory in self._directories())
        return next((kept for kept in found if kept is not None), None)

    def _directories(self) -> list[Path]:
        return [each for each in (self._directory, self._earlier) if each is not None]

    def _load(self, directory: Path, query: Iterable[Any]) -> Kept | None:
        try:
            check_own_directory(directory)
            content = read_file(self._path(directory, query), MAX_BYTES + 1)
            kept = replace(Kept(**json.loads(content)), size=len(content))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return kept if kept.question == _plain(query) and _is_whole(kept) else None

    def keep(self, query: Iterable[Any], answer: dict[str, Any], etag: str | None, fetched_at: float) -> None:
        """Keep a response in the place of an earlier one."""
        if self._directory is None:
            return
        path = self._path(self._directory, query)
        digest = hashlib.sha256(json.dumps([etag, answer]).encode("ascii")).hexdigest()
        earlier, at, size = self._written.get(path, ("", 0.0, 0))
        if earlier == digest and 0 <= fetched_at - at < WRITE_AGAIN_SECONDS:
            return
        fields = {"question": _plain(query), "fetched_at": fetched_at, "etag": etag, "answer": answer}
        content = json.dumps(fields).encode("ascii")
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

    def renew(self, query: Iterable[Any], etag: str | None, fetched_at: float) -> None:
        """The backend has confirmed the response that it gave with this tag."""
        kept = self.load(query)
        if kept is not None and kept.etag == etag and fetched_at - kept.fetched_at >= WRITE_AGAIN_SECONDS:
            self.keep(query, kept.answer, etag, fetched_at)

    def forget(self, query: Iterable[Any]) -> None:
        """The backend says that it has none."""
        for directory in self._directories():
            with suppress(OSError):
                path = self._path(directory, query)
                self._written.pop(path, None)
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        self._written.clear()
        for directory in self._directories():
            with suppress(OSError):
                check_own_directory(directory)
                for path in _files(directory):
                    path.unlink(missing_ok=True)

    def _path(self, directory: Path, query: Iterable[Any]) -> Path:
        name = json.dumps(_plain(query)).encode("ascii")
        return directory / (hashlib.sha256(name).hexdigest()[:32] + _SUFFIX)


def _plain(query: Iterable[Any]) -> list[Any]:
    """The query as JSON has it: lists for tuples."""
    return [_plain(each) if isinstance(each, tuple) else each for each in query]


def _is_whole(kept: Kept) -> bool:
    etag = kept.etag
    return (
        isinstance(kept.answer, dict)
        and isinstance(kept.fetched_at, (int, float))
        and (etag is None or (isinstance(etag, str) and etag.isascii() and etag.isprintable()))
    )


def _make_room(directory: Path) -> None:
    """Keep the newest; temporary files that were never renamed go with the old ones."""
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
    except OSError:  # another process removed it first
        return 0.0, 0, path
    return status.st_mtime, status.st_size, path
