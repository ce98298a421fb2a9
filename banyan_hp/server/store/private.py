"""Files that are their owner's alone: calls are personal data."""

from __future__ import annotations

import os
from pathlib import Path


def make_private(path: Path) -> None:
    """Make the file, readable by its owner only; SQLite gives the files beside it the same mode.

    Raises:
        OSError: it can't be made or opened.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
