"""The bytes of a frozen value, as they go on the wire and into the spool; and a record's time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from ...foreign import type_name
from .conversions import bytes_text

JSONValue = Any
_NO_TIME = "1970-01-01T00:00:00.000Z"


class Frozen(NamedTuple):
    """A JSON value that nobody else can change, its size in memory, and how many values were cut from it."""

    value: JSONValue
    size: int
    cut: int


class AsText:
    """A frozen value whose field holds text: it becomes JSON text on a worker, not on the caller's thread."""

    __slots__ = ("cut", "size", "value")

    def __init__(self, frozen: Frozen) -> None:
        self.value, self.size, self.cut = frozen

    def __repr__(self) -> str:
        return f"<AsText, {self.size} bytes>"


def text_of(leaf: object) -> str:
    """The text of a frozen leaf that is not text yet. Encoders call this.

    Raises:
        TypeError: it is not such a leaf.
    """
    if type(leaf) is AsText:
        return encode(leaf.value).decode("utf-8")
    if type(leaf) is bytes:
        return bytes_text(leaf)
    raise TypeError(f"{type_name(leaf)} is not frozen")


_OPTIONS: dict[str, Any] = {
    "default": text_of,
    "check_circular": False,
    "allow_nan": False,
    "separators": (",", ":"),
}
_escaping = json.JSONEncoder(**_OPTIONS)
_as_it_is = json.JSONEncoder(ensure_ascii=False, **_OPTIONS)


def encode_with_json(value: JSONValue) -> bytes:
    """The bytes of a frozen value, by the standard library. Lone surrogates become U+FFFD.

    Escaping what is not ASCII is twice as fast as leaving it, but doubles the length of scripts other than
    Latin. Those, and texts that may have a lone surrogate, are not escaped.
    """
    text = _escape(value)
    if _SURROGATE.search(text) is None and not _mostly_escapes(text):
        return text.encode("ascii")
    text = _as_it_is.encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _without_lone_surrogates(text).encode("utf-8")


def _mostly_escapes(text: str) -> bool:
    """Whether escapes are more than a third of a text, judged by a sample from its middle."""
    middle = len(text) // 2
    sample = text[middle : middle + _SAMPLE]
    return sample.count("\\u") * 18 > len(sample)


def _made_once() -> Callable[[JSONValue], str]:
    """`JSONEncoder.encode` with the C encoder made once, not for each record."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return _escaping.encode
    no = False  # sort_keys, skipkeys, allow_nan
    encoder = make(None, text_of, encode_basestring_ascii, None, ":", ",", no, no, no)
    return lambda value: "".join(encoder(value, 0))


_SURROGATE = re.compile(r"\\ud")
_SAMPLE = 180
_escape = _made_once()


def _without_lone_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def usable_orjson() -> Any:
    """orjson, where it is installed and safe; or None.

    In subinterpreters it isn't asked for: from the second one on that imports it (version 3.13.0), the
    process ends in a segmentation fault at a collection.
    """
    if in_a_subinterpreter():
        return None
    try:
        return import_module("orjson")
    except ImportError:
        return None


def in_a_subinterpreter() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # from CPython 3.13 on, and before
        try:
            interpreters: Any = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


orjson = usable_orjson()
encode_together: Callable[[JSONValue], bytes] | None
"""Encodes a value that holds many records; None where that is no faster than one by one, as with `json`.

The bytes are those that `encode` makes. It raises TypeError for what only the standard library can encode.
"""
if orjson is None:
    encode = encode_with_json

    def encode_text(text: str) -> bytes:
        """The bytes of a text."""
        return encode_with_json(text)

    encode_together = None
else:

    def encode_text(text: str) -> bytes:
        """The same of a text that is soon joined with others, so that its buffer does not matter."""
        try:
            encoded: bytes = orjson.dumps(text)
        except TypeError:  # a lone surrogate
            return encode_with_json(text)
        return encoded

    def encode(value: JSONValue) -> bytes:
        """The bytes of a frozen value; the standard library encodes what orjson can't (large integers).

        A copy: orjson's own result keeps the whole buffer that it was written in, about 8 KB for 1.3 KB, and
        an encoded record may stay in memory for long.
        """
        try:
            return b"".join((orjson.dumps(value, text_of), b""))
        except TypeError:
            return encode_with_json(value)

    def encode_together(value: JSONValue) -> bytes:
        encoded: bytes = orjson.dumps(value, text_of)
        return encoded


def encode_somehow(value: JSONValue) -> bytes:
    """`encode` that never raises: a value that can't be encoded becomes its type's name."""
    try:
        return encode(value)
    except Exception:  # noqa: BLE001 - frozen values are encoded; this one was changed afterwards
        return encode(f"<{type_name(value)}>")


def event_time(seconds: float) -> str:
    """A UTC time as the wire carries it: ``2026-01-31T12:00:00.123Z``.

    Never raises: a number from disk that is no date of our calendar becomes the first of 1970.
    """
    try:
        return _at_millisecond(int(seconds * 1000))
    except (ValueError, OverflowError, OSError):
        return _NO_TIME


@lru_cache(maxsize=1024)
def _at_millisecond(milliseconds: int) -> str:
    return f"{_at_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=16)
def _at_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
