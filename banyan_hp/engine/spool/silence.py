"""Whether the backend has been silent lately: then no exit waits for it, not even in the next process.

Owns the file `health.v1.json` in the destination's directory:

    {"state": "silent", "since": 1767225600.123}

`silent`: an exit has waited in vain, and got no answer; `answering`: one came later. The time is UTC. After a
minute the next exit finds out anew. Only exits read and write it, and delivery works without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...files import read_file, replace_file

HEALTH_NAME = "health.v1.json"
BELIEVED_SECONDS = 60.0
_SILENT, _ANSWERING = "silent", "answering"
_LONGEST = 4096


class Silence:
    """One destination's.

    Args:
        directory: the destination's, below the spool; None: nothing is remembered.
        wall: the wall clock.
    """

    def __init__(self, directory: Path | None, wall: Callable[[], float]) -> None:
        self._path = None if directory is None else directory / HEALTH_NAME
        self._wall = wall

    def lasts(self, answered_at: float | None) -> bool:
        """Whether nothing has been heard of the backend since an exit waited in vain.

        Args:
            answered_at: when it last answered this process, on the wall clock.
        """
        since = self._since()
        if since is None or not since <= self._wall() < since + BELIEVED_SECONDS:
            return False
        return answered_at is None or answered_at < since

    def began(self) -> None:
        """An exit has waited in vain."""
        self._write(_SILENT)

    def is_over(self) -> None:
        """It has answered."""
        if self._since() is not None:
            self._write(_ANSWERING)

    def _since(self) -> float | None:
        """Since when it is silent, if so."""
        if self._path is None:
            return None
        try:
            said = json.loads(read_file(self._path, _LONGEST).decode("utf-8"))
            return float(said["since"]) if said["state"] == _SILENT else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _write(self, state: str) -> None:
        if self._path is not None:
            with suppress(OSError):  # no directory: nothing was ever on disk
                replace_file(self._path, json.dumps({"state": state, "since": self._wall()}).encode() + b"\n")
