"""How a command ends: exit codes, and the complaint that ends one early."""

from __future__ import annotations

DONE = 0
LEFT = 1
WRONG = 2
BROKEN = 3

EXPLAINED = """\
exit codes:
  0  done
  1  something is left, or not all was delivered
  2  wrong usage; the key that is needed is not there, or is another one
  3  the directory can't be read or written
"""


class CommandError(Exception):
    """A command can't do what it was asked to; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
