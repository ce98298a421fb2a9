"""Parameters as a server takes them: none longer than 128 KiB (its `http_max_field_value_size`).

A list that is longer goes as several, which the query puts together. An index is used all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST_BYTES = 100_000  # of one parameter, without what escaping adds


def in_pieces(sql: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The same query, with long lists among its parameters in pieces."""
    given: dict[str, Any] = {}
    for name, value in parameters.items():
        pieces = list(_pieces(value)) if isinstance(value, list) else [value]
        if len(pieces) < 2:
            given[name] = value
            continue
        given |= {f"{name}_{number}": piece for number, piece in enumerate(pieces)}
        together = ", ".join(f"{{{name}_{number}:TYPE}}" for number in range(len(pieces)))
        sql = re.sub(
            rf"\{{{name}:([^}}]+)\}}",
            lambda found, together=together: f"arrayConcat({together.replace('TYPE', found[1])})",  # type: ignore[misc]
            sql,
        )
    return sql, given


def _pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    start = size = 0
    for index, value in enumerate(values):
        own = _size(value)
        if index > start and size + own > MOST_BYTES:
            yield values[start:index]
            start, size = index, 0
        size += own
    yield values[start:]


def _size(value: Any) -> int:
    """About as many bytes as it takes in a list."""
    if isinstance(value, str):
        return 4 + (len(value) if value.isascii() else 4 * len(value))
    return sum(map(_size, value)) + 4 if isinstance(value, tuple) else 24
