"""Records that are certainly good, told by their types alone: nearly all are, and the models take their time.

What is not certain here is for the models of `intake.py`, who have the last word, and the words of refusals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..nesting import is_shallow
from .requests import DECODER

MAX_ID = 255
_BEGINNING = '{"records":['
_ENTRY = re.compile(rf'\{{"id":"([^"\\\x00-\x1f]{{1,{MAX_ID}}})","ts":"([^"\\\x00-\x1f]*)","body":(?=\{{)')
_NEXT, _END = "},", "}]}"
_USAGE = frozenset(("input", "output", "metadata"))
_USAGE_TEXTS = frozenset(
    (
        "input",
        "output",
        "prompt_id",
        "prompt_name",
        "version",
        "branch_name",
        "model",
        "experiment_id",
        "experiment_version_id",
        "sticky_key",
        "sticky_value",
    )
)
_USAGE_FREE = (_USAGE_TEXTS | {"duration_ms"}) - _USAGE
_MODES = ("prod", "dev")


class Entry(NamedTuple):
    """One record of a batch."""

    id: str
    ts: str
    body: Any
    text: str | None = None
    """The body's JSON, where it is known and ASCII."""


def entries_of(data: bytes) -> list[Entry] | None:
    """The records of a batch that is written as our clients write it; None: it is not, or not JSON at all.

    It is read record by record, so that each one's JSON is known: it need not be written again.
    """
    try:
        text = data.decode("utf-8")
        return _entries(text) if text.startswith(_BEGINNING) else None
    except (ValueError, RecursionError):
        return None


def storable(text: str) -> str | None:
    """A JSON text, if it can be stored as it is: ASCII in one line."""
    return text if text.isascii() and not any(each in text for each in "\n\r\t") else None


def _entries(text: str) -> list[Entry] | None:
    found: list[Entry] = []
    position = len(_BEGINNING)
    while head := _ENTRY.match(text, position):
        body, end = DECODER.raw_decode(text, head.end())
        found.append(Entry(head[1], head[2], body, storable(text[head.end() : end])))
        if not text.startswith(_NEXT, end):
            return found if text[end:] == _END else None
        position = end + len(_NEXT)
    return None


def plain_entries(value: object) -> list[Entry] | None:
    """The records of a good batch, whatever their bodies are; None: perhaps it is none."""
    if type(value) is not dict or len(value) != 1 or type(value.get("records")) is not list:
        return None
    try:
        found = [Entry(**each) for each in value["records"] if len(each) == 3]
    except TypeError:  # other fields, or no fields at all
        return None
    return found if len(found) == len(value["records"]) and all(map(_is_named, found)) else None


def _is_named(entry: Entry) -> bool:
    name = entry.id
    return (
        type(name) is str
        and 0 < len(name) <= MAX_ID
        and name.isascii()
        and "\x00" not in name
        and type(entry.ts) is str
    )


def is_usage(body: object) -> bool:
    """Whether it certainly is a usage record."""
    if type(body) is not dict or not body.keys() >= _USAGE:
        return False
    return all(_is_usages(name, value) for name, value in body.items())


def _is_usages(name: str, value: object) -> bool:
    kind = type(value)
    if kind is str:
        return name in _USAGE_TEXTS
    if kind is dict:
        return name == "metadata" and is_shallow(value)
    if value is None:
        return name in _USAGE_FREE
    return name == "duration_ms" and _is_amount(value)


def is_interaction(body: object) -> bool:
    """Whether it certainly is an interaction."""
    if type(body) is not dict or body.get("mode") not in _MODES or not is_shallow(body):
        return False
    organisation = body.get("org_id")
    return (
        _is_text(body, "user_prompt")
        and _is_text(body, "response")
        and type(organisation) is str
        and organisation != ""
        and organisation.isascii()
        and all(_is_amount(body.get(name, 0)) for name in ("token_count", "response_time"))
    )


def _is_text(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    return type(value) is str and value != ""


def _is_amount(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]
