"""How values look on a page: numbers, times, amounts of money. Pure functions, the templates' filters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

NOTHING = "–"
MOST_SHOWN = 100_000  # characters of one text on a page; the rest is a click away
_SMALL_COST = 0.01
_DURATIONS = {"days": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000}  # in milliseconds


def number(value: float | None) -> str:
    """``1,234``, or ``1,234.5``."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.2f}"


def percent(share: float | None) -> str:
    """``12.3 %``."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def milliseconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return NOTHING
    for unit, size in _DURATIONS.items():
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:.0f} ms"


def dollars(value: float | None) -> str:
    """An amount of USD, exact enough to be told from nothing."""
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if value >= _SMALL_COST or value == 0 else f"${Decimal(f'{value:.2g}'):f}"


def instant(time: datetime | None) -> str:
    """A time in UTC to the second."""
    return NOTHING if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute(time: datetime) -> str:
    """A time in UTC to the minute."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def as_text(value: object) -> str:
    """A text as it is, anything else as JSON with its indentation."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def in_ascii(value: object, indent: int | None = 2) -> str:
    """JSON that any encoding can carry."""
    return json.dumps(value, indent=indent)


def label(column: str) -> str:
    """A column of a call, as a person calls it: ``prompt_name`` is the prompt."""
    words = column.removesuffix("_id").removesuffix("_name").replace("_", " ")
    return words[:1].upper() + words[1:]


def opening(value: object, characters: int = 120) -> str:
    """The beginning of a text on one line."""
    line = " ".join(as_text(value)[: 4 * characters].split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


FILTERS: Mapping[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "milliseconds": milliseconds,
    "dollars": dollars,
    "instant": instant,
    "minute": minute,
    "as_text": as_text,
    "label": label,
    "opening": opening,
}
