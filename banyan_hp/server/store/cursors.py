"""Cursors: two numbers, as a text that nobody but us takes apart."""

from __future__ import annotations

from typing import NamedTuple

from .calls import UnusableCursorError

_MOST = 2**63 - 1


class Cursor(NamedTuple):
    """Where a page ended: what it is ordered by, and the number of the last call."""

    major: int
    seq: int

    def __str__(self) -> str:
        return f"{self.major}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor of this text.

        Raises:
            UnusableCursorError: it is none.
        """
        try:
            major, seq = map(int, text.split(".")) if len(text) <= 40 and text.isascii() else (0, -1)
        except ValueError:
            major, seq = 0, -1
        if not (-_MOST <= major <= _MOST and 0 <= seq <= _MOST):
            raise UnusableCursorError("it is not one that a page gave out")
        return cls(major, seq)
