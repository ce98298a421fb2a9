"""Directories and small files that are this user's own: made, checked, read whole, replaced whole.

Directories 0700, files 0600; no link is followed, and nothing that belongs to another user is used. What is
appended to, or leased, is not in here: see `segment` and `quarantine`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_directory(path: Path, *, durable: bool = False) -> None:
    """Make a directory and what is missing above it; `durable`: the names survive a power cut, too.

    Raises:
        OSError: it can't be made.
    """
    missing = [each for each in (path, *path.parents) if not each.is_dir()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        if durable:
            sync_directory(each.parent)


def check_directory(path: Path) -> None:
    """Make sure that it is a directory, and this user's.

    Raises:
        OSError: it is not.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(f"{path} is not a directory of its own (a symbolic link?)")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")


def is_own_directory(path: Path) -> bool:
    """Whether it is a directory, and this user's.

    Raises:
        OSError: it is not there, or can't be asked.
    """
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def read_file(path: Path, at_most: int) -> bytes:
    """What is in a file of this user, at most so many bytes of it.

    Raises:
        OSError: it is not there, not a plain file, not ours, or can't be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{path} is no file, or belongs to another user")
        return file.read(at_most)


def replace_file(path: Path, content: bytes) -> None:
    """Have a file hold this, or, if that fails, what it held before. Any number of processes may do so.

    A crash leaves `.<name>.<16 hex digits>.tmp` behind.

    Raises:
        OSError: it could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(fd, content) != len(content):
            raise OSError(f"the disk took only a part of {path.name}")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut, too."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
