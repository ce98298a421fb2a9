"""What this process leaves behind, in one line at its exit: for all engines together, however each ended.

An engine that has ended is noted here. Whether its records are still on disk is looked up at the exit:
another engine of this process may have sent them meanwhile.
"""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ... import logs
from ..records.ledger import Book, Term
from ..spool.layout import is_segment

_MOST_ENGINES = 1000


class Ended(NamedTuple):
    """An engine at its end.

    Attributes:
        pid: the process that it belonged to.
        process: the random name of that process in the names of its segments.
        directory: where these are, if there are any.
        own: the book of its own records; what is logged later, during the exit, is in there, too.
        state: of its destination, as `health()` names it.
        trouble: the last failure, if the destination was not well at the end.
    """

    pid: int
    process: str
    directory: Path | None
    own: Book
    state: str
    trouble: str

    def on_disk(self) -> int:
        count = self.own[Term.SPOOLED]
        return count if count and self._has_segments() else 0

    def _has_segments(self) -> bool:
        if self.directory is None:
            return False
        with suppress(FileNotFoundError):
            names = [path.name for path in self.directory.iterdir()]
            return any(is_segment(name) and f"-{self.process}" in name for name in names)
        return False

    def lost(self) -> int:
        return self.own.drops.get("shutdown", 0)


_ended: deque[Ended] = deque(maxlen=_MOST_ENGINES)
_reported: set[int] = set()  # processes


def note(ended: Ended, *, by_exit: bool) -> None:
    """An engine has ended. At the exit records may still come."""
    if by_exit or ended.own[Term.SPOOLED] or ended.lost():
        _ended.append(ended)


def report() -> None:
    """Say once what is on disk or lost; nothing if all was delivered."""
    mine = [each for each in tuple(_ended) if each.pid == os.getpid()]
    on_disk, lost = sum(each.on_disk() for each in mine), sum(each.lost() for each in mine)
    if os.getpid() in _reported or not (on_disk or lost):
        return
    _reported.add(os.getpid())
    unwell = next((each for each in mine if each.trouble), None)
    logs.say(logging.WARNING, "%s", _sentence(on_disk, lost, unwell))


_UNTIL = {
    "auth_error": "they are sent once the backend accepts their API key; to send them under another one, "
    "name the old one in previous_keys, or run `banyan-hp spool replay --from-key`",
    "misconfigured": "they are sent once their URL responds as it should; to send them to another one, run "
    "`banyan-hp spool replay --to-url`",
}
_THEN = "they are sent by the next process, or by `banyan-hp spool replay`"


def _sentence(on_disk: int, lost: int, unwell: Ended | None) -> str:
    parts = []
    if on_disk:
        how = _UNTIL.get(unwell.state, _THEN) if unwell is not None else _THEN
        parts.append(f"{_records(on_disk)} on disk; {_of_one(how) if on_disk == 1 else how}")
    if lost:
        parts.append(f"{_records(lost)} lost, neither sent nor kept on disk")
    because = f". The last attempt failed: {unwell.trouble}" if unwell is not None else ""
    return "; ".join(parts) + because


def _of_one(how: str) -> str:
    for many, one in (("they are", "it is"), ("their", "its"), ("them", "it")):
        how = re.sub(rf"\b{many}\b", one, how)
    return how


def _records(count: int) -> str:
    return "1 record is" if count == 1 else f"{count} records are"
