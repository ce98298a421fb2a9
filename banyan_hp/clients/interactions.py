"""What callers hand to `log` and `log_step` of HuggingPlace: checked, and made into the body of a record.

A log call never raises: where an argument is wrong, the functions here return a sentence for the log.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import is_not
from typing import Any

from ..destinations.huggingplace import step_body
from ..engine.records.freeze import freeze
from ..engine.records.record import Deferred
from ..foreign import as_dict, kind_of

_NOT_GIVEN = repeat(None)
_NEVER_EMPTY = frozenset({int, bool, Deferred})
_SEEN_AT_ONCE = frozenset({list, tuple, dict})


def own_copy(options: Any) -> Any:
    """A copy of a dict, made in one step: another thread may be changing it. Anything else as it is."""
    return as_dict(options) if isinstance(options, Mapping) else options


def problem_with_log(options: object) -> str | None:
    """What is wrong with a record, in a sentence that names the field; None if nothing is."""
    if not isinstance(options, Mapping):
        return f"log() takes a dict, got {kind_of(options)}"
    return _missing(options, ("user_prompt", "response"))


def problem_with_step(step: object) -> str | None:
    """What is wrong with a step, in a sentence that names the field; None if nothing is."""
    if not isinstance(step, Mapping):
        return f"log_step() takes a dict, got {kind_of(step)}"
    return _missing(step, ("type", "user_question", "prompt_response"))


def _missing(options: Mapping[Any, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name not in options:
            return f"{name} is missing; it is required and must not be empty"
        value = options[name]
        if not value if type(value) is str else _is_empty(value):
            return f"{name} must not be empty, was {kind_of(value)}"
    return None


def _is_empty(value: Any) -> bool:
    """Whether the backend would see nothing there: null, or an empty text, list or object."""
    kind = type(value)
    if kind in _SEEN_AT_ONCE:
        return not value
    if value is None or kind in _NEVER_EMPTY:
        return value is None
    return freeze(value, max_text=sys.maxsize).value in (None, "", b"", [], {})


def interaction_body(options: dict[str, Any]) -> dict[str, Any]:
    """The body of a record; fields that are None are not given. `user_prompt` may still be of any kind.

    Args:
        options: a dict of ours, in which `problem_with_log` found nothing wrong.
    """
    return options if all(map(is_not, options.values(), _NOT_GIVEN)) else without_none(options)


def step_record(step: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a record that carries one step by itself; likewise."""
    given = without_none(step)
    ident = given.pop("record_id", None)
    body = interaction_body(step_body(given))
    if ident is not None:
        body["record_id"] = ident
    return body


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the fields that are None. Calls nothing of the values."""
    return {name: value for name, value in options.items() if value is not None}


def session_defaults(metadata: Any, user_metadata: Any) -> tuple[Any, Any]:
    """A session's defaults: two dicts, or, in the published form, one dict that holds both."""
    if user_metadata is not None or not isinstance(metadata, Mapping) or not metadata:
        return metadata, user_metadata
    options = as_dict(metadata)
    if not all(name in _DEFAULTS and isinstance(options[name], _OPTIONAL_DICT) for name in options):
        return metadata, user_metadata
    return options.get("metadata"), options.get("user_metadata")


_DEFAULTS = ("metadata", "user_metadata")
_OPTIONAL_DICT = (Mapping, type(None))
