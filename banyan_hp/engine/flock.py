"""Locks on files that several processes share for a moment, and a look at those that are leased for long."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import open_file

try:
    import fcntl
except ImportError:  # Windows: no spool there
    fcntl = None  # type: ignore[assignment]


def acquire(fd: int) -> None:
    """Lock the file for its descriptor alone. The kernel frees it when the last copy of `fd` is closed.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release(fd: int) -> None:
    """Let go of a lock, also for a forked child that has inherited it."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_leased(path: Path) -> bool:
    """Whether somebody holds the file just now. False if it is gone.

    Raises:
        OSError: it can't be opened.
    """
    try:
        fd = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        release(fd)
        return False
    finally:
        os.close(fd)
