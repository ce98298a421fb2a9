"""A directory of Parquet files that gets calls before they are removed: `DIR/PROJECT/DAY/calls-….parquet`.

Who owns what: the process that removes old calls writes files, whoever has the directory reads them. A file
is written under a hidden name beside its place, brought to the disk, and then gets its name: what can be read
is whole. What a crash leaves:

- while a file is written: a hidden file, which is removed a day later; its calls are still in the database
- after it has its name: its calls are in both places, as they are until the database has removed them all.
  Calls that an earlier file of their project and day holds are not written again
- a power cut: no more than that; a call is removed only when its file and the file's name are on the disk
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from .calls import SHOWN, Call
from .parquet import ParquetFile, numbers_in
from .shown import texts_of
from .span_parquet import ids_in, write_spans
from .spans import StoredSpan

_ABANDONED_SECONDS = 86400.0
_UNFINISHED = ".part"


class Archive:
    """Keeps calls in a directory, for one run of `Calls.trim`.

    Args:
        directory: is made, with what is missing above it, for its owner alone.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._earlier: dict[Path, list[Path]] = {}

    def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
        """See `Keeper.keep`.

        Raises:
            OSError: they can't be written.
        """
        place = self._directory / folder_of(project) / day.isoformat()
        _make(place)
        held = self._held(place, numbers)
        new = (call for call in calls if (call.seq, call.id, call.received_at) not in held)
        if (first := next(new, None)) is not None:
            _write(place, first, new)

    def keep_spans(self, project: str, day: date, spans: Sequence[StoredSpan]) -> None:
        """See `SpanKeeper.keep_spans`: in a folder of their own, `DIR/PROJECT/DAY/spans/spans-….parquet`.

        Raises:
            OSError: they can't be written.
        """
        place = self._directory / folder_of(project) / day.isoformat() / "spans"
        _make(place)
        _clean(place)
        held = set().union(*(ids_in(path) for path in place.glob("*.parquet")))
        new = [span for span in spans if (span.trace_id, span.span_id) not in held]
        if new:
            name = f"spans-{new[0].start}-{uuid.uuid4().hex[:8]}.parquet"
            _finish(place, name, lambda stream: write_spans(stream, new))

    def _held(self, place: Path, numbers: Sequence[int]) -> set[tuple[int, str, datetime]]:
        """What files of earlier runs hold; this one's calls are removed, or it fails."""
        if place not in self._earlier:
            _clean(place)
            self._earlier[place] = sorted(place.glob("*.parquet"))
        return set().union(*(numbers_in(path, numbers) for path in self._earlier[place]))


def folder_of(project: str) -> str:
    """A project's name as a directory: no separator, and never hidden or one above."""
    return (
        quote(project, safe=" ").replace(".", "%2E", 1)
        if project.startswith(".")
        else quote(project, safe=" ")
    )


def _write(place: Path, first: Call, others: Iterator[Call]) -> None:
    def write(stream: IO[bytes]) -> None:
        with ParquetFile(stream) as file:
            file.add(_fields(first))
            for call in others:
                file.add(_fields(call))

    _finish(place, f"calls-{first.seq}-{uuid.uuid4().hex[:8]}.parquet", write)


def _finish(place: Path, name: str, write: Callable[[IO[bytes]], None]) -> None:
    """Have a file written, which gets its name when it is whole and on the disk."""
    unfinished = place / f".{name}{_UNFINISHED}"
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.rename(place / name)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(place)


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in SHOWN} | texts_of(call)


def _make(place: Path) -> None:
    missing = [each for each in (place, *place.parents) if not each.is_dir()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        _sync(each.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clean(place: Path) -> None:
    """Remove what a run that broke off left behind; a younger one may be somebody's who still writes it."""
    for path in place.glob(f".*{_UNFINISHED}"):
        if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
