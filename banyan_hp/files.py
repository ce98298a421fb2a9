"""The one careful way to open a file or make a directory of ours, in the spool and in the prompt cache.

A file of ours is a regular file that belongs to this user. No link is followed, and no pipe is waited for.
A directory of ours belongs to this user, and nobody else can write to it. Files are 0600, directories 0700.

What is above our directories belongs to the application or the system: a shared parent or a volume's mount
point may have any owner and mode. Two exceptions for our own directories, whose modes are not always ours:

- a Kubernetes volume with an `fsGroup` makes everything on it writable for a group and sets the setgid bit
- the parent of our directories may be shared if it is sticky: nobody can rename or delete what others made
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no spool there
    fcntl = None  # type: ignore[assignment]

# O_NONBLOCK: opening a pipe would wait for its other end.
_CAREFUL = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


# -- directories ---------------------------------------------------------------------------------------------


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


def make_own_directory(path: Path, *, durable: bool = False) -> None:
    """Make a directory and its parent, if they are missing; both are ours.

    Raises:
        OSError: one of them can't be made, or is not ours.
    """
    make_directory(path.parent, durable=durable)
    check_directory(path.parent, shared=True)
    make_directory(path, durable=durable)
    check_directory(path)


def check_own_directory(path: Path) -> None:
    """Make sure that a directory and its parent are ours.

    Raises:
        OSError: one of them is not.
    """
    check_directory(path.parent, shared=True)
    check_directory(path)


def check_directory(path: Path, *, shared: bool = False) -> None:
    """Make sure that it is a directory of this user, and that nobody else can write to it.

    Args:
        path: the directory.
        shared: others may write to it if it is sticky.

    Raises:
        OSError: it is not.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(f"{path} is not a directory of its own (a symbolic link?)")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    if _others_can_write(status.st_mode, shared=shared):
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionError(
            f"other users can write to {path} (mode {mode:04o}); chmod 700 makes it private"
        )


def _others_can_write(mode: int, *, shared: bool) -> bool:
    if shared and mode & stat.S_ISVTX:
        return False
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not mode & stat.S_ISGID))


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut, too."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- files ---------------------------------------------------------------------------------------------------


def open_file(path: Path, flags: int) -> int:
    """The descriptor of a file of ours. With `os.O_CREAT` it is made private to this user.

    Args:
        path: the file.
        flags: `os.O_RDONLY` and others; those that make it careful are added.

    Raises:
        OSError: it is not there, can't be opened, or is not ours.
    """
    fd = os.open(path, flags | _CAREFUL, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(f"{path} is not a regular file")
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(path: Path, at_most: int) -> bytes:
    """What is in a file of ours, at most this many bytes of it.

    Raises:
        OSError: it is not there, not ours, or can't be read.
    """
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(at_most)


def replace_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Have a file hold this, or, if that fails, what it held before. Any number of processes may do so.

    A crash leaves `.<name>.<16 hex digits>.tmp` behind.

    Raises:
        OSError: it could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    write_new_file(temporary, content, sync=sync)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_new_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Make a file that holds this; nothing is left of it if that fails.

    Args:
        path: the file.
        content: what it is to hold.
        sync: force the content to the disk itself.

    Raises:
        OSError: it is there already, or could not be written.
    """
    fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        if os.write(fd, content) != len(content):
            raise OSError(f"the disk took only a part of {path.name}")
        if sync:
            os.fsync(fd)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


# -- file locks ----------------------------------------------------------------------------------------------


def can_lock() -> bool:
    """Whether this system has the locks that a spool needs."""
    return fcntl is not None


def lock_file(fd: int) -> None:
    """Lock the file for its descriptor alone. The kernel frees it when the last copy of `fd` is closed.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock_file(fd: int) -> None:
    """Let go of a lock, also for a forked child that has inherited it."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_locked(path: Path) -> bool:
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
        unlock_file(fd)
        return False
    finally:
        os.close(fd)
