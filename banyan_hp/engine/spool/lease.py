"""Leases: whoever holds the `flock` on a segment owns it. The kernel frees it when its owner dies.

A lock belongs to the open file: a forked child that has copied the descriptor shares the lock for as long as
it lives, unless it closes the descriptor. So a segment is registered before its file is opened, and a child
closes all that is registered (`HeldSegments.abandon`). A descriptor that a child may have copied between
registering and opening is never locked.

    step                         a crash leaves               a fork leaves the child
    registered                   nothing                      nothing
    opened                       the file as it was           a descriptor that is never locked, or closed
    locked                       the file as it was           a descriptor that `abandon` closes
    renamed (a new one only)     an empty segment             the same
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...files import lock_file, open_file
from .layout import is_segment
from .segment import Segment

OLD_SECONDS = 3600.0  # no process still works on a left-over of this age
_FORK_SECONDS = 0.001
_FORKS_AT_MOST = 100
_TEMPORARY = re.compile(r"\.\d{13}-[0-9a-f]+-\d+\.v1\.jsonl\.tmp")
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")  # by `replace_file`

Register = Callable[[Segment], object]


def create(directory: Path, name: str, register: Register = id) -> Segment:
    """A new segment, leased before anybody can see it. Raises `OSError`.

    `register` is called before its file is opened; the default is for processes that don't fork.
    """
    temporary = directory / f".{name}.tmp"
    segment = Segment(directory / name, own=True)
    register(segment)
    _open(segment, temporary, os.O_CREAT | os.O_EXCL)
    try:
        lock_file(segment.fd)
        temporary.rename(segment.path)
    except OSError:
        segment.close()
        temporary.unlink(missing_ok=True)
        raise
    return segment


def take_over(path: Path, register: Register = id) -> Segment | None:
    """Lease a segment whose owner is gone; None if it has one, or is no longer there. Raises `OSError`."""
    segment = Segment(path, own=False)
    register(segment)
    try:
        _open(segment, path, 0)
        lock_file(segment.fd)
        status, named = os.fstat(segment.fd), path.lstat()
        if (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino):  # it has lost its name
            raise FileNotFoundError
        segment.size = status.st_size  # its owner may have written until it gave it up
    except (BlockingIOError, FileNotFoundError):
        segment.close()
        return None
    except BaseException:
        segment.close()
        raise
    return segment


def _open(segment: Segment, path: Path, flags: int) -> None:
    """Open the file, with a descriptor that no fork has copied before the segment was registered."""
    flags |= os.O_RDWR | os.O_APPEND
    for _ in range(_FORKS_AT_MOST):
        latest = object() if _forking else _latest_fork
        segment.fd = open_file(path, flags)
        if latest is _latest_fork:
            return
        segment.close()
        flags &= ~(os.O_CREAT | os.O_EXCL)
        time.sleep(_FORK_SECONDS)
    raise OSError("this process forks all the time: a child would share the lease")


_forking: set[int] = set()  # threads; each adds and discards only itself, which is atomic under the GIL
_latest_fork = object()  # stands for it


def _before_fork() -> None:
    global _latest_fork
    _forking.add(threading.get_ident())
    _latest_fork = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _forking.discard(threading.get_ident()),
        after_in_child=_forking.clear,
    )


def delete_leftovers(directory: Path, now: float) -> None:
    """Delete what processes that died left half made or half deleted. `now`: the wall clock."""
    for path in list(directory.iterdir()):
        if _TEMPORARY.fullmatch(path.name) and _is_old(path, now):
            half_made = take_over(path)
            if half_made is not None:
                half_made.remove()
        elif (_HALF_WRITTEN.fullmatch(path.name) or _is_orphan(path)) and _is_old(path, now):
            path.unlink(missing_ok=True)


def _is_orphan(path: Path) -> bool:
    """Whether this is the ack log of a segment that is no more."""
    return path.suffix == ".ack" and is_segment(path.stem) and not path.with_suffix("").exists()


def _is_old(path: Path, now: float) -> bool:
    try:
        return path.lstat().st_mtime < now - OLD_SECONDS
    except FileNotFoundError:
        return False
