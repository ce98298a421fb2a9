"""Looking into values of unknown make, objects and dicts alike, without trusting them.

Attributes may raise, lie about their type, or be anything at all: what is not as expected is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from ...engine.records.conversions import has_json_form
from ...engine.records.encode import AsText, text_of
from ...engine.records.freeze import as_text as frozen_text
from ...engine.records.freeze import freeze
from ...foreign import as_dict, is_cancellation, is_deliberate, type_name

MOST_ITEMS = 10_000
MOST_ERROR_CHARACTERS = 2_000
_MOST_COPIED = 2_000
_VALUE_SIZE = 64
_DEEPEST = 12
_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
# What can be large and is not read: probabilities, and what applications make of the text.
_LEFT_OUT = frozenset(
    {"logprobs", "top_logprobs", "parsed", "parsed_output", "parsed_arguments", "embedding"}
)


def field(value: object, name: str) -> Any:
    """`value[name]` of a mapping, `value.name` of anything else; None where that fails."""
    try:
        if type(value) is dict:  # before `Mapping`, whose check is a call
            return value.get(name)
        return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    except Exception as error:
        if is_deliberate(error):
            raise
        return None


def path(value: object, *names: str) -> Any:
    """`field` after `field`."""
    for name in names:
        value = field(value, name)
    return value


def first_of(value: object, *names: str) -> Any:
    """The first of these fields that is not None."""
    return next((found for name in names if (found := field(value, name)) is not None), None)


def items(value: object) -> Sequence[Any]:
    """A list or tuple, not beyond `MOST_ITEMS`; anything else is empty."""
    return value[:MOST_ITEMS] if isinstance(value, (list, tuple)) else ()


def text(value: object) -> str | None:
    """A str, that of an enum included."""
    if type(value) is str:
        return value
    if isinstance(value, Enum):
        value = value.value
    return str.__str__(value) if isinstance(value, str) else None


def count(value: object) -> int | None:
    """A number of tokens: an int, 0 or more (some bodies have 12.0)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_text(value: object) -> str:
    """Text of anything: a str as it is, None as "", what has a JSON form as JSON, all else by `str`."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    try:
        if type(value) is AsText:
            return text_of(value)
        if not has_json_form(value):
            return str.__str__(str(value))
        frozen = freeze(value).value
        if isinstance(frozen, (str, bytes)):
            return frozen if isinstance(frozen, str) else text_of(frozen)
        return json.dumps(frozen, ensure_ascii=False, default=text_of)
    except Exception as error:
        if is_deliberate(error):
            raise
        return f"<{type_name(value)}>"


def copied(value: Any, depth: int = _DEEPEST) -> tuple[Any, int]:
    """A copy of dicts, lists and pydantic models (as dicts), with texts shared; and about what it holds."""
    kind = type(value)
    if depth <= 0:
        return value, _VALUE_SIZE
    if kind is list:
        return _copied_list(value, depth)
    if kind is dict:
        fields = value.copy()
    elif is_model(value):
        fields = _fields_of(value)
    else:
        return value, _VALUE_SIZE
    size = _VALUE_SIZE * len(fields)
    for name, item in fields.items():
        kind = type(item)
        if kind is str:
            size += len(item)
        elif kind not in _PLAIN:
            if name in _LEFT_OUT:
                fields[name] = None
                continue
            fields[name], within = copied(item, depth - 1)
            size += within
    return fields, size


def _copied_list(value: list[Any], depth: int) -> tuple[Any, int]:
    if len(value) > _MOST_COPIED:
        return value, _VALUE_SIZE * len(value)
    copies, size = [], 0
    for item in value:
        copy, within = copied(item, depth - 1)
        copies.append(copy)
        size += within
    return copies, size


@lru_cache(maxsize=1024)
def _is_model(kind: Any) -> bool:
    return hasattr(kind, "model_fields") and hasattr(kind, "model_fields_set")


def is_model(value: object) -> bool:
    """Whether it is an instance of a pydantic model."""
    kind: Any = type(value)
    return _is_model(kind)


def _fields_of(value: Any) -> dict[str, Any]:
    """A new dict of a pydantic model's fields as they came, unknown ones included."""
    fields: dict[str, Any] = value.__dict__.copy()
    came, extra = value.model_fields_set, value.model_extra
    if len(came) < len(fields):
        fields = {name: item for name, item in fields.items() if name in came}
    if extra:
        fields.update(extra)
    return fields


_UNCHANGING = frozenset({str, AsText, int, float, bool})
_BUILT_IN = frozenset({dict, list, tuple})


def as_text_later(value: object) -> Any:
    """A value that is to be text, as it is now: what can change is frozen; our threads make its JSON text."""
    if value is None or type(value) in _UNCHANGING:
        return value
    if type(value) in _BUILT_IN:
        return frozen_text(value)
    try:
        structured = has_json_form(value)
    except Exception as error:
        if is_deliberate(error):
            raise
        structured = False
    return frozen_text(value) if structured else as_text(value)


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def as_dict_of(metadata: object) -> dict[str, Any]:
    """A copy. What is not a mapping is kept under "metadata": this must not raise in a served request."""
    if metadata is None:
        return {}
    if type(metadata) is dict:
        return metadata.copy()
    try:
        return as_dict(metadata) if isinstance(metadata, Mapping) else {"metadata": metadata}
    except Exception as error:
        if is_deliberate(error):
            raise
        return {"metadata": as_text(metadata)}


def error_text(error: BaseException) -> str:
    """An exception in one text, bounded; its own `__str__` may raise.

    A cancellation's text that names a task (anyio makes such) says nothing about the call.
    """
    name = type_name(error)
    try:
        said = str.__str__(str(error))
    except Exception as failure:
        if is_deliberate(failure):
            raise
        said = ""
    if "<Task " in said and is_cancellation(error):
        said = ""
    return f"{name}: {said[:MOST_ERROR_CHARACTERS]}" if said else name
