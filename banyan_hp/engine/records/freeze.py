"""How a caller's value becomes a value that nobody else can change: freeze at the call, encode later.

`freeze` copies containers and shares strings, so that it costs by the number of values and not by their
length, and so that what the caller changes afterwards changes nothing here. It is total: whatever it is
given, it returns a frozen value: a JSON value with two more kinds of leaves, long `bytes` and `AsText`, whose
text takes time in proportion to their length and is made by `encode`. `shortening` handles what does not fit
into a record.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...foreign import MOST_PAIRS, is_deliberate, type_name
from .conversions import CONTAINERS, is_array, is_finite, plain, rule_for
from .encode import AsText, Frozen, JSONValue, encode

MAX_VALUES = MOST_PAIRS
MAX_DEPTH = 60
NUMBERS_PER_VALUE = 64
MAX_REPR = 200
FLAT_LIST = 16  # from this length on, looking for a list of plain numbers pays
LONGEST_TEXT = 1024 * 1024  # what is cut at the call is cut to this many characters,
ROOM = 16 * LONGEST_TEXT  # and only in a value of more bytes than these
_INT64 = 2**63
_PLAIN_BITS = 63
_PLAIN_VALUES = 1000
_PLAIN_DEPTH = 8
_SHORT_TEXT = 64  # counts as `_VALUE_SIZE`, like a number
_VALUE_SIZE = 128  # bytes: a key without its text, its slot, and a small value
_ONLY_TEXT = frozenset({str})
_PLAIN_SIZE = MAX_VALUES * _VALUE_SIZE  # up to here nested dicts hold no more values than are kept
_EMPTY_SIZE = 64  # about what an empty object takes
_DIGITS_LIMIT_BITS = 2048  # 617 digits: the least that Python can be told to print at most is 640


def as_text(value: object) -> str | bytes | AsText:
    """Any value frozen for a field of text: the text, or a leaf that becomes text when it is encoded.

    Texts as they are; lists, dicts and the like as JSON text; None as the empty text. Never raises.
    """
    kind = type(value)
    if kind is str or kind is AsText:
        return value  # type: ignore[return-value]
    if value is None:
        return ""
    frozen = freeze(value, max_text=LONGEST_TEXT, room=ROOM)
    if isinstance(frozen.value, (str, bytes)):
        return frozen.value
    return AsText(frozen) if isinstance(frozen.value, (dict, list)) else encode(frozen.value).decode("utf-8")


def freeze(value: object, *, max_text: int | None = None, room: int = 0) -> Frozen:
    """The JSON value of anything. Never raises.

    Args:
        value: what the caller passed in. Strings are shared, containers copied. What `conversions` knows
            becomes its JSON form; NaN and infinities become null; anything else its type's name and a
            bounded `repr`.
        max_text: longer texts are cut to this many characters, with a marker that names their length,
        room: unless the value is within this many bytes so far: it is shortened when it is encoded.

    Beyond `MAX_VALUES` values (a flat list of numbers counts as one for each 64) and `MAX_DEPTH` levels
    the rest is cut, with a marker, and counted in `Frozen.cut`.
    """
    longest = sys.maxsize if max_text is None else max_text
    if type(value) is dict and longest >= _SHORT_TEXT:
        own = value.copy()  # one step under the GIL: another thread may be changing the original
        size = freeze_plain(own, longest)
        if size:
            return Frozen(own, size, 0)
    elif type(value) is list and longest >= _SHORT_TEXT:
        items = value.copy()
        size = _freeze_plain_items(items, longest)
        if size:
            return Frozen(items, size, 0)
    return freeze_any(value, longest, room)


def freeze_any(value: object, max_text: int, room: int = 0) -> Frozen:
    """`freeze` without trying `freeze_plain` first."""
    freezer = _Freezer(max_text, room)
    try:
        frozen = freezer.freeze(value)
    except RecursionError:  # the caller is near Python's own limit already
        return Frozen(f"<{type_name(value)}>", _VALUE_SIZE, 1)
    return Frozen(frozen, freezer.size, freezer.cut)


def freeze_plain(own: dict[Any, Any], max_text: int, depth: int = _PLAIN_DEPTH) -> int:
    """Freeze a dict of texts, numbers and such dicts in place; 0 if it holds anything else.

    Most records are like that, and this costs a fifth of `freeze_any`.

    Args:
        own: a dict that nobody else holds. The dicts in it, which others may hold, are replaced by copies.
        max_text: a longer text is something else; 64 or more.
        depth: so is a dict below so many others.

    Returns:
        The size in memory, in bytes. With 0, `own` has the same values as before.
    """
    if len(own) > _PLAIN_VALUES:
        return 0
    size = _VALUE_SIZE * len(own) + _VALUE_SIZE
    for key, item in own.items():
        if type(key) is not str or len(key) > _SHORT_TEXT:
            return 0
        kind = type(item)
        if kind is str:
            if len(item) > _SHORT_TEXT:
                if len(item) > max_text:
                    return 0
                size += item.__sizeof__()
        elif kind is int:
            if item.bit_length() > _PLAIN_BITS:
                return 0
        elif kind is float:
            if item - item != 0.0:  # NaN, or an infinity
                return 0
        elif kind is dict:
            copied = item.copy()  # one step under the GIL: another thread may be changing it
            within = freeze_plain(copied, max_text, depth - 1) if depth else 0
            if not within:
                return 0
            own[key] = copied  # replaces a value: no key is added, the iteration holds
            size += within
            if size > _PLAIN_SIZE:
                return 0
        elif item is not None and kind is not bool:
            return 0
    return size


def _freeze_plain_items(own: list[Any], max_text: int) -> int:
    """`freeze_plain` for a list of such dicts: messages."""
    if len(own) > _PLAIN_VALUES:
        return 0
    size = _VALUE_SIZE + 8 * len(own)
    for position, item in enumerate(own):
        if type(item) is not dict:
            return 0
        copied = item.copy()  # one step under the GIL: another thread may be changing it
        within = freeze_plain(copied, max_text)
        size += within
        if not within or size > _PLAIN_SIZE:
            return 0
        own[position] = copied
    return size


def cut_text(text: str, keep: int) -> str:
    """The first `keep` characters, and a marker with the length of the whole text."""
    return f"{text[:keep]}… [cut: {len(text)} characters]"


def _estimated_size(value: str | bytes | Sequence[Any] | Mapping[Any, Any]) -> int:
    return _EMPTY_SIZE + len(value) * (1 if isinstance(value, (str, bytes)) else _EMPTY_SIZE)


def _measure() -> Callable[[Any], int]:
    """What measures sizes: `sys.getsizeof`, or an estimate where it refuses (PyPy)."""
    try:
        sys.getsizeof("")
    except TypeError:
        return _estimated_size
    return sys.getsizeof


_size_of = _measure()


class _Freezer:
    __slots__ = ("cut", "depth", "left", "max_text", "path", "room", "size")

    def __init__(self, max_text: int, room: int) -> None:
        self.max_text = max_text
        self.room = room
        self.left = MAX_VALUES
        self.size = _VALUE_SIZE
        self.cut = 0
        self.depth = 0
        self.path: set[int] = set()

    def freeze(self, value: Any) -> JSONValue:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or value is True or value is False:
            return value
        if kind is int:
            return self.integer(value)
        if kind is float:
            self.size += 24
            return value if math.isfinite(value) else None
        if kind is dict:
            return self.within(value, self.mapping)
        if kind is list or kind is tuple:
            return self.within(value, self.sequence)
        return self.foreign(value)

    def text(self, value: str) -> str:
        if len(value) > self.max_text and self.size + len(value) > self.room:
            value = cut_text(value, self.max_text)
            self.cut += 1
        self.size += _size_of(value)
        return value

    def raw(self, value: bytes) -> str | bytes:
        """Freeze long bytes, which become text when they are encoded."""
        if len(value) > self.max_text and self.size + len(value) > self.room:
            self.cut += 1
            return f"<{len(value)} bytes>"
        self.size += _size_of(value)
        return value

    def as_text(self, value: AsText) -> JSONValue:
        """Share what is frozen already."""
        if self.size + value.size > max(self.room, self.max_text):
            return AsText(Frozen(self.freeze(value.value), value.size, value.cut))
        self.size += value.size
        self.cut += value.cut
        return value

    def integer(self, value: int) -> JSONValue:
        self.size += 32
        if -_INT64 <= value < _INT64 or value.bit_length() <= _DIGITS_LIMIT_BITS:
            return value
        self.cut += 1
        return f"<integer of {value.bit_length()} bits>"

    def within(self, value: Any, copy: Callable[[Any], JSONValue]) -> JSONValue:
        """Copy a container, unless it contains itself or is nested too deep."""
        if id(value) in self.path:
            self.cut += 1
            return "<cycle>"
        if self.depth >= MAX_DEPTH:
            self.cut += 1
            return "<too deep>"
        self.path.add(id(value))
        self.depth += 1
        try:
            return copy(value)
        finally:
            self.depth -= 1
            self.path.discard(id(value))

    def mapping(self, value: dict[Any, Any]) -> dict[str, JSONValue]:
        copied = value.copy()  # one step under the GIL: another thread may be changing the original
        self.size += _size_of(copied)
        if len(copied) > self.left or not _ONLY_TEXT.issuperset(map(type, copied)):
            return self.uneven_mapping(copied.items(), len(copied))
        self.left -= len(copied)
        self.size += sum(map(len, copied))
        for key, item in copied.items():
            if type(item) is str and len(item) <= self.max_text:
                self.size += _size_of(item)
            else:
                copied[key] = self.freeze(item)  # replaces a value: no key is added, the iteration holds
        return copied

    def uneven_mapping(self, pairs: Iterable[tuple[Any, Any]], total: int | None) -> dict[str, JSONValue]:
        """Copy as many pairs as are kept; `total` is None if it is not known: there may be no end."""
        frozen: dict[str, JSONValue] = {}
        for position, (key, item) in enumerate(pairs):
            if self.left <= 0:
                frozen["…"] = self.cut_marker(total, position)
                break
            self.left -= 1
            frozen[self.key(key)] = self.freeze(item)  # the key's size is counted by freezing it
        return frozen

    def key(self, key: Any) -> str:
        """A key as JSON has it: 1 and "1" are one key, and the later value stays."""
        frozen = self.freeze(key)
        if isinstance(frozen, str):
            return frozen
        return json.dumps(frozen)

    def sequence(self, value: Sequence[Any]) -> list[JSONValue]:
        items = list(value)
        self.size += _size_of(items)
        if len(items) >= FLAT_LIST and all_numbers(items):
            return self.numbers(items)
        return self.one_by_one(items, len(items))

    def one_by_one(self, items: Iterable[Any], total: int | None) -> list[JSONValue]:
        """`uneven_mapping` for items."""
        frozen: list[JSONValue] = []
        for position, item in enumerate(items):
            if self.left <= 0:
                frozen.append(self.cut_marker(total, position))
                break
            self.left -= 1
            frozen.append(self.freeze(item))
        return frozen

    def numbers(self, items: list[JSONValue]) -> list[JSONValue]:
        fitting = self.left * NUMBERS_PER_VALUE
        if len(items) > fitting:
            items = [*items[:fitting], self.cut_marker(len(items), fitting)]
        self.left -= len(items) // NUMBERS_PER_VALUE
        self.size += 24 * len(items)
        return items

    def cut_marker(self, total: int | None, kept: int) -> str:
        self.cut += 1 if total is None else total - kept
        return "… [cut: more values]" if total is None else f"… [cut: {total - kept} more values]"

    def foreign(self, value: Any) -> JSONValue:
        """Convert a value of no JSON type by the first rule that fits, and freeze the result."""
        if type(value) is AsText:
            return self.as_text(value)
        if self.depth >= MAX_DEPTH:
            self.cut += 1
            return "<too deep>"
        self.depth += 1
        try:
            return self.converted(value)
        except Exception as error:
            if is_deliberate(error):
                raise
            return self.text(describe(value))
        finally:
            self.depth -= 1

    def converted(self, value: Any) -> JSONValue:
        rule = rule_for(value)
        if rule is not None:
            simpler = rule(value)
            return self.raw(simpler) if type(simpler) is bytes else self.freeze(simpler)
        if is_array(value):
            return self.array(value)
        if isinstance(value, Mapping):
            if is_finite(value):
                return self.freeze(dict(value.items()))
            return self.within(value, lambda mapping: self.uneven_mapping(mapping.items(), None))
        if isinstance(value, CONTAINERS):
            if is_finite(value):
                return self.freeze(list(value))  # type: ignore[call-overload]
            return self.within(value, lambda items: self.one_by_one(items, None))
        return self.text(describe(value))

    def array(self, value: Any) -> JSONValue:
        """Freeze a numpy scalar or array, by its interface; an array that is too large is cut first."""
        most = MAX_VALUES * NUMBERS_PER_VALUE
        kind = getattr(value.dtype, "kind", "")
        if not getattr(value, "ndim", 0):
            simpler = float(value) if kind == "f" else value.tolist()
            return self.freeze(plain(simpler, list, int, float, str, bytes, tuple))
        if kind in ("m", "M"):
            return self.freeze(list(value[:MAX_VALUES]))  # numpy itself makes integers of nanoseconds
        excess = value.size - most
        if excess <= 0:
            return self.freeze(plain(value.tolist(), list))
        frozen = self.freeze(plain(value.reshape(-1)[:most].tolist(), list))
        return [*frozen, self.cut_marker(value.size, most)]


def all_numbers(items: list[Any]) -> bool:
    """Whether all are numbers that JSON has, and of one type."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return math.isfinite(sum(items))
    return kinds == {int} and min(items) >= -_INT64 and max(items) < _INT64


def describe(value: object) -> str:
    """The type's name and a bounded `repr`, for a value that has no JSON form."""
    name = type_name(value)
    try:
        shown = str.__str__(repr(value))
    except Exception as error:
        if is_deliberate(error):
            raise
        return f"<{name}>"
    if len(shown) > MAX_REPR:
        shown = shown[:MAX_REPR] + "…"
    return f"<{name}: {shown}>"
