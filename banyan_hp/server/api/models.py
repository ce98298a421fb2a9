"""What every body and every query is made of: pydantic models whose refusals are one plain sentence.

A refusal names the field, what is allowed, and what was there: ``name must be a string that isn't empty, was
''``. What is allowed is the field's description, which the API's document shows, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

MAX_SHOWN = 80
MAX_NAME = 255
MAX_DEPTH = 200  # well inside what the standard library's json can write and read again
REFUSED = "refused"  # the type of errors whose message is such a sentence


class Strict(BaseModel):
    """A JSON object of known fields. Fields that are null and need not be there count as not given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, value: Any, validate: Callable[[Any], Self]) -> Self:
        try:
            return validate(cls._given(value))
        except ValidationError as error:
            raise _refused(_sentence(cls, error.errors(include_url=False)[0])) from None

    @classmethod
    def _given(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        fields = cls.model_fields
        return {
            name: each
            for name, each in value.items()
            if each is not None or name not in fields or fields[name].is_required()
        }


class Query(Strict):
    """The parameters of a query: texts, which pydantic turns into numbers and times."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


def _refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError(REFUSED, "{sentence}", {"sentence": sentence})


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    path = _path(error["loc"])
    if error["type"] == REFUSED:  # of a model within this one
        return f"{path}.{error['msg']}" if path else error["msg"]
    if error["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return f"{path} is not known here, was {shown(error['input'])}; the fields are {known}"
    was = "missing" if error["type"] == "missing" else shown(error["input"])
    return f"{path or 'body'} must be {_expected(model, error)}, was {was}"


def _expected(model: type[BaseModel], error: ErrorDetails) -> str:
    location = error["loc"]
    if len(location) <= 1:
        described = model.model_fields.get(str(location[0])) if location else None
        return described.description or error["msg"] if described is not None else "a JSON object"
    return _WORDS.get(error["type"], error["msg"])


_WORDS = {
    "string_type": "a string",
    "string_too_short": "a string that isn't empty",
    "dict_type": "an object",
    "list_type": "a list",
}


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for each in location:
        path += f"[{each}]" if isinstance(each, int) else f"{'.' if path else ''}{_named(each)}"
    return path


def _named(name: str) -> str:
    return name if name.isidentifier() and len(name) <= MAX_SHOWN else shown(name)


def shown(value: object) -> str:
    """The `repr` of a value, cut so that a message stays a line."""
    try:
        text = repr(value)
    except RecursionError:  # the parser gets a little deeper than repr does
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


# -- kinds of fields -----------------------------------------------------------------------------------------


def _checked(accepts: Callable[[Any], bool]) -> AfterValidator:
    def check(value: Any) -> Any:
        if not accepts(value):
            raise ValueError("it is not allowed")
        return value

    return AfterValidator(check)


def is_storable(text: str) -> bool:
    """Whether a column can hold a text: PostgreSQL takes no NUL, and UTF-8 no lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_shallow(value: object) -> bool:
    """Whether a JSON value is nested at most `MAX_DEPTH` deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [child for child in value if isinstance(child, (dict, list))] if isinstance(value, list) else []


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_filled(value: object) -> bool:
    empty = value is None or (isinstance(value, (str, list, dict)) and not value)
    return not empty and is_shallow(value)


def _is_amount(value: object) -> bool:
    """A finite number >= 0, not `true`; an int may be too large for `isfinite`."""
    if isinstance(value, float):
        return math.isfinite(value) and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_STRING = {"type": "string"}

# `Any`, as pydantic's own strings refuse the lone surrogates that JSON can spell and a body can hold.
AnyText = Annotated[Any, _checked(_is_text), Field(description="a string", json_schema_extra=_STRING)]
Name = Annotated[
    str,
    Field(description=f"a string of 1 to {MAX_NAME} characters", min_length=1, max_length=MAX_NAME),
    _checked(is_storable),
]
Words = Annotated[str, Field(description="a string of valid Unicode"), _checked(is_storable)]
Json = Annotated[
    dict[str, Any],
    Field(description=f"an object, nested at most {MAX_DEPTH} deep"),
    _checked(is_shallow),
]
Filled = Annotated[
    Any,
    Field(description=f"a value, not null or empty, nested at most {MAX_DEPTH} deep"),
    _checked(_is_filled),
]
Amount = Annotated[
    Any,
    Field(description="a number >= 0", json_schema_extra={"type": "number", "minimum": 0}),
    _checked(_is_amount),
]
