"""The JSON form of values that JSON does not know: one rule for each kind.

No package is imported for it: a class is recognised by its name, or by an attribute of its package.
What a rule returns is frozen like any other value, so it may hold values of any kind.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import re
from collections import OrderedDict, UserString, deque
from collections.abc import Callable, Mapping, MappingView, Sequence, Set
from datetime import date, datetime, time, timedelta
from os import PathLike
from types import SimpleNamespace
from typing import Any

from ...foreign import MOST_PAIRS, class_names, type_name

Rule = Callable[[Any], Any]

CONTAINERS: tuple[type, ...] = (list, tuple, deque, Sequence, Set, MappingView)
LONG_BYTES = 1024  # from this length on, bytes become text on our threads


def rule_for(value: object) -> Rule | None:
    """The rule that brings a value closer to JSON; None for containers, arrays, and what has no JSON form.

    Raises:
        Exception: whatever the value's class raises when it is inspected.
    """
    for name in class_names(value):
        if name in _BY_NAME:
            return _BY_NAME[name]
    for kinds, conversion in _BY_TYPE:
        if isinstance(value, kinds):
            return conversion
    kind = type(value)
    for attribute, conversion in _BY_ATTRIBUTE:
        if hasattr(kind, attribute):
            return conversion
    return _dumped if hasattr(value, "model_dump") and not isinstance(value, type) else None


def has_json_form(value: object) -> bool:
    """Whether a value becomes more than the text of its `repr`. Raises as `rule_for` does."""
    return (
        value is None
        or isinstance(value, (Mapping, *CONTAINERS))
        or rule_for(value) is not None
        or is_array(value)
    )


def is_array(value: object) -> bool:
    """A numpy array or scalar, or what looks like one."""
    return hasattr(value, "tolist") and hasattr(value, "dtype")


def is_finite(value: Any) -> bool:
    """Whether iterating over it, or its `items()`, only runs Python's own code."""
    kind = type(value)
    return kind.items in _OWN_ITEMS if hasattr(kind, "items") else kind.__iter__ in _OWN_ITERATION


_OWN_ITEMS = (dict.items, OrderedDict.items)
_VIEWS: tuple[Any, ...] = ({}.keys(), {}.values(), {}.items())
_ITERATED: tuple[Any, ...] = (list, tuple, set, frozenset, deque, range, *map(type, _VIEWS))
_OWN_ITERATION = tuple(kind.__iter__ for kind in _ITERATED)


def plain(value: Any, *kinds: type) -> Any:
    """The result of a caller's method, if it has the expected type (it might return itself)."""
    if isinstance(value, kinds):
        return value
    raise TypeError(f"a conversion returned {type_name(value)}")


# -- bytes ---------------------------------------------------------------------------------------------------

BASE64 = "base64:"


def bytes_text(raw: bytes) -> str:
    """Bytes as text: UTF-8, or base64 behind a prefix that says so."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return BASE64 + base64.b64encode(raw).decode("ascii")


def _bytes(value: Any) -> str | bytes:
    raw = bytes(value)  # no copy if it is bytes already
    return bytes_text(raw) if len(raw) < LONG_BYTES else raw


# -- objects with fields -------------------------------------------------------------------------------------


def _dataclass(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _attrs(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}


def _struct(value: Any) -> dict[str, Any]:
    kind = type(value)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    return {on_the_wire: getattr(value, name) for on_the_wire, name in names}


def _pydantic(value: Any) -> Any:
    """Without warnings: a parsed completion holds other types than it declares."""
    return value.model_dump(warnings=False)


def _dumped(value: Any) -> Any:
    return plain(value.model_dump(), dict)


def _row(value: Any) -> Any:
    """A row of SQLAlchemy; as a list where two of its columns share a name."""
    columns = dict(value._mapping)
    return columns if len(columns) == len(value) else list(value)


def _series(value: Any) -> Any:
    """A row or another labelled series as an object; one that is merely numbered as a list."""
    few = value.iloc[: MOST_PAIRS + 1]
    return few.tolist() if type(value.index).__name__ == "RangeIndex" else dict(few.items())


def _frame(value: Any) -> Any:
    return value.iloc[:MOST_PAIRS].to_dict("records")


# -- protobuf ------------------------------------------------------------------------------------------------


def _message(value: Any) -> Any:
    """The meaning of protobuf's own types; of other messages the fields that are set, by their JSON names."""
    if hasattr(value, "ToJsonString"):
        return value.ToJsonString()  # Timestamp, Duration, FieldMask
    name = value.DESCRIPTOR.full_name
    if name == "google.protobuf.Value":
        kind = value.WhichOneof("kind")
        return None if kind in (None, "null_value") else getattr(value, kind)
    if name == "google.protobuf.Struct":
        return dict(value.fields)
    if name == "google.protobuf.ListValue":
        return list(value.values)
    if name.startswith("google.protobuf.") and name.endswith("Value"):
        return value.value  # Int64Value and the like
    return {field.json_name: _field(field, item) for field, item in value.ListFields()}


def _field(field: Any, item: Any) -> Any:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        of_value = entry.fields_by_name["value"]
        return {key: _field(of_value, each) for key, each in item.items()}
    if field.enum_type is None:
        return item
    names = field.enum_type.values_by_number
    if isinstance(item, int):
        return names[item].name if item in names else item
    return [names[each].name if each in names else each for each in item]


# -- times of numpy ------------------------------------------------------------------------------------------

_NOT_A_TIME = -(2**63)
_UNIT = re.compile(r"\[(\d*)([a-zA-Z]+)\]")
_WHOLE = {"Y": "P{}Y", "M": "P{}M", "W": "P{}W", "D": "P{}D", "h": "PT{}H", "m": "PT{}M"}
_SECONDS = {"s": 0, "ms": -3, "us": -6, "ns": -9, "ps": -12, "fs": -15, "as": -18}


def _datetime64(value: Any) -> str | None:
    text = str(value)
    return None if text == "NaT" else text


def _timedelta64(value: Any) -> str | int | None:
    """As ISO 8601 in its own unit: how long a month is depends on the month."""
    count = int(value.astype("int64"))
    found = _UNIT.search(value.dtype.str)
    if count == _NOT_A_TIME or found is None:
        return None if count == _NOT_A_TIME else count
    count *= int(found[1] or 1)
    sign, unit = "-" if count < 0 else "", found[2]
    if unit in _WHOLE:
        return sign + _WHOLE[unit].format(abs(count))
    from decimal import Decimal  # takes a millisecond to import

    return f"{sign}PT{Decimal(abs(count)).scaleb(_SECONDS[unit]).normalize():f}S"


# -- the rules -----------------------------------------------------------------------------------------------

_BY_NAME: dict[str, Rule] = {  # top-level package and class, of the value or of what it inherits from
    "argparse.Namespace": lambda value: dict(vars(value)),
    "decimal.Decimal": str,
    "django.Promise": lambda value: str.__str__(str(value)),
    "fractions.Fraction": str,
    "google.Message": _message,
    "google.RepeatedCompositeContainer": list,
    "google.RepeatedCompositeFieldContainer": list,
    "google.RepeatedScalarContainer": list,
    "google.RepeatedScalarFieldContainer": list,
    "numpy.datetime64": _datetime64,
    "numpy.timedelta64": _timedelta64,
    "pandas.DataFrame": _frame,
    "pandas.NAType": lambda _: None,
    "pandas.NaTType": lambda _: None,
    "pandas.Period": str,
    "pandas.Series": _series,
    "pandas.Timedelta": lambda value: value.isoformat(),
    "sqlalchemy.Row": _row,
    "uuid.UUID": str,
}

_BY_TYPE: tuple[tuple[Any, Rule], ...] = (
    (enum.Enum, lambda value: value.value),
    (str, lambda value: str.__str__(value)),
    (int, lambda value: int.__int__(value)),
    (float, lambda value: float.__float__(value)),
    ((datetime, date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    ((PathLike, UserString), str),
    ((bytes, bytearray, memoryview), _bytes),
    (SimpleNamespace, lambda value: dict(vars(value))),
    (BaseException, lambda value: f"{type_name(value)}: {value}"),
)

_BY_ATTRIBUTE: tuple[tuple[str, Rule], ...] = (  # of the class
    ("__dataclass_fields__", _dataclass),
    ("__attrs_attrs__", _attrs),
    ("__struct_fields__", _struct),
    ("__pydantic_serializer__", _pydantic),
)
