"""Values of what clients log, where they may be anything: as a column takes them, or None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]


def object_of(value: object) -> Body:
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str | None:
    """A text that isn't empty; a number, as ids may be, as its text."""
    if value is None:  # most are
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    return None


def number_of(value: object) -> float | None:
    if (
        value is None
        or not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not 0 <= value < 1e15
    ):
        return None
    return float(value)


def count_of(value: object) -> int | None:
    number = number_of(value)
    return int(number) if number is not None else None
