"""Attributes by any of their names, as a value takes them: numbers and objects may be texts, too."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..nesting import MAX_DEPTH, is_shallow

MAX_COUNT = 10**15
_LONGEST_LITERAL = 20_000
_POSITION_DIGITS = 6  # fewer than that
_SCRUBBED = "[Scrubbed due to "  # what logfire puts in the place of ids of sessions, among others

Attributes = Mapping[str, Any]


def first(attributes: Attributes, names: Iterable[str]) -> Any:
    """The value of the first name that has one."""
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def text(value: object) -> str | None:
    """A text that isn't empty; numbers, as ids may be, as their text; without quotes of JSON around it."""
    value = plain(value)
    if isinstance(value, str) and value.startswith(_SCRUBBED):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    return value if isinstance(value, str) and value else None


def first_text(attributes: Attributes, names: Iterable[str]) -> str | None:
    """The text of the first name that has one."""
    return next(filter(None, (text(attributes.get(name)) for name in names)), None)


def number(value: object) -> float | None:
    """A number from 0 on, also as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < MAX_COUNT:
        return None
    return float(value)


def count(value: object) -> int | None:
    """A whole number from 0 on, also as text."""
    found = number(value)
    return int(found) if found is not None else None


def first_count(attributes: Attributes, names: Iterable[str]) -> int | None:
    """The count of the first name that has one."""
    counts = (count(attributes.get(name)) for name in names)
    return next((each for each in counts if each is not None), None)


def flag(value: object) -> bool | None:
    """True or false, also as the text of either in Python or JSON."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def plain(value: object) -> object:
    """A value without the quotes of JSON: mlflow and langfuse write each text as JSON."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return parsed(value)
    return value


def parsed(value: object) -> Any:
    """What a JSON text holds; anything else as it is, and so is what is nested too deep to be stored."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    may_be_deep = value.count("[") + value.count("{") > MAX_DEPTH
    return value if may_be_deep and not is_shallow(found) else found


def mapping(value: object) -> Attributes:
    """An object, also as JSON, and as Python shows a dict (LiteLLM's); else an empty one."""
    found = parsed(value)
    if isinstance(found, str) and found[:1] == "{" and len(found) <= _LONGEST_LITERAL:
        try:
            found = ast.literal_eval(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return {}
    return found if isinstance(found, dict) else {}


def texts(value: object) -> list[str]:
    """The texts of a list, also as JSON; one text as a list of it."""
    found = parsed(value)
    if isinstance(found, str):
        return [found]
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def indexed(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """The objects that are spread over attributes: `PREFIX.0.role`, `PREFIX.0.tool_calls.1.name` …"""
    found: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        if name.startswith(prefix):
            position, _, rest = name[len(prefix) :].partition(".")
            if _is_position(position):
                _place(found.setdefault(int(position), {}), rest.split("."), value)
    return [found[position] for position in sorted(found)]


def _is_position(name: str) -> bool:
    return name.isdecimal() and len(name) < _POSITION_DIGITS


def _place(holder: dict[str, Any], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        below = holder.setdefault(name, {})
        if not isinstance(below, dict):
            return
        holder = below
    holder[path[-1]] = value


def listed(value: object) -> list[Any]:
    """What `indexed` has left as an object with numbers for names; a list as it is."""
    if isinstance(value, dict):
        return [value[name] for name in sorted(filter(_is_position, value), key=int)]
    return value if isinstance(value, list) else []
