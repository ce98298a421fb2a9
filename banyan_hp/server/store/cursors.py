"""Cursors: two numbers, as a text that nobody but us takes apart."""

from __future__ import annotations

from typing import NamedTuple

from .calls import UnusableCursorError

_MOST = 2**63 - 1
_SHOWN = 40  # characters


class Cursor(NamedTuple):
    """Where a page ended: what it is ordered by, and the number of the last call."""

    major: int
    seq: int

    def __str__(self) -> str:
        return f"{self.major}.{self.seq}"

    @classmethod
    def parse(cls, text: str, name: str = "after") -> Cursor:
        """The cursor of this text, which the parameter `name` holds.

        Raises:
            UnusableCursorError: it is none.
        """
        try:
            major, seq = map(int, text.split(".")) if len(text) <= 40 and text.isascii() else (0, -1)
        except ValueError:
            major, seq = 0, -1
        if not (-_MOST <= major <= _MOST and 0 <= seq <= _MOST):
            shown = repr(text[:_SHOWN])
            raise UnusableCursorError(f"{name} must be the next of another page, was {shown}")
        return cls(major, seq)
