"""Levels are counted alike everywhere, however deep the value."""

from __future__ import annotations

import json

import pytest

from banyan_hp.engine.spool.lines import is_body, is_within


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    ("levels", "within"), [(0, True), (2, True), (3, True), (4, False), (100_000, False)]
)
def test_objects_and_arrays_count_one_level_each(levels: int, within: bool) -> None:
    """What stands beside them doesn't."""
    assert is_within(3, nested(levels)) == within
    assert is_within(3, [1, 2, 3])


def test_many_values_are_not_deep() -> None:
    """A long record of the on-disk queue is read, a deep one is not, on whatever Python."""
    assert is_body(json.dumps({"a": [[1]] * 2000, "b": "[" * 2000}).encode())
    assert is_body(b'{"a":' * 800 + b"1" + b"}" * 800)
    assert not is_body(b'{"a":' * 901 + b"1" + b"}" * 901)
