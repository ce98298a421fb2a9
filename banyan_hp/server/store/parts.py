"""Parts of lists whose things may be large: as many as a response may hold, and where to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from .calls import UnusableCursorError
from .cursors import Cursor

T = TypeVar("T")
_SHOWN = 40  # characters


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Some of a list, and the cursor to go on from; None: there are no more."""

    items: Sequence[T]
    next: str | None


class Made(NamedTuple):
    """Where a part ended of a list in the order of making: when the last one was made, and its name."""

    time: int
    name: str

    def __str__(self) -> str:
        return f"{self.time}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> Made:
        """The cursor of this text.

        Raises:
            UnusableCursorError: it is none.
        """
        time, _, name = text.partition(".")
        if not name:
            raise UnusableCursorError(f"after must be the next of another page, was {text[:_SHOWN]!r}")
        return cls(Cursor.parse(f"{time}.0").major, name)
