"""What exits have learned about the backend: no exit waits for one that is silent, not even in the next
process.

Owns the file `health.v1.json` in the destination's directory:

    {"state": "silent", "since": 1767225600.123}

`silent`: an exit has waited in vain, and got no response; `answering`: one came later. The time is UTC. After
a minute the next exit finds out anew. Only exits read and write it, and delivery works without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...files import read_file, replace_file

HEALTH_NAME = "health.v1.json"
BELIEVED_SECONDS = 60.0
_LONGEST = 4096


class BackendHealth:
    """What is remembered in a destination's directory; nothing is, if that is None. `wall`: the clock."""

    def __init__(self, directory: Path | None, wall: Callable[[], float]) -> None:
        self._path = None if directory is None else directory / HEALTH_NAME
        self._wall = wall

    def is_silent(self, responded_at: float | None) -> bool:
        """Whether the backend has not responded since an exit waited in vain.

        `responded_at`: when it last responded to this process, on the wall clock.
        """
        since = self._since()
        if since is None or not since <= self._wall() < since + BELIEVED_SECONDS:
            return False
        return responded_at is None or responded_at < since

    def note_silent(self) -> None:
        """An exit has waited in vain."""
        self._write("silent")

    def note_answering(self) -> None:
        if self._since() is not None:
            self._write("answering")

    def _since(self) -> float | None:
        """Since when it is silent, if so."""
        if self._path is None:
            return None
        try:
            found = json.loads(read_file(self._path, _LONGEST).decode("utf-8"))
            return float(found["since"]) if found["state"] == "silent" else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _write(self, state: str) -> None:
        if self._path is not None:
            with suppress(OSError):  # no directory: nothing was ever on disk
                replace_file(self._path, json.dumps({"state": state, "since": self._wall()}).encode() + b"\n")
