"""The directory of prompts: `DIR/<branch>/<name>.md`.

Names come from a backend, and must not lead anywhere else: each becomes one part of a path, of letters,
digits, `_`, `-`, `.` and `%`, not beginning with a dot. Everything below DIR is opened relative to its
directory, and no link is followed there. A file is written beside and renamed over, so that it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ..terminal import BROKEN, CommandError

SUFFIX = ".md"
MAX_BYTES = 32 * 1024 * 1024
_LONGEST = 180  # of a name; file systems take 255 bytes
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]|^\.")
_CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would wait for its other end


def encoded(name: str) -> str:
    """A name as one part of a path; different names never have the same."""
    text = _UNUSUAL.sub(lambda match: _percent(match[0]), name)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:_LONGEST]}~{digest[:32]}"


def place(branch: str, name: str) -> str:
    """Where in the directory the prompt's file is."""
    return f"{encoded(branch)}/{encoded(name)}{SUFFIX}"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


class Folder:
    """A directory of prompts. A context manager.

    Args:
        path: the directory; it may be a link, since the caller named it.
        make: make it, if it is not there.

    Raises:
        CommandError: it is not there, or can't be used.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        with self._explained():
            if make:
                path.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def places(self) -> list[str]:
        """Where files of prompts are, sorted.

        Raises:
            CommandError: the directory can't be read, or has a link in the place of a directory.
        """
        with self._explained():
            return sorted(self._places())

    def _places(self) -> Iterator[str]:
        with os.scandir(self._fd) as entries:
            branches = [each.name for each in entries if each.is_dir()]
        for branch in branches:
            if branch.startswith("."):
                continue
            with self._branch(branch) as directory, os.scandir(directory) as entries:
                names = [each.name for each in entries if each.name.endswith(SUFFIX)]
            yield from (f"{branch}/{name}" for name in names if not name.startswith("."))

    def read(self, where: str) -> str | None:
        """The text in a place; None: there is no file.

        Raises:
            CommandError: it is no regular file, a link perhaps, or can't be read.
        """
        branch, _, name = where.partition("/")
        with self._explained():
            try:
                with self._branch(branch) as directory:
                    return _read(name, directory)
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise CommandError(f"{self.path / where} can't be read: {error}", BROKEN) from error

    def write(self, where: str, text: str) -> None:
        """Have the file in a place hold this text, or, if that fails, what it held before.

        Raises:
            CommandError: it can't be written.
        """
        branch, _, name = where.partition("/")
        with self._explained():
            with suppress(FileExistsError):
                os.mkdir(branch, dir_fd=self._fd)
            with self._branch(branch) as directory:
                _write(name, directory, text.encode("utf-8", "surrogatepass"))

    @contextmanager
    def _branch(self, name: str) -> Iterator[int]:
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _CAREFUL, dir_fd=self._fd)
        try:
            yield directory
        finally:
            os.close(directory)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            link = error.errno in (errno.ELOOP, errno.ENOTDIR)
            why = (
                "it is a link or no directory; links are not followed"
                if link
                else error.strerror or str(error)
            )
            where = self.path / str(error.filename) if isinstance(error.filename, str) else self.path
            raise CommandError(f"{where} can't be used: {why}", BROKEN) from error


def _read(name: str, directory: int) -> str:
    fd = os.open(name, os.O_RDONLY | _CAREFUL, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return content.decode("utf-8", "surrogatepass")


def _write(name: str, directory: int, content: bytes) -> None:
    temporary = f".{os.urandom(8).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o666, dir_fd=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
