"""Whatever a caller logs becomes JSON, and stays what it was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banyan_hp.engine.records.encode import encode, encode_with_json
from banyan_hp.engine.records.freeze import MAX_DEPTH, freeze, freeze_any, freeze_plain
from banyan_hp.engine.records.shortening import fitted

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters())  # lone surrogates included
JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@dataclass
class Holder:
    first: Any
    second: Any = None


class Model:
    def __init__(self, dumped: Any) -> None:
        self.dumped = dumped

    def model_dump(self) -> Any:
        return self.dumped


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXT
)
JSON_VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(JSON_TEXT, inner, max_size=8)
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.complex_numbers()
    | st.builds(object)
    | st.integers(min_value=2**60, max_value=2**70)
)
LEAVES = (
    HASHABLE | st.builds(Hostile) | st.builds(bytearray, st.binary()) | st.sets(HASHABLE) | st.just(iter(()))
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(HASHABLE, inner, max_size=6)
        | st.tuples(inner, inner)
        | st.builds(Holder, inner, inner)
        | st.builds(Model, inner)
        | st.builds(Model, st.dictionaries(TEXT, inner, max_size=3))
    ),
    max_leaves=30,
)


@QUICK
@given(ANYTHING)
def test_anything_becomes_json(value: Any) -> None:
    """Freezing never raises, and what comes of it is encoded as valid JSON in valid UTF-8."""
    frozen = freeze(value)
    json.loads(encode(frozen.value).decode("utf-8"))
    assert frozen.size > 0
    assert frozen.cut >= 0


@QUICK
@given(ANYTHING)
def test_what_is_frozen_stays_as_it_is(value: Any) -> None:
    """Freezing a frozen value changes nothing."""
    once = freeze(value).value
    again = freeze(once)
    assert again.value == once
    assert again.cut == 0


@QUICK
@given(ANYTHING)
def test_both_encoders_agree(value: Any) -> None:
    """With and without orjson the JSON values are equal."""
    frozen = freeze(value).value
    assert json.loads(encode(frozen)) == json.loads(encode_with_json(frozen))


@QUICK
@given(JSON_VALUES)
def test_a_json_value_comes_back_equal(value: Any) -> None:
    """What is JSON already is kept to the last digit, and what was cut is nothing."""
    frozen = freeze(value)
    if frozen.cut == 0:
        assert json.loads(encode(frozen.value)) == json.loads(json.dumps(value)) == value
    else:
        assert depth(value) > MAX_DEPTH


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@QUICK
@given(JSON_VALUES)
def test_the_copy_shares_no_container(value: Any) -> None:
    """Emptying every container of the original changes nothing in the copy."""
    frozen = freeze(value).value
    before = json.dumps(frozen)
    empty(value)
    assert json.dumps(frozen) == before


def empty(value: Any) -> None:
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            empty(inner)
        value.clear()


@QUICK
@given(
    st.dictionaries(JSON_TEXT | HASHABLE, LEAVES | JSON_VALUES | st.sampled_from(["x" * 70]), max_size=6),
    st.sampled_from([64, 10_000]),
)
def test_the_fast_way_does_what_the_general_way_does(value: dict[Any, Any], longest: int) -> None:
    """In place it becomes what a general copy is, sharing no container; or it keeps its values."""
    own = value.copy()
    if freeze_plain(own, longest):
        assert own == freeze_any(value, longest).value
        assert not containers(own) & containers(value)
    else:
        assert list(own) == list(value)
        assert all(own[key] is item or own[key] == item for key, item in value.items())


@QUICK
@given(
    st.lists(
        st.dictionaries(JSON_TEXT, LEAVES | JSON_VALUES | st.sampled_from(["x" * 70]), max_size=3), max_size=4
    ),
    st.sampled_from([64, 10_000]),
)
def test_messages_become_what_the_general_way_makes_of_them(value: list[Any], longest: int) -> None:
    """The fast way of a list of dicts makes the same value, and shares no container with the original."""
    before = containers(value)
    frozen = freeze(value, max_text=longest)
    assert frozen.value == freeze_any(value, longest).value
    assert not containers(frozen.value) & before


def containers(value: Any) -> set[int]:
    if not isinstance(value, (dict, list)):
        return set()
    items = value.values() if isinstance(value, dict) else value
    return {id(value)}.union(*map(containers, items))


@QUICK
@given(ANYTHING, st.integers(1, 40))
def test_no_text_is_longer_than_allowed(value: Any, longest: int) -> None:
    """`max_text` holds for every value at every level, marker aside."""
    marker = len("… [cut: 1000000 characters]")
    for text in texts(freeze(value, max_text=longest).value):
        assert len(text) <= longest + marker


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else []


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from(["x", "é", "日", "😀", '"', "\x00", "\ud800"]), st.integers(0, 3000))),
    st.integers(300, 4000),
)
def test_shortening_keeps_to_the_limit_or_changes_nothing(parts: list[tuple[str, int]], limit: int) -> None:
    """The bytes are within the limit, or they are those of the whole value; and always JSON."""
    value = {"texts": [character * count for character, count in parts]}
    body, shortened = fitted(value, limit)[1:]
    assert list(json.loads(body)) == ["texts"]
    if shortened:
        assert len(body) <= limit < len(encode(value))
    else:
        assert body == encode(value)


@pytest.mark.parametrize(
    "number", [0.1, 1e-07, 1e16, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789]
)
def test_numbers_keep_their_last_digit(number: float) -> None:
    """A float comes back as the very same float from either encoder."""
    for encoder in (encode, encode_with_json):
        assert json.loads(encoder([number]))[0].hex() == number.hex()
