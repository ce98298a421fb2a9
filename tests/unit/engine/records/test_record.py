"""Freezing whatever a caller may log, and the bytes that come of it."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
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

from banyan_hp.engine.records.encode import encode, encode_with_json
from banyan_hp.engine.records.freeze import (
    MAX_DEPTH,
    MAX_REPR,
    MAX_VALUES,
    NUMBERS_PER_VALUE,
    cut_text,
    describe,
    freeze,
)
from banyan_hp.engine.records.shortening import encode_within


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


class Array:
    """What numpy's arrays and scalars look like from outside."""

    dtype = "float64"

    def __init__(self, items: Any, *, ndim: int = 1, size: int | None = None) -> None:
        self.items = items
        self.ndim = ndim
        self.size = size if size is not None else (len(items) if ndim else 1)

    def tolist(self) -> Any:
        return list(self.items) if self.ndim else self.items

    def reshape(self, shape: int) -> Array:
        assert shape == -1
        return self

    def __getitem__(self, where: slice) -> Array:
        return Array(self.items[where])

    def __repr__(self) -> str:
        return "Array(...)"


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


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


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


# -- caps ----------------------------------------------------------------------------------------------------


def test_values_beyond_the_cap_are_cut_with_a_marker_and_counted() -> None:
    """A list of too many values keeps the first ones and says how many are gone."""
    result = freeze([str(number) for number in range(MAX_VALUES + 10)])
    assert len(result.value) == MAX_VALUES + 1
    assert result.value[-2] == str(MAX_VALUES - 1)
    assert result.value[-1] == "… [cut: 10 more values]"
    assert result.cut == 10


def test_dicts_in_dicts_are_cut_beyond_the_cap_as_well() -> None:
    """Each is small, but there are 200 in each of 200 others; it may be the same one."""
    value: dict[str, Any] = {f"k{number}": number for number in range(200)}
    for _ in range(2):
        value = {f"k{number}": value for number in range(200)}
    result = freeze({"metadata": value})
    assert result.cut
    assert encode(result.value).count(b":") <= 2 * MAX_VALUES


def test_a_mapping_beyond_the_cap_is_cut_with_a_marker_and_counted() -> None:
    """So does a mapping, under the key "…"."""
    result = freeze({f"k{number}": number for number in range(MAX_VALUES + 10)})
    assert len(result.value) == MAX_VALUES + 1
    assert result.value["…"] == "… [cut: 10 more values]"
    assert result.cut == 10


def test_the_cap_is_of_the_whole_value() -> None:
    """Values of all containers count together, however they are nested."""
    result = freeze({"first": ["a"] * (MAX_VALUES - 2), "second": ["b", "b", "b"]})
    assert len(result.value["first"]) == MAX_VALUES - 2
    assert result.value["second"] == ["… [cut: 3 more values]"]
    assert result.cut == 3


@pytest.mark.parametrize("build", [float, int])
def test_a_long_flat_list_of_numbers_is_kept(build: type) -> None:
    """An embedding far longer than the cap on values is kept whole, equal and as a copy."""
    numbers = [build(number) for number in range(MAX_VALUES * 3)]
    result = freeze(numbers)
    assert result.value == numbers
    assert result.value is not numbers
    assert result.cut == 0


def test_a_list_of_numbers_beyond_its_cap_is_cut_and_counted() -> None:
    """64 numbers count as a value; what is too much has a marker and a count."""
    result = freeze([0.5] * (MAX_VALUES * NUMBERS_PER_VALUE + 7))
    assert result.value[-1] == "… [cut: 7 more values]"
    assert len(result.value) == MAX_VALUES * NUMBERS_PER_VALUE + 1
    assert result.cut == 7


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_found_in_long_lists(odd: float) -> None:
    """The fast path for numbers lets no NaN or infinity through, and loses no neighbour to them."""
    assert frozen([1.0] * 50 + [odd] + [2.0]) == [1.0] * 50 + [None] + [2.0]
    assert frozen([sys.float_info.max] * 20) == [sys.float_info.max] * 20


def test_booleans_in_long_lists_stay_booleans() -> None:
    """True is not 1: a long list of both keeps them apart."""
    result = frozen([True, 1] * 20)
    assert [type(item) for item in result] == [bool, int] * 20


def test_a_huge_array_is_cut_with_a_marker_and_counted() -> None:
    """An array with more numbers than are kept says how many are gone, as a list does."""
    limit = MAX_VALUES * NUMBERS_PER_VALUE
    result = freeze(Array([0.5] * (limit + 7)))
    assert result.value[-1] == "… [cut: 7 more values]"
    assert result.cut == 7


def test_a_huge_array_keeps_only_what_fits() -> None:
    """An array with more numbers than are kept is cut before it becomes a list of them all."""
    limit = MAX_VALUES * NUMBERS_PER_VALUE

    class Huge(Array):
        def tolist(self) -> Any:
            raise MemoryError("the whole of it was asked for")

    assert limit <= len(frozen(Huge([0.5] * (limit + 7)))) <= limit + 1


def test_one_odd_key_does_not_halve_the_cap() -> None:
    """A mapping below the cap is kept whole, wherever a key that is no string stands in it."""
    value: dict[Any, Any] = {f"k{number}": number for number in range(MAX_VALUES - 10)}
    value[1] = "odd"
    result = freeze(value)
    assert result.cut == 0
    assert len(result.value) == MAX_VALUES - 9


def test_odd_keys_at_each_level_do_not_multiply_the_work() -> None:
    """A small nested mapping is kept whole, and its size is about that of one without odd keys."""
    odd: dict[Any, Any] = {}
    even: dict[str, Any] = {}
    for _ in range(20):
        odd, even = {"deeper": odd, 1: "x"}, {"deeper": even, "1": "x"}
    assert frozen(odd) == even
    assert freeze(odd).size < 2 * freeze(even).size


def test_a_text_is_counted_as_cut_once() -> None:
    """The number of cut values is exact, also beside an odd key."""
    assert freeze({"long": "x" * 100, 1: 1}, max_text=10).cut == 1


def test_long_texts_are_cut_with_their_length() -> None:
    """`max_text` keeps the beginning of a text and says how long it was, at every level."""
    result = freeze({"a": "x" * 11, "b": ["y" * 10, Text("z" * 12)], 1: "w" * 13}, max_text=10)
    assert result.value == {
        "a": "x" * 10 + "… [cut: 11 characters]",
        "b": ["y" * 10, "z" * 10 + "… [cut: 12 characters]"],
        "1": "w" * 10 + "… [cut: 13 characters]",
    }


@pytest.mark.parametrize("value", ["x" * 11, ["x" * 11], {"a": "x" * 11}])
def test_each_cut_text_is_counted(value: object) -> None:
    """A text cut to `max_text` counts as one cut value."""
    assert freeze(value, max_text=10).cut == 1
    assert freeze(value, max_text=11).cut == 0


def test_size_grows_with_texts_and_values() -> None:
    """The size in memory, by which the queue is bounded, covers texts and containers."""
    empty, text = freeze({}).size, freeze({"a": "x" * 10_000}).size
    assert text - empty > 10_000
    assert freeze([0.5] * 10_000).size > 10_000 * 24
    assert freeze(["x"] * 1000).size > 1000 * sys.getsizeof("x")


def test_size_covers_long_keys() -> None:
    """A megabyte in keys is a megabyte in the queue."""
    assert freeze({"k" * 1_000_000: 1}).size > 1_000_000


# -- encoding ------------------------------------------------------------------------------------------------

AWKWARD: list[Any] = [
    None,
    {"text": 'café 😀 \x00 " \\ \n \u2028', "n": [1e-07, 1e22, 5e-324, -0.0, 0.1]},
    [2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**300],
    ["\ud800", "a\udfffb", "\ud83d\ude00"],
    {"\ud800key": 1},
]


@pytest.mark.parametrize("value", AWKWARD, ids=ascii)
def test_both_encoders_give_equal_values(value: Any) -> None:
    """With and without orjson the JSON values are equal, and valid UTF-8."""
    fast, standard = encode(freeze(value).value), encode_with_json(freeze(value).value)
    assert json.loads(fast.decode("utf-8")) == json.loads(standard.decode("utf-8"))


@pytest.mark.parametrize("encoder", [encode, encode_with_json])
def test_lone_surrogates_become_replacement_characters(encoder: Callable[[Any], bytes]) -> None:
    """A lone surrogate can't be sent; a pair of them is the character that they mean."""
    assert json.loads(encoder(["a\ud800b", "\udc00", "\ud83d\ude00"])) == ["a\ufffdb", "\ufffd", "😀"]


@pytest.mark.parametrize("encoder", [encode, encode_with_json])
def test_texts_travel_as_utf8(encoder: Callable[[Any], bytes]) -> None:
    """Texts are not escaped beyond need: that would triple the bytes of many languages."""
    assert encoder({"a": "日本"}) == '{"a":"日本"}'.encode()


# -- the limit on a record's size ----------------------------------------------------------------------------


def test_what_fits_is_not_touched() -> None:
    """A body of exactly the limit stays as it is."""
    value = {"a": "x" * 100}
    body = encode(value)
    assert encode_within(value, len(body)) == (body, False)


def test_the_longest_text_gives_way_first() -> None:
    """The longest text loses what is too much, about, and the others nothing."""
    value = {"question": "q" * 500, "answer": "a" * 5000, "n": 1}
    body, shortened = encode_within(value, 4000)
    kept = json.loads(body)
    assert shortened
    assert 3800 < len(body) <= 4000
    assert kept["question"] == "q" * 500
    assert kept["answer"].endswith(f"… [cut: 5000 characters of text, SHA-256 {sha256(b'a' * 5000)}]")
    assert value["answer"] == "a" * 5000


@pytest.mark.parametrize("filler", ["x", "é", "日", "😀", '"', "\x00", "\\", "\ud800"], ids=ascii)
@pytest.mark.parametrize("limit", [1024, 5000, 59_999])
def test_shortened_bodies_keep_to_the_limit(filler: str, limit: int) -> None:
    """Bytes are what counts, however many of them a character takes, and at least a third of them is used."""
    body, shortened = encode_within({"text": filler * 60_000}, limit)
    assert shortened
    assert limit / 3 < len(body) <= limit
    assert "… [cut: 60000 characters of text, SHA-256 " in json.loads(body)["text"]


def test_several_long_texts_are_shortened_together() -> None:
    """Where the longest text alone can't make room, all long ones give way."""
    value = {"texts": [letter * 10_000 for letter in "abcdef"], "short": "kept"}
    body, shortened = encode_within(value, 8000)
    kept = json.loads(body)
    assert shortened
    assert len(body) <= 8000
    assert kept["short"] == "kept"
    assert all("… [cut: 10000 characters of text, SHA-256 " in text for text in kept["texts"])


def test_a_text_cut_twice_tells_its_first_length() -> None:
    """A text that `max_text` has cut keeps telling how long it was at first."""
    value = frozen({"text": "x" * 50_000}, max_text=10_000)
    body, _ = encode_within(value, 2000)
    text = json.loads(body)["text"]
    assert text.endswith("… [cut: 50000 characters]")
    assert text.count("[cut") == 1


def test_a_text_that_resembles_a_cut_one_is_shortened_too() -> None:
    """A caller's text may hold the marker's words; it is shortened all the same."""
    _, shortened = encode_within({"text": "… [cut: " + "x" * 5000 + " characters]"}, 2000)
    assert shortened


def test_the_marker_names_the_length() -> None:
    """A cut text says how long it was."""
    assert cut_text("abcdef", 2) == "ab… [cut: 6 characters]"


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
