"""What is too much to freeze is cut, marked and counted."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import (
    MAX_VALUES,
    NUMBERS_PER_VALUE,
    cut_text,
    freeze,
)
from tests.support.arrays import Array


class Text(str):
    pass


def frozen(value: object, **options: Any) -> Any:
    return freeze(value, **options).value


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


def test_the_marker_names_the_length() -> None:
    """A cut text says how long it was."""
    assert cut_text("abcdef", 2) == "ab… [cut: 6 characters]"
