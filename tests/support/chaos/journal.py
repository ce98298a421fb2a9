"""What a worker did, line by line: JSON, each line one write to a file opened for appending.

A line is `{"what": …, "pid": …, "at": …}` and more. `at` is `time.monotonic()`, the same clock in all
processes. A record's life is `about` (the call begins), then `said` (it returned), or `raised`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_write = os.write  # the worker may patch it


class Journal:
    """Appends to one file, from any thread and any forked child."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, what: str, **more: Any) -> None:
        line = {"what": what, "pid": os.getpid(), "at": time.monotonic(), **more}
        _write(self._fd, json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]
