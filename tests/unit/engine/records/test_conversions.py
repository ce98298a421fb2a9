"""The JSON form of what applications put into records, with the real packages."""

from __future__ import annotations

import argparse
import array
import collections
import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import attrs
import msgspec
import numpy
import pydantic
import pytest
import sqlalchemy
from openai.lib._parsing import parse_chat_completion
from openai.types.chat import ChatCompletion

from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import freeze
from banyan_hp.tracking.reading.fields import as_text
from banyan_hp.tracking.reading.responses import read_response
from tests.support import recorded


@attrs.define
class Attrs:
    name: str
    tags: list[str]


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    when: datetime


class Names(pydantic.RootModel[list[str]]):
    pass


class City(pydantic.BaseModel):
    name: str
    people: int


@dataclass
class Finding:
    title: str
    score: Decimal


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def row(query: str) -> Any:
    engine = sqlalchemy.create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(query)).one()
    finally:
        engine.dispose()  # Python 3.13 and later warn of an open database


def pandas() -> Any:
    return pytest.importorskip("pandas")


def frame() -> Any:
    return pandas().DataFrame({"city": ["Rome", "Oslo"], "n": [1, 2]})


def lazy_text() -> Any:
    translation = pytest.importorskip("django.utils.functional")
    return translation.lazystr("Grüße")


def message() -> Any:
    descriptor = pytest.importorskip("google.protobuf.descriptor_pb2")
    field = descriptor.FieldDescriptorProto(name="id", number=1, type="TYPE_INT64", type_name=".T")
    return descriptor.DescriptorProto(name="User", field=[field])


def well_known(module: str, kind: str, **fields: Any) -> Callable[[], Any]:
    return lambda: getattr(pytest.importorskip(f"google.protobuf.{module}"), kind)(**fields)


def struct() -> Any:
    made = pytest.importorskip("google.protobuf.struct_pb2").Struct()
    made.update({"city": "Rome", "tags": ["a", None], "more": {"n": 1.0}})
    return made


FORMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "deque": (lambda: collections.deque(["a", 1], maxlen=9), ["a", 1]),
    "dict.keys": (lambda: {"a": 1}.keys(), ["a"]),
    "dict.values": (lambda: {"a": 1}.values(), [1]),
    "dict.items": (lambda: {"a": 1}.items(), [["a", 1]]),
    "OrderedDict.values": (lambda: collections.OrderedDict(a=1).values(), [1]),
    "range": (lambda: range(3), [0, 1, 2]),
    "array.array": (lambda: array.array("d", [0.5, 1.5]), [0.5, 1.5]),
    "UserList": (lambda: collections.UserList(["a", NOON]), ["a", "2026-01-31T12:00:00+00:00"]),
    "UserDict": (lambda: collections.UserDict(a=1), {"a": 1}),
    "UserString": (lambda: collections.UserString("text"), "text"),
    "ChainMap": (lambda: collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
    "SimpleNamespace": (
        lambda: SimpleNamespace(a=1, inner=SimpleNamespace(b=2)),
        {"a": 1, "inner": {"b": 2}},
    ),
    "argparse.Namespace": (lambda: argparse.Namespace(a=1), {"a": 1}),
    "Fraction": (lambda: Fraction(1, 3), "1/3"),
    "pydantic RootModel": (lambda: Names(["a", "b"]), ["a", "b"]),
    "pydantic RootModel within": (lambda: {"names": [Names(["a"])]}, {"names": [["a"]]}),
    "pydantic BaseModel": (lambda: City(name="Rome", people=3), {"name": "Rome", "people": 3}),
    "dataclass": (lambda: Finding("x", Decimal("1.50")), {"title": "x", "score": "1.50"}),
    "attrs": (lambda: Attrs("a", ["b"]), {"name": "a", "tags": ["b"]}),
    "msgspec Struct": (
        lambda: Struct("Ada", NOON),
        {"firstName": "Ada", "when": "2026-01-31T12:00:00+00:00"},
    ),
    "SQLAlchemy Row": (lambda: row("select 1 as id, 'Rome' as city"), {"id": 1, "city": "Rome"}),
    "SQLAlchemy Row, columns of one name": (lambda: row("select 1 as id, 2 as id"), [1, 2]),
    # private: SQLAlchemy's name, which it documents
    "SQLAlchemy RowMapping": (lambda: row("select 1 as id")._mapping, {"id": 1}),
    "Django lazy text": (lazy_text, "Grüße"),
    "protobuf message": (
        message,
        {"name": "User", "field": [{"name": "id", "number": 1, "type": "TYPE_INT64", "typeName": ".T"}]},
    ),
    "protobuf Struct": (struct, {"city": "Rome", "tags": ["a", None], "more": {"n": 1.0}}),
    "protobuf Timestamp": (well_known("timestamp_pb2", "Timestamp", seconds=1), "1970-01-01T00:00:01Z"),
    "protobuf Int64Value": (well_known("wrappers_pb2", "Int64Value", value=7), 7),
    "numpy int": (lambda: numpy.int64(3), 3),
    "numpy float32": (lambda: numpy.float32(0.5), 0.5),
    "numpy longdouble": (lambda: numpy.longdouble("0.5"), 0.5),
    "numpy float32 NaN": (lambda: numpy.float32("nan"), None),
    "numpy bool": (lambda: numpy.bool_(1), True),
    "numpy str": (lambda: numpy.str_("a"), "a"),
    "numpy array": (lambda: numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "numpy datetime64[ns]": (
        lambda: numpy.datetime64("2026-01-31T12:00", "ns"),
        "2026-01-31T12:00:00.000000000",
    ),
    "numpy datetime64[s]": (lambda: numpy.datetime64("2026-01-31T12:00", "s"), "2026-01-31T12:00:00"),
    "numpy datetime64[D]": (lambda: numpy.datetime64("2026-01-31"), "2026-01-31"),
    "numpy datetime64 NaT": (lambda: numpy.datetime64("NaT", "s"), None),
    "numpy timedelta64[ns]": (lambda: numpy.timedelta64(1_500_000_000, "ns"), "PT1.5S"),
    "numpy timedelta64[25s]": (lambda: numpy.array([2], "timedelta64[25s]")[0], "PT50S"),
    "numpy timedelta64[m]": (lambda: numpy.timedelta64(-90, "m"), "-PT90M"),
    "numpy timedelta64[M]": (lambda: numpy.timedelta64(3, "M"), "P3M"),
    "numpy timedelta64 NaT": (lambda: numpy.timedelta64("NaT", "s"), None),
    "numpy array of times": (
        lambda: numpy.array([["2026-01-31", "NaT"]], dtype="datetime64[ns]"),
        [["2026-01-31T00:00:00.000000000", None]],
    ),
    "pandas Series": (lambda: pandas().Series([1, 2]), [1, 2]),
    "pandas row": (lambda: frame().iloc[1], {"city": "Oslo", "n": 2}),
    "pandas DataFrame": (frame, [{"city": "Rome", "n": 1}, {"city": "Oslo", "n": 2}]),
    "pandas Timestamp": (lambda: pandas().Timestamp("2026-01-31T12:00Z"), "2026-01-31T12:00:00+00:00"),
    "pandas Timestamp[ns]": (
        lambda: pandas().Timestamp("2026-01-31T12:00:00.000000001"),
        "2026-01-31T12:00:00.000000001",
    ),
    "pandas Timedelta": (lambda: pandas().Timedelta(seconds=1.5), "P0DT0H0M1.5S"),
    "pandas NaT": (lambda: pandas().NaT, None),
    "pandas NA": (lambda: pandas().NA, None),
    "pandas Index": (lambda: pandas().Index(["a"]), ["a"]),
    "pandas Series with nothing": (lambda: pandas().Series([pandas().NaT, None]), [None, None]),
}


@pytest.mark.parametrize(("make", "form"), FORMS.values(), ids=FORMS)
def test_each_kind_has_one_json_form(make: Callable[[], Any], form: Any) -> None:
    """By itself and inside of others; text of it is the same JSON."""
    value = make()
    assert freeze(value).value == form
    assert json.loads(encode(freeze({"in": [value]}).value)) == {"in": [form]}
    text = as_text(value)
    if value is not None and form is not None:
        assert (text if isinstance(form, str) else json.loads(text)) == form


def test_no_package_is_imported_for_it() -> None:
    """Freezing a value of each of Python's own kinds leaves all of them unloaded."""
    code = (
        "import sys; from banyan_hp.engine.records.freeze import freeze; from collections import deque\n"
        "freeze({'a': [deque([1]), object(), b'x', {1}]})\n"
        "bad = {'numpy', 'pandas', 'attr', 'msgspec', 'pydantic', 'sqlalchemy', 'django', 'google'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_parsed_completion_is_serialised_without_a_warning() -> None:
    """What the SDK parsed is of another type than its field declares; nobody is told so on our behalf."""
    body = copy.deepcopy(recorded.CHAT)
    body["choices"][0]["message"]["content"] = '{"name": "Rome", "people": 3}'
    completion = parse_chat_completion(
        response_format=City, input_tools=[], chat_completion=ChatCompletion.model_validate(body)
    )
    with pytest.warns(UserWarning, match="Pydantic"):
        completion.model_dump()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen = freeze(completion).value
    assert frozen["choices"][0]["message"]["parsed"] == {"name": "Rome", "people": 3}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (City(name="Rome", people=3), '{"name": "Rome", "people": 3}'),
        (Finding("x", Decimal(1)), '{"title": "x", "score": "1"}'),
        (Attrs("a", []), '{"name": "a", "tags": []}'),
    ],
)
def test_a_structured_result_of_a_traced_function_is_json(result: object, text: str) -> None:
    """As it is everywhere else; not Python's `str` of it."""
    assert read_response(result).text == text
