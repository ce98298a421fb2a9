"""What arrays look like from outside, without NumPy."""

from __future__ import annotations

from typing import Any


class Array:
    """What numpy's arrays and scalars look like from outside."""

    dtype = "float64"

    def __init__(self, items: Any, *, ndim: int = 1, size: int | None = None) -> None:
        self.items = items
        self.ndim = ndim
        self.size = size if size is not None else (len(items) if ndim else 1)

    def tolist(self) -> Any:
        return list(self.items) if self.ndim else self.items

    def reshape(self, shape: int) -> Array:
        assert shape == -1
        return self

    def __getitem__(self, where: slice) -> Array:
        return Array(self.items[where])

    def __repr__(self) -> str:
        return "Array(...)"
