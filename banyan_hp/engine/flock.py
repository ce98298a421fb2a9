"""Locks on open files: the one module that knows of `fcntl`, which Windows has not got."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows: no spool there
    fcntl = None  # type: ignore[assignment]

_LOCKABLE = fcntl is not None


def lockable() -> bool:
    """Whether this system has the locks that a spool needs."""
    return _LOCKABLE


def lease(fd: int) -> None:
    """Lock the file for its descriptor alone. The kernel frees it when the last copy of `fd` is closed.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release(fd: int) -> None:
    """Let go of a lock, also for a forked child that has inherited it."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_leased(fd: int) -> bool:
    """Whether somebody else holds the file just now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
