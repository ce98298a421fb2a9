"""Parsing and checking JSON: pure functions; a refusal names the field, its value and what it should be.

Nothing here knows of HTTP, of the database, or of how a body is read (`bodies.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..experiments import MAX_DECIMALS

MAX_REPR = 80
MAX_ID = 255
# Well inside what json can write and read again, whatever the interpreter's own limit is.
MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Field:
    """What one field of a body must be, in words and as a test."""

    expected: str
    accepts: Callable[[object], bool]
    required: bool = False

    def refusal(self, name: str, value: object) -> str | None:
        """Why `value` is refused, or None."""
        return None if self.accepts(value) else f"{name} must be {self.expected}, was {shown(value)}"


def shown(value: object) -> str:
    """The `repr` of `value`, cut so that an error message stays a line."""
    try:
        text = repr(value)
    except RecursionError:  # the parser gets a little deeper than repr does
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= MAX_REPR else text[: MAX_REPR - 1] + "…"


def is_string(value: object) -> bool:
    """A string, the empty one included."""
    return isinstance(value, str)


def is_storable(value: object) -> bool:
    """A string that UTF-8 can hold: JSON can spell lone surrogates, SQLite can't keep them."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def text_in(body: object, name: str) -> str | None:
    """A field of `body` if it is text that the database can hold, else None."""
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) and is_storable(value) else None


def is_name(value: object) -> bool:
    """A string, not empty, that can be a key in the database."""
    return value != "" and is_storable(value)


def is_id(value: object) -> bool:
    """A name short enough to be a record's id."""
    return is_name(value) and len(str(value)) <= MAX_ID


def is_number(value: object) -> bool:
    """A finite number, not `true`. An int always is finite, but may be too large for `isfinite`."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    """A string, not empty."""
    return value != "" and is_string(value)


def is_amount(value: object) -> bool:
    """A number >= 0."""
    return isinstance(value, (int, float)) and is_number(value) and value >= 0


def is_percentage(value: object) -> bool:
    """A number from 0 to 100 that the formula of experiments takes."""
    if not isinstance(value, (int, float)) or not is_number(value) or not 0 <= value <= 100:
        return False
    return int(Decimal(str(value)).as_tuple().exponent) >= -MAX_DECIMALS


def is_boolean(value: object) -> bool:
    """`true` or `false`."""
    return isinstance(value, bool)


def is_metadata(value: object) -> bool:
    """An object, nested no deeper than `MAX_DEPTH`."""
    return isinstance(value, dict) and is_shallow(value)


def is_content(value: object) -> bool:
    """What a prompt or a model's response may be: anything but null and what is empty."""
    empty = value is None or (isinstance(value, (str, list, dict)) and not value)
    return not empty and is_shallow(value)


def is_optional_amount(value: object) -> bool:
    """A number >= 0, or null for one that is not known."""
    return value is None or is_amount(value)


def is_shallow(value: object) -> bool:
    """Any value that is nested no deeper than `MAX_DEPTH`."""
    return _depth_within(value, MAX_DEPTH)


def _depth_within(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [child for child in value if isinstance(child, (dict, list))] if isinstance(value, list) else []


ANY_STRING = Field("a string", is_string)
STRING = Field("a string of valid Unicode", is_storable)
NAME = Field("a string that isn't empty", is_name)
TEXT = Field("a string that isn't empty", is_text)
AMOUNT = Field("a number >= 0 or null", is_optional_amount)
CONTENT = Field(f"a value, not null or empty, nested at most {MAX_DEPTH} deep", is_content)
METADATA = Field(f"an object, nested at most {MAX_DEPTH} deep", is_metadata)
ANYTHING = Field(f"nested at most {MAX_DEPTH} deep", is_shallow)
BOOLEAN = Field("true or false", is_boolean)
PERCENTAGE = Field(f"a number from 0 to 100 of at most {MAX_DECIMALS} decimals", is_percentage)


def required(field: Field) -> Field:
    """The same field, which now must be there."""
    return Field(field.expected, field.accepts, required=True)


def one_of(*allowed: str) -> Field:
    """A field that must be one of these words."""
    *others, last = map(repr, allowed)
    return Field(f"{', '.join(others)} or {last}", lambda value: value in allowed)


RECORD: Mapping[str, Field] = {
    "input": required(ANY_STRING),
    "output": required(ANY_STRING),
    "metadata": required(METADATA),
    "prompt_id": ANY_STRING,
    "prompt_name": ANY_STRING,
    "version": ANY_STRING,
    "branch_name": ANY_STRING,
    "model": ANY_STRING,
    "duration_ms": Field("a number of milliseconds >= 0", is_amount),
    "experiment_id": ANY_STRING,
    "experiment_version_id": ANY_STRING,
    "sticky_key": ANY_STRING,
    "sticky_value": ANY_STRING,
}

# What HuggingPlace's `log()` takes: what more its caller puts into an interaction is welcome, whatever it is.
INTERACTION: Mapping[str, Field] = {
    "user_prompt": required(CONTENT),
    "response": required(CONTENT),
    "org_id": required(TEXT),
    "mode": required(one_of("prod", "dev")),
    "token_count": AMOUNT,
    "response_time": AMOUNT,
}

ENVELOPE: Mapping[str, Field] = {
    "records": Field("a list", lambda value: isinstance(value, list), required=True)
}

ENTRY: Mapping[str, Field] = {
    "id": Field(f"a string of 1 to {MAX_ID} characters", is_id, required=True),
    "ts": Field("an ISO-8601 string", is_string, required=True),
    "body": Field("present", lambda _: True, required=True),
}

ROUTE: Mapping[str, Field] = {
    "experimentId": required(NAME),
    "stickyKey": required(NAME),
    "stickyValue": required(ANY_STRING),
    "apiKey": required(ANY_STRING),
}

NEW_PROMPT: Mapping[str, Field] = {
    "name": required(NAME),
    "content": required(STRING),
    "branch": NAME,
    "metadata": METADATA,
    "project_id": NAME,
}

NEW_VERSION: Mapping[str, Field] = {
    **NEW_PROMPT,
    "version": required(NAME),
    "change_message": STRING,
}

PROMPT_CHANGE: Mapping[str, Field] = {
    "version": NAME,
    "content": STRING,
    "metadata": METADATA,
    "branch": NAME,
    "enable_logging": BOOLEAN,
}


def given(body: object, fields: Mapping[str, Field]) -> Any:
    """The body without fields that are null and need not be there: published clients send these, too."""
    if not isinstance(body, dict):
        return body
    left_out = {name for name, field in fields.items() if not field.required and body.get(name, 0) is None}
    return {name: value for name, value in body.items() if name not in left_out}


def object_refusal(
    value: object,
    fields: Mapping[str, Field],
    what: str = "body",
    at: str = "",
    more: Field | None = None,
) -> str | None:
    """Why `value` is not an object of these fields, or None.

    `what` names the value itself in the response, `at` goes before the name of each of its fields.
    `more` is what any further field must be; without it there may be none.
    """
    if not isinstance(value, dict):
        return f"{what} must be a JSON object, was {shown(value)}"
    return _missing(value, fields, at) or _wrong(value, fields, what, at, more)


def _missing(value: Mapping[str, object], fields: Mapping[str, Field], at: str) -> str | None:
    for name, field in fields.items():
        if field.required and name not in value:
            return f"{at}{name} must be {field.expected}, was missing"
    return None


def _wrong(
    value: Mapping[str, object], fields: Mapping[str, Field], what: str, at: str, more: Field | None
) -> str | None:
    for name, item in value.items():
        field = fields.get(name, more)
        if field is None:
            known = ", ".join(fields)
            return f"{at}{_named(name)} is no field of the {what}, was {shown(item)}; the fields are {known}"
        if not field.accepts(item):
            return field.refusal(at + _named(name), item)
    return None


def _named(name: str) -> str:
    return name if name.isidentifier() and len(name) <= MAX_REPR else shown(name)


def record_refusal(body: object) -> str | None:
    """Why `body` is not a usage record, or None."""
    return object_refusal(given(body, RECORD), RECORD)


def interaction_refusal(body: object) -> str | None:
    """Why `body` is not an interaction, or None."""
    return object_refusal(given(body, INTERACTION), INTERACTION, more=ANYTHING)


def envelope_refusal(envelope: object) -> str | None:
    """Why `envelope` is not a batch whose entries can be answered one by one, or None."""
    if (refusal := object_refusal(envelope, ENVELOPE)) is not None or not isinstance(envelope, dict):
        return refusal
    for index, entry in enumerate(envelope["records"]):
        place = f"records[{index}]"
        if (refusal := object_refusal(entry, ENTRY, place, at=f"{place}.")) is not None:
            return refusal
    return None


_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)


def timestamp_refusal(name: str, value: str) -> str | None:
    """Why `value` is not an ISO-8601 date and time, or None.

    `datetime.fromisoformat` takes more shapes, weeks and days without a time among them, so the shape is
    matched here and only what has to be possible on a calendar goes there.
    """
    if _TIMESTAMP.fullmatch(value) is not None and _on_the_calendar(value):
        return None
    return f"{name} must be an ISO-8601 date and time, was {shown(value)}"


def _on_the_calendar(value: str) -> bool:
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


def parse_json(data: bytes) -> object:
    """`data` as a JSON value, or a `ValueError` with the reason.

    NaN and infinities, which Python's parser would let in, are no JSON and could not be answered again.
    """
    try:
        value: object = json.loads(data.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:MAX_REPR]} is out of range")
    return number
