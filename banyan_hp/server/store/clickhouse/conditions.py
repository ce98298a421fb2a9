"""What a filter asks of the rows of calls, as SQL with parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ..calls import FILTERS, UNDATED, CallFilter, microseconds
from ..cursors import Cursor
from ..rows import cut
from ..scores import SCORE
from ..search import Phrase, phrases_of

PLACE = ("project", "event_time", "day", "id")
"""Where a call is in the order of its table."""
AT_PLACES = f"({', '.join(PLACE)}) IN ?[Array(Tuple(String, Int64, Date32, String))]"
_TYPED = re.compile(r"\?\[([^\]]+)\]")
_EARLIEST = date(1900, 1, 1)  # that a Date32 holds


def stored_day(day: date) -> date:
    """A day as a column holds it."""
    return _EARLIEST if day == UNDATED else day


def day_of(stored: date) -> date:
    """The day that a column holds."""
    return UNDATED if stored == _EARLIEST else stored


def place_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The place of a row."""
    return tuple(row[name] for name in PLACE)


class Conditions:
    """Conditions that all must hold, and their parameters."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.parameters: dict[str, Any] = {}

    @property
    def sql(self) -> str:
        """Behind WHERE."""
        return " AND ".join(self._texts) or "1"

    def copy(self) -> Conditions:
        """The same conditions, to be added to."""
        copied = Conditions()
        copied._texts.extend(self._texts)
        copied.parameters.update(self.parameters)
        return copied

    def add(self, condition: str, *values: Any) -> Conditions:
        """A condition, and the values of each ``?`` in it, which a type follows: ``id = ?[String]``."""
        for value in values:
            name = f"p{len(self.parameters)}"
            condition = _TYPED.sub(rf"{{{name}:\1}}", condition, count=1)
            self.parameters[name] = value
        self._texts.append(condition)
        return self

    def of(self, chosen: CallFilter) -> Conditions:
        """What a filter asks."""
        self.add("project = ?[String]", chosen.project)
        for name, value in chosen.equal.items():
            if name not in FILTERS:
                raise KeyError(name)
            self.add(f"{name} = ?[String]", cut(value))
            if name == "id":
                self.ids(chosen.project, [cut(value)])
        if not chosen.with_scores:
            self.add("source != ?[String]", SCORE)
        if chosen.since is not None:
            self.add("event_time >= ?[Int64]", microseconds(chosen.since))
        if chosen.until is not None:
            self.add("event_time < ?[Int64]", microseconds(chosen.until))
        if chosen.failed is not None:
            self.add("error IS NOT NULL" if chosen.failed else "error IS NULL")
        for phrase in phrases_of(chosen.text) if chosen.text is not None else ():
            self._phrase(phrase)
        return self

    def before(self, last: Cursor | None) -> Conditions:
        """Older than a call, by its event."""
        if last is not None:
            self.add("event_time <= ?[Int64]", last.major)
            self.add("(event_time, seq) < (?[Int64], ?[UInt64])", *last)
        return self

    def ids(self, project: str, ids: Sequence[str]) -> Conditions:
        """Calls with these ids: where they are is known by the day only, so `call_ids` says it."""
        place = ", ".join(PLACE)
        known = f"SELECT {place} FROM call_ids WHERE project = ?[String] AND id IN ?[Array(String)]"
        return self.add(f"({place}) IN ({known})", project, list(ids))

    def _phrase(self, phrase: Phrase) -> None:
        for word in phrase:
            self.add("hasToken(words, ?[String])", word)
        if len(phrase) > 1:
            self.add("position(words, ?[String]) > 0", f" {' '.join(phrase)} ")
