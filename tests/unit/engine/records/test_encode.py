"""The bytes of a frozen value, and times as the wire carries them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from banyan_hp.engine.records.encode import encode, encode_with_json, event_time
from banyan_hp.engine.records.freeze import (
    freeze,
)

NOW = 1_767_225_600.0
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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (NOW, "2026-01-01T00:00:00.000Z"),
        (NOW + 0.123, "2026-01-01T00:00:00.123Z"),
        (NOW + 59.9996, "2026-01-01T00:00:59.999Z"),
    ],
)
def test_event_time_is_utc_with_milliseconds(seconds: float, text: str) -> None:
    """Times travel as RFC 3339 in UTC, to the millisecond."""
    assert event_time(seconds) == text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
