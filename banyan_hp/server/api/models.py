"""What every body and every query is made of: pydantic models whose refusals are one plain sentence.

A refusal names the field, what is allowed, and what was there: ``name must be a string that isn't empty, was
''``. What is allowed is the field's description, which the API's document shows, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from ..nesting import MAX_DEPTH, is_shallow
from ..store.calls import MAX_PAGE

MAX_SHOWN = 80
MAX_NAME = 255
REFUSED = "refused"  # the type of errors whose message is such a sentence


class Strict(BaseModel):
    """A JSON object of known fields. Fields that are null and need not be there count as not given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    called: ClassVar[str] = "body"
    """What a refusal calls the whole."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, value: Any, validate: Callable[[Any], Self]) -> Self:
        try:
            return validate(cls._given(value))
        except ValidationError as error:
            flaw = _flaw(cls, _telling(error.errors(include_url=False)))
            sentence = flaw.removeprefix(".") if flaw.startswith(".") else cls.called + flaw
            # What holds this model, if anything does, says where it is, and goes on with the flaw.
            raise PydanticCustomError(REFUSED, "{sentence}", {"sentence": sentence, "flaw": flaw}) from None

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
    called: ClassVar[str] = "query"


def inconsistent(flaw: str) -> PydanticCustomError:
    """The refusal of a field whose parts do not go together; `flaw` goes on behind the field's name."""
    return PydanticCustomError(REFUSED, "{sentence}", {"sentence": flaw, "flaw": flaw})


def unknown(name: str, value: object, known: Iterable[str], what: str) -> str:
    """The refusal of a field or a parameter that there is not; `what`: ``field of the body`` and the like."""
    there, part = ", ".join(known), what.partition(" ")[0]
    hint = f"the {part}s are {there}" if there else f"there are no {part}s"
    return f"{name} is no {what}, was {shown(value)}; {hint}"


def _telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """Of the first field's errors the one deepest inside it: where a field may be one of several things, the
    one that was nearest.
    """
    first = errors[0]["loc"][:1]
    return max((each for each in errors if each["loc"][:1] == first), key=lambda each: len(_indexes(each)))


def _indexes(error: ErrorDetails) -> list[int]:
    return [each for each in error["loc"] if isinstance(each, int)]


def _flaw(model: type[Strict], error: ErrorDetails) -> str:
    """What is wrong, as it goes on behind the name of the whole: ``.field must be …``, `` must be …``."""
    # Models within this one have made sentences of their own errors. So what follows a field's name are
    # places in lists, and pydantic's names for the several things that it may be, which mean nothing to us.
    field = named(str(error["loc"][0])) if error["loc"] else ""
    path = f".{field}" * bool(field) + "".join(f"[{index}]" for index in _indexes(error))
    if error["type"] == REFUSED:
        return f"{path}{error['ctx']['flaw']}"
    if error["type"] == "extra_forbidden":
        return unknown(path, error["input"], model.model_fields, f"field of the {model.called}")
    was = "missing" if error["type"] == "missing" else shown(error["input"])
    return f"{path} must be {_expected(model, error)}, was {was}"


def _expected(model: type[Strict], error: ErrorDetails) -> str:
    if not error["loc"]:
        return "a JSON object"
    if _indexes(error):
        return _WORDS.get(error["type"], error["msg"])
    field = model.model_fields.get(str(error["loc"][0]))
    return (_description(field) if field is not None else None) or error["msg"]


def _description(field: FieldInfo) -> str | None:
    """What a field may be; that of one which need not be there is inside its type: `Annotated[…] | None`."""
    inner = [each for kind in get_args(field.annotation) for each in getattr(kind, "__metadata__", ())]
    found = [each.description for each in inner if isinstance(each, FieldInfo) and each.description]
    return field.description or (found[-1] if found else None)


_WORDS = {
    "string_type": "a string",
    "string_too_short": "a string that isn't empty",
    "model_type": "a JSON object",
    "dict_type": "an object",
    "list_type": "a list",
}


def named(name: str) -> str:
    """A field's name, as it may stand in a message."""
    return name if name.isidentifier() and len(name) <= MAX_SHOWN else shown(name)


def shown(value: object) -> str:
    """The `repr` of a value, cut so that a message stays a line."""
    try:
        text = repr(value)
    except RecursionError:  # the parser gets a little deeper than repr does
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


# -- kinds of fields -----------------------------------------------------------------------------------------


def checked(accepts: Callable[[Any], object]) -> AfterValidator:
    """Refuses what `accepts` is not true of, or raises a `ValueError` at."""

    def check(value: Any) -> Any:
        if not accepts(value):
            raise ValueError("it is not allowed")
        return value

    return AfterValidator(check)


def is_storable(text: str) -> bool:
    """Whether a column can hold a text: PostgreSQL takes no NUL, and UTF-8 no lone surrogates."""
    if "\x00" in text:
        return False
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


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
AnyText = Annotated[Any, checked(_is_text), Field(description="a string", json_schema_extra=_STRING)]
Name = Annotated[
    str,
    Field(description=f"a string of 1 to {MAX_NAME} characters", min_length=1, max_length=MAX_NAME),
    checked(is_storable),
]
Words = Annotated[str, Field(description="a string of valid Unicode"), checked(is_storable)]
Limit = Annotated[int, Field(description=f"a whole number from 1 to {MAX_PAGE}", ge=1, le=MAX_PAGE)]
Json = Annotated[
    dict[str, Any],
    Field(description=f"an object, nested at most {MAX_DEPTH} deep"),
    checked(is_shallow),
]
Filled = Annotated[
    Any,
    Field(description=f"a value, not null or empty, nested at most {MAX_DEPTH} deep"),
    checked(_is_filled),
]
Amount = Annotated[
    Any,
    Field(description="a number >= 0", json_schema_extra={"type": "number", "minimum": 0}),
    checked(_is_amount),
]


class Paged(Query):
    """Which page of a list."""

    limit: Limit = MAX_PAGE
    after: Annotated[Words | None, Field(description="the `next` of an earlier page")] = None
