"""Locks on files that several processes share for a moment, and a look at those that are leased for long."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .files import open_file

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


# -- forks ---------------------------------------------------------------------------------------------------
#
# A lock belongs to the open file: a forked child that has copied the descriptor shares the lock for as long
# as it lives, unless it knows the descriptor and closes it. So a descriptor is made known first and locked
# then. A fork between opening it and making it known shows here; such a descriptor is never locked.

_forking: set[int] = set()  # threads; each adds and discards only itself, which is atomic
_latest = object()  # stands for the latest fork


def latest_fork() -> object:
    """For `forked_since`. Call before opening."""
    return object() if _forking else _latest


def forked_since(latest: object) -> bool:
    """Whether a child may have copied what was opened since then. Call once it is known."""
    return _latest is not latest


def _before_fork() -> None:
    global _latest
    _forking.add(threading.get_ident())
    _latest = object()


def _after_fork_in_parent() -> None:
    _forking.discard(threading.get_ident())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_forking.clear
    )
