"""Pictures and sound in a record: left out as a whole, with type, size and SHA-256 in their place.

What is found is base64 of some length in the forms that models take it in: data URLs, wherever they stand in
a text; OpenAI's `input_audio`, `audio` and `b64_json`; Anthropic's sources of the type "base64"; Google's
`inline_data`. Data URLs and sources whose type is a text stay, and so does all other base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from .encode import AsText, Frozen, JSONValue
from .freeze import FLAT_LIST, all_numbers

LEAST = 4096  # characters of base64, which is 3 KB of data; what is shorter stays
_MARK = ";base64,"
_BEFORE_MARK = 200  # characters, at most, from `data:` on
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,\s]*$")
_ENCODED = re.compile(f"[A-Za-z0-9+/_-]{{{LEAST},}}+={{0,2}}")
_SOLID = re.compile("[A-Za-z0-9+/_-]{256}")
_WORDS = ('"base64"', '"input_audio"', '"audio"', '"b64_json"', '"inline_data"', '"inlineData"')
_INLINE = ("inline_data", "inlineData")
_AUDIO = ("input_audio", "audio")
_TEXTS = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)$")


def may_hold_media(value: JSONValue) -> bool:
    """Whether `without_media` would find something in a dict or list; seldom true where it does not.

    Each record of some size comes through here before it is sent.
    """
    items: Iterable[Any] = value.values() if type(value) is dict else value
    for item in items:
        kind = type(item)
        if kind is str:
            if len(item) >= LEAST and _may_be_media(item):
                return True
        elif kind is dict:
            if may_hold_media(item):
                return True
        elif kind is list:
            if not _is_flat(item) and may_hold_media(item):
                return True
        elif kind is AsText:
            if may_hold_media(item.value):
                return True
        elif kind is bytes:
            return True
    return False


def _may_be_media(text: str) -> bool:
    return (
        _MARK in text
        or _SOLID.match(text) is not None
        or (text.startswith(("[", "{")) and any(word in text for word in _WORDS))
    )


def _is_flat(value: list[JSONValue]) -> bool:
    return len(value) >= FLAT_LIST and all_numbers(value)


def without_media(value: JSONValue) -> tuple[JSONValue, int]:
    """A frozen value without its media, and how many they were; the value itself if there are none."""
    search = _Search()
    without = search.value(value)
    return (without, search.found) if search.found else (value, 0)


def described(encoded: str | bytes, kind: str) -> str:
    """What stands for data that is left out: its type, its size, and the SHA-256 of its bytes."""
    raw = encoded if isinstance(encoded, bytes) else _decoded(encoded)
    return f"… [cut: {kind}, {len(raw)} bytes, SHA-256 {hashlib.sha256(raw).hexdigest()}]"


def _decoded(encoded: str) -> bytes:
    url_safe = "-" in encoded or "_" in encoded
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        return base64.b64decode(padded, altchars=b"-_" if url_safe else None)
    except (binascii.Error, ValueError):
        return encoded.encode("utf-8", "replace")


class _Search:
    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found = 0

    def value(self, value: JSONValue, name: str = "") -> JSONValue:
        """A copy without media; `name`: of the field that holds it."""
        kind = type(value)
        if kind is str:
            return self.text(value) if len(value) >= LEAST else value
        if kind is dict:
            return self.part(value, name)
        if kind is list:
            return value if _is_flat(value) else [self.value(item, name) for item in value]
        if kind is AsText:
            return AsText(Frozen(self.value(value.value), value.size, value.cut))
        return value

    def part(self, value: dict[str, JSONValue], name: str) -> dict[str, JSONValue]:
        """A dict, which may be a part of a message that holds data."""
        key, media_type = _data_of(value, name)
        return {
            each: self.data(item, media_type) if each == key else self.value(item, each)
            for each, item in value.items()
        }

    def data(self, encoded: JSONValue, media_type: str) -> JSONValue:
        is_data = (
            _ENCODED.fullmatch(encoded) is not None
            if type(encoded) is str
            else type(encoded) is bytes and len(encoded) >= LEAST
        )
        if not is_data or _TEXTS.match(media_type):
            return encoded
        self.found += 1
        return described(encoded, media_type)

    def text(self, text: str) -> str:
        if text.startswith(("[", "{")) and any(word in text for word in _WORDS):
            before = self.found
            try:
                inside = self.value(json.loads(text))
            except (ValueError, RecursionError):  # it only begins like JSON
                self.found = before
            else:
                if self.found == before:
                    return text
                return json.dumps(inside, ensure_ascii=False, separators=(",", ":"))
        return self.data_urls(text)

    def data_urls(self, text: str) -> str:
        """A text whose data URLs keep their beginning."""
        pieces: list[str] = []
        done, at = 0, text.find(_MARK)
        while at >= 0:
            start = at + len(_MARK)
            encoded = _ENCODED.match(text, start)
            if encoded is not None:
                began = _DATA.search(text[max(done, at - _BEFORE_MARK) : at])
                if began is not None and not _TEXTS.match(began[1] or ""):
                    self.found += 1
                    pieces += (text[done:start], described(encoded[0], began[1] or "data"))
                    done = start = encoded.end()
            at = text.find(_MARK, start)
        return "".join((*pieces, text[done:])) if pieces else text


def _data_of(part: dict[str, Any], name: str) -> tuple[str | None, str]:
    """The field of a part that holds data, and the data's type; None if it is no such part."""
    if part.get("type") == "base64":
        return "data", _word(part.get("media_type"))
    if name in _AUDIO:
        return "data", f"audio/{part['format']}" if type(part.get("format")) is str else "audio"
    if name in _INLINE:
        return "data", _word(part.get("mime_type", part.get("mimeType")))
    return ("b64_json", "image") if "b64_json" in part else (None, "")


def _word(media_type: object) -> str:
    return media_type if type(media_type) is str and len(media_type) < 100 else "data"
