"""Calls as rows of their table, on their way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from ..calls import SHOWN, Call
from ..rows import row_of
from ..scores import SCORE
from ..search import found_by
from .conditions import stored_day
from .hours import HOUR_COLUMNS, hour_columns
from .scores import SCORE_COLUMNS, score_columns

_COLUMNS = (
    *(name for name in SHOWN if name not in ("body", "seq", "deliveries")),
    *("digest", "bytes", "output_length", "content"),
    *HOUR_COLUMNS,
)
_NO_SCORE = dict.fromkeys(SCORE_COLUMNS)

key_of = itemgetter("project", "day", "id")
"""What a row is known by."""


def row_of_call(call: Call) -> dict[str, Any]:
    """A call as columns; those of a score only where it is one."""
    row = row_of(call)
    row["day"] = stored_day(call.day)
    row["content"] = f"{row['body']}\n{found_by(call.body)}"
    row.update(hour_columns(row))
    if call.source == SCORE:
        row.update(score_columns(row))
    return row


def values_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The columns to be written, and each row's values. Most have no score: its columns then stay empty."""
    if not any(row["source"] == SCORE for row in rows):
        return _COLUMNS, list(map(itemgetter(*_COLUMNS), rows))
    columns = (*_COLUMNS, *SCORE_COLUMNS)
    return columns, [itemgetter(*columns)({**_NO_SCORE, **row}) for row in rows]
