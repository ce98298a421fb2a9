"""A page of calls with a text, window by window of time, newest first: it may end before all are searched.

Words are found by their index. For a phrase the texts of all calls with its words are read, and where these
words are everywhere, that takes as long as there are calls. So a page gives up after a time, and says how
far it has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ..calls import CallFilter
from ..cursors import Cursor
from ..database import SlowQueryError
from ..search import phrases_of
from .client import QUERY_SECONDS, ClickHouse, Row
from .conditions import Conditions
from .reading import NEWEST_EVENT, first_of

FIRST_WIDTH = 3_600_000_000  # microseconds: an hour
ANY_WIDTH = 10_000 * 366 * 24 * FIRST_WIDTH  # more than there are years
AIMED_SECONDS = 0.5  # for each window
WINDOW_SECONDS = 2.0  # then it is too wide
PAGE_SECONDS = 5.0  # then no other window is begun
_WIDER, _NARROWER = 4, 8  # at most; at least

Clock = Callable[[], float]


class Searched(NamedTuple):
    """Calls that were found, newest first; and the time from which on all are searched, in microseconds.

    No time: all there are, or as many as were asked for.
    """

    rows: list[Row]
    to: int | None = None


def searched(
    clickhouse: ClickHouse,
    columns: str,
    chosen: CallFilter,
    last: Cursor | None,
    many: int,
    clock: Clock = time.monotonic,
) -> Searched:
    """The newest calls of a filter, behind a cursor; without a text all are searched at once.

    Raises:
        SlowQueryError: not even a short time can be searched.
    """
    if chosen.text is None:
        asked = Conditions().of(chosen).before(last)
        return Searched(first_of(clickhouse, columns, asked, NEWEST_EVENT, many))
    search = _Search(clickhouse, columns, chosen, last, clock)
    rows: list[Row] = []
    newest = search.newest(None)
    while newest is not None:
        try:
            oldest, found = search.window(newest, many - len(rows))
        except SlowQueryError:
            if not search.moved:
                raise
            return Searched(rows, newest + 1)
        rows += found
        if len(rows) >= many:
            return Searched(rows)
        newest = search.newest(oldest)
        if newest is not None and search.is_over():
            return Searched(rows, newest + 1)
    return Searched(rows)


class _Search:
    """What the windows of one page have in common. `moved`: at least one of them is searched."""

    def __init__(
        self, clickhouse: ClickHouse, columns: str, chosen: CallFilter, last: Cursor | None, clock: Clock
    ) -> None:
        self._clickhouse = clickhouse
        self._columns = columns
        self._clock = clock
        self._began = clock()
        self._asked = Conditions().of(chosen).before(last)
        every = CallFilter(project=chosen.project, since=chosen.since, until=chosen.until, scores=True)
        self._there = Conditions().of(every).before(last)
        self._width = FIRST_WIDTH if _has_phrase(chosen) else ANY_WIDTH
        self.moved = False

    def newest(self, before: int | None) -> int | None:
        """The time of the newest call, whatever it says, before another time."""
        asked = self._there.copy()
        if before is not None:
            asked.add("event_time < ?[Int64]", before)
        sql = f"SELECT event_time FROM calls WHERE {asked.sql} ORDER BY event_time DESC LIMIT 1"
        found = self._clickhouse.rows(sql, asked.parameters)
        return int(found[0]["event_time"]) if found else None

    def window(self, newest: int, many: int) -> tuple[int, list[Row]]:
        """The calls of a window that ends with a time, and where it begins.

        Raises:
            SlowQueryError: it takes too long, however narrow it is.
        """
        while True:
            oldest, began = newest - self._width + 1, self._clock()
            asked = self._asked.copy().add("event_time BETWEEN ?[Int64] AND ?[Int64]", oldest, newest)
            try:
                rows = first_of(self._clickhouse, self._columns, asked, NEWEST_EVENT, many, WINDOW_SECONDS)
            except SlowQueryError:
                if self._width == 1 or self.is_over():
                    raise
                self._width = max(min(self._width // _NARROWER, FIRST_WIDTH), 1)
                continue
            self.moved = True
            self._widen(self._clock() - began)
            return oldest, rows

    def is_over(self) -> bool:
        """Whether the page has taken its time; until a window is searched it has more."""
        return self._clock() >= self._began + (PAGE_SECONDS if self.moved else QUERY_SECONDS)

    def _widen(self, seconds: float) -> None:
        share = min(max(AIMED_SECONDS / max(seconds, 0.001), 1 / _NARROWER), _WIDER)
        self._width = min(max(int(self._width * share), 1), ANY_WIDTH)


def _has_phrase(chosen: CallFilter) -> bool:
    return chosen.text is not None and any(len(phrase) > 1 for phrase in phrases_of(chosen.text))
