"""Freezing whatever a caller may log."""

from __future__ import annotations

import dataclasses
import enum
import json
import pathlib
import sys
import uuid
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import pytest

from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import (
    MAX_DEPTH,
    MAX_REPR,
    describe,
    freeze,
)
from tests.support.arrays import Array


class Colour(enum.Enum):
    RED = "red"


class Level(int, enum.Enum):
    HIGH = 3


class Role(str, enum.Enum):
    USER = "user"


class Flags(enum.Flag):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


Untyped = namedtuple("Untyped", "a b")


@dataclasses.dataclass
class Message:
    role: str
    content: Any


class Model:
    """Like a pydantic model."""

    def __init__(self, dumped: Any) -> None:
        self.dumped = dumped

    def model_dump(self) -> Any:
        return self.dumped


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Table(dict[str, Any]):
    pass


class Row(list[Any]):
    pass


def explode(*_: object) -> NoReturn:
    raise ValueError("no")


class BadRepr:
    __repr__ = explode


class BadItems(UserDict[str, Any]):
    items = explode


class BadIteration(list[Any]):
    __iter__ = explode


class BadDump:
    model_dump = explode


class BadProperty:
    @property
    def model_dump(self) -> Callable[[], Any]:
        raise RuntimeError("no")


class BadClass:
    """As a lazy proxy that can't be resolved."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no")


class SaysYesToAll:
    """As `unittest.mock.Mock`: any attribute is there."""

    def __getattr__(self, name: str) -> Any:
        return SaysYesToAll()

    def __call__(self, *_: Any) -> Any:
        return SaysYesToAll()

    def __repr__(self) -> str:
        return "yes"


@dataclasses.dataclass
class Unset:
    """A dataclass of which a field can be missing."""

    present: int
    missing: int = dataclasses.field(init=False)


def frozen(value: object, **options: Any) -> Any:
    return freeze(value, **options).value


# -- what becomes of what ------------------------------------------------------------------------------------

UTC_NOON = datetime(2026, 1, 31, 12, 0, 0, 5000, UTC)
IDENT = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (False, False),
        (0, 0),
        (-(2**63), -(2**63)),
        (2**64, 2**64),
        (1.5, 1.5),
        ("", ""),
        (float("nan"), None),
        (float("inf"), None),
        (float("-inf"), None),
        (UTC_NOON, "2026-01-31T12:00:00.005000+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(23, 59, 1), "23:59:01"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (IDENT, "12345678-1234-5678-1234-567812345678"),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        (Decimal("sNaN"), "sNaN"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Role.USER, "user"),
        (Flags.ONE, 1),
        ({7}, [7]),
        (frozenset({"a"}), ["a"]),
        ({"k": 1}.keys(), ["k"]),
        ((1, "two", None), [1, "two", None]),
        (Point(1, 2), [1, 2]),
        (Untyped(1, 2), [1, 2]),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "base64:/wA="),
        (bytearray(b"abc"), "abc"),
        (memoryview(b"abc"), "abc"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Message("user", [date(2026, 1, 1)]), {"role": "user", "content": ["2026-01-01"]}),
        (Model({"a": Colour.RED}), {"a": "red"}),
        (Array([1.5, 2.5]), [1.5, 2.5]),
        (Array(1.5, ndim=0), 1.5),
        (Array([[1, 2], [3, 4]], ndim=2, size=4), [[1, 2], [3, 4]]),
        (Text("sub"), "sub"),
        (Number(5), 5),
        (Real(2.5), 2.5),
        (Real("nan"), None),
        (Table(a=1), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (Row([1, 2]), [1, 2]),
        (KeyError("x"), "KeyError: 'x'"),
    ],
    ids=repr,
)
def test_a_value_becomes_its_json_form(value: object, expected: object) -> None:
    """Each kind of value has one JSON form, of exactly the types that JSON knows."""
    result = frozen(value)
    assert result == expected
    assert type(result) is type(expected)
    assert json.loads(encode(result)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, "1"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (float("nan"), "null"),
        ((1, "a"), '[1, "a"]'),
        (b"raw", "raw"),
        (Role.USER, "user"),
        (Level.HIGH, "3"),
        (Text("sub"), "sub"),
        (IDENT, str(IDENT)),
        (date(2026, 1, 31), "2026-01-31"),
        (2**70, str(2**70)),
    ],
    ids=repr,
)
def test_a_key_of_any_kind_becomes_a_string(key: object, expected: str) -> None:
    """Keys that JSON does not know become text, and their values stay."""
    assert frozen({key: ["kept"]}) == {expected: ["kept"]}


def test_keys_that_become_the_same_text_keep_the_later_value() -> None:
    """1 and "1" are one key in JSON: the later one wins, as it does in Python's own json."""
    assert frozen({1: "first", "1": "later"}) == {"1": "later"}


@pytest.mark.parametrize(
    "build",
    [
        BadRepr,
        BadItems,
        lambda: BadIteration([1]),
        BadDump,
        BadProperty,
        BadClass,
        lambda: Unset(1),
        SaysYesToAll,
    ],
)
def test_a_value_that_raises_becomes_its_type_name(build: Callable[[], object]) -> None:
    """Whatever a caller's object raises, the record stays, and names the type of what is missing."""
    value = build()
    result = frozen({"before": 1, "odd": value, "after": 2})
    assert result["odd"].startswith(f"<{type(value).__qualname__}")
    assert (result["before"], result["after"]) == (1, 2)


def test_a_conversion_that_returns_the_wrong_kind_is_not_followed() -> None:
    """A `model_dump` that returns no dict, and a `tolist` that returns an object, are not believed."""
    assert frozen(Model(3)).startswith("<Model")
    assert frozen(Array(object(), ndim=0)) == "<Array: Array(...)>"


def test_a_class_is_described_and_not_converted() -> None:
    """A dataclass or a model that is handed over as a class, not as an instance, is named."""
    assert frozen(Message).startswith("<type: ")
    assert frozen(Model).startswith("<type: ")


def test_a_generator_is_not_consumed() -> None:
    """The application still gets all that its generator yields."""
    generator = iter([1, 2, 3])
    lazy = (number for number in generator)
    assert "generator" in frozen({"stream": lazy})["stream"]
    assert list(lazy) == [1, 2, 3]


def test_a_description_is_bounded() -> None:
    """An object's endless repr is cut."""

    class Endless:
        def __repr__(self) -> str:
            return "x" * 100_000

    result = frozen(Endless())
    assert result.endswith("x…>")
    assert result.count("x") == MAX_REPR


def test_a_repr_that_returns_a_hostile_string_does_not_raise() -> None:
    """A repr may return a subclass of str whose methods raise."""

    class Hostile(str):
        __len__ = explode

    class Odd:
        def __repr__(self) -> str:
            return Hostile("text")

    assert describe(Odd()).startswith("<")


def test_huge_integers_are_named_and_counted() -> None:
    """An integer that Python may be told not to print becomes a word, and is counted as cut."""
    result = freeze([10**600, 10**5000])
    assert result.value == [10**600, f"<integer of {(10**5000).bit_length()} bits>"]
    assert result.cut == 1
    assert json.loads(encode(result.value))[0] == 10**600


def test_an_iterator_s_class_is_of_no_interest() -> None:
    """A mapping by interface only, of which nothing is a dict, is copied by its items."""

    class Lazy(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return {"a": 1}[key]

        def __iter__(self) -> Iterator[str]:
            return iter("a")

        def __len__(self) -> int:
            return 1

    assert frozen(Lazy()) == {"a": 1}


# -- cycles, depth, the caller's later changes ---------------------------------------------------------------


def test_a_cycle_ends_in_a_word() -> None:
    """A container inside itself is named and counted; the same value twice, side by side, is no cycle."""
    ring: list[Any] = [1]
    ring.append({"self": ring})
    twice = ["shared"]
    result = freeze({"ring": ring, "pair": [twice, twice]})
    assert result.value == {"ring": [1, {"self": "<cycle>"}], "pair": [["shared"], ["shared"]]}
    assert result.cut == 1


def test_depth_is_bounded() -> None:
    """Beyond MAX_DEPTH levels a word takes the place of the rest."""
    value: Any = "bottom"
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    result = freeze(value)
    levels = 0
    inner = result.value
    while isinstance(inner, list):
        inner, levels = inner[0], levels + 1
    assert (inner, levels, result.cut) == ("<too deep>", MAX_DEPTH, 1)


def test_exactly_the_greatest_depth_is_kept() -> None:
    """MAX_DEPTH levels are all kept."""
    value: Any = "bottom"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert freeze(value) == freeze(value)._replace(value=value, cut=0)


@pytest.mark.parametrize(
    "build", [lambda: Model({}), lambda: Message("user", None)], ids=["model", "dataclass"]
)
def test_an_object_that_holds_itself_ends(build: Callable[[], Any]) -> None:
    """An object whose conversion leads back to it, twice at each level, ends in bounded time."""
    value = build()
    if isinstance(value, Model):
        value.dumped = {"a": value, "b": value}
    else:
        value.role = value.content = value
    result = freeze(value)
    assert result.cut > 0
    assert encode(result.value)


def test_a_caller_near_the_recursion_limit_is_not_hurt() -> None:
    """Called at the bottom of a deep recursion, freeze gives up on depth and not on the record."""
    value: Any = "bottom"
    for _ in range(40):
        value = [value]

    def descend(levels: int) -> Any:
        return descend(levels - 1) if levels else freeze(value)

    depth = 0
    frame: Any = sys._getframe()
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    assert descend(sys.getrecursionlimit() - depth - 80) is not None


def test_later_changes_by_the_caller_change_nothing() -> None:
    """What was logged is what the value was at the call."""
    inner = {"list": [1, 2], "odd": {3: ["x"]}}
    value = {"inner": inner, "numbers": [float(n) for n in range(100)], "bytes": bytearray(b"abc")}
    result = frozen(value)
    before = json.dumps(result)
    inner["list"].append(3)  # type: ignore[attr-defined]
    inner["odd"][3].append("y")  # type: ignore[index]
    inner["new"] = {}
    value["numbers"].clear()  # type: ignore[attr-defined]
    value["bytes"].extend(b"def")  # type: ignore[attr-defined]
    assert json.dumps(result) == before


def test_freezing_does_not_change_the_caller_s_value() -> None:
    """The caller's containers stay as they are, odd values and keys included."""
    value = {"d": date(2026, 1, 1), "inner": {"n": float("nan"), 1: (2, 3)}, "list": [b"x"]}
    shown = repr(value)
    frozen(value)
    assert repr(value) == shown


def test_strings_are_shared() -> None:
    """The cost follows the number of values: a long text is not copied."""
    text = "x" * 100_000
    result = frozen({"top": text, "list": [text], 1: text})
    assert result["top"] is text
    assert result["list"][0] is text
    assert result["1"] is text
