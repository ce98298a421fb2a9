"""Shortening a record that is too large, so that as little as possible is lost.

The longest leaves are cut first: texts and arrays keep their beginning; pictures and other data, of which a
part is of no use, are left out as a whole. All are cut inside the structure, before messages become text, so
that what follows a picture stays. If that is not enough, values are left out of the middle of the heaviest
list. Each leaves a marker with its type, its size and the SHA-256 of the whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from .conversions import BASE64
from .encode import AsText, Frozen, JSONValue, encode, text_of
from .freeze import FLAT_LIST, all_numbers
from .media import described

MARKER = 128  # bytes that a marker takes, at most about
SHORTEST = 2 * MARKER  # nothing is gained by shortening less
ROUNDS = 12
MOST_DATA = 100  # pieces of data that are left out one by one

_CUT = re.compile(r"… \[cut: \d+ characters(?: of text, SHA-256 [0-9a-f]{64})?\]$")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,100};base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]+")
_SAMPLE = 4096
_VARIETY = 30  # characters in a sample of base64; of other long words, hexadecimal digits among them, fewer


class Fitted(NamedTuple):
    """A frozen value, its bytes, and whether it had to be shortened to fit."""

    value: JSONValue
    body: bytes
    shortened: bool


def fitted(value: JSONValue, limit: int) -> Fitted:
    """`value` with at most `limit` bytes; unchanged, and too large, if shortening can't achieve that."""
    body = encode(value)
    if len(body) <= limit:
        return Fitted(value, body, shortened=False)
    leaves = sorted(_leaves(value), key=lambda leaf: leaf.weight, reverse=True)
    excess = len(body) - limit
    shorter, size = value, len(body)
    for _ in range(ROUNDS if leaves else 0):
        shorter = _rebuilt(value, _shortened(leaves, excess))
        shorter_body = encode(shorter)
        size = len(shorter_body)
        if size <= limit:
            return Fitted(shorter, shorter_body, shortened=True)
        excess += max(size - limit, MARKER)
    fewer = _fewer_values(shorter, size - limit, plain=True)
    fewer_body = encode(fewer)
    fits = len(fewer_body) <= limit
    return Fitted(fewer, fewer_body, shortened=True) if fits else Fitted(value, body, shortened=False)


def with_texts(value: JSONValue) -> JSONValue:
    """A copy of a frozen value in which every leaf is a JSON value: for people and callbacks."""
    if isinstance(value, dict):
        return {key: with_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_texts(item) for item in value]
    return text_of(value) if isinstance(value, (AsText, bytes)) else value


# -- leaves --------------------------------------------------------------------------------------------------


class _Leaf:
    """A long text or array, and how many bytes it takes in the record."""

    def __init__(self, held: str | bytes | list[JSONValue], *, plain: bool) -> None:
        self.held = held  # the object in the structure, found again by its identity
        self.value = text_of(held) if isinstance(held, bytes) else held
        self.weight = _weight(self.value, plain=plain)

    @cached_property
    def data(self) -> tuple[str, str] | None:
        """For data its prefix and its type; None for a value whose beginning is of use by itself."""
        if isinstance(self.value, list):
            return None
        found = _DATA_URL.match(self.value)
        if found is not None:
            return found[0], found[1] or "data"
        if self.value.startswith(BASE64):
            return BASE64, "bytes"
        varied = len(set(self.value[:_SAMPLE])) > _VARIETY
        return ("", "base64") if varied and _BASE64.fullmatch(self.value) else None

    def without_data(self, beginning: str, kind: str) -> str:
        return beginning + described(str(self.value)[len(beginning) :], kind)

    def shortened(self, weight: float) -> JSONValue:
        """The value cut to about this weight, its marker included."""
        keep = max(0, int((weight - MARKER) * len(self.value) / self.weight))
        if isinstance(self.value, list):
            total = len(self.value)
            return [*self.value[:keep], f"… [cut: {total - keep} of {total} numbers, SHA-256 {self.digest}]"]
        marked = _CUT.search(self.value)
        if marked is not None:  # shortened before: the marker keeps the original length
            return self.value[: min(keep, marked.start())] + marked[0]
        return f"{self.value[:keep]}… [cut: {len(self.value)} characters of text, SHA-256 {self.digest}]"

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of a text in UTF-8, of an array as JSON."""
        value = self.value
        raw = encode(value) if isinstance(value, list) else value.encode("utf-8", "replace")
        return hashlib.sha256(raw).hexdigest()


def _weight(value: JSONValue, *, plain: bool) -> int:
    """Its bytes in the record; within JSON text everything is escaped once more."""
    body = encode(value)
    return len(body) if plain else len(encode(body.decode("utf-8"))) - len('""')


def _leaves(value: JSONValue, *, plain: bool = True) -> Iterator[_Leaf]:
    if isinstance(value, AsText):
        yield from _leaves(value.value, plain=False)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item, plain=plain)
    elif isinstance(value, list) and not (len(value) >= FLAT_LIST and all_numbers(value)):
        for item in value:
            yield from _leaves(item, plain=plain)
    elif isinstance(value, (str, bytes, list)):
        leaf = _Leaf(value, plain=plain) if isinstance(value, list) or len(value) > SHORTEST // 6 else None
        if leaf is not None and leaf.weight > SHORTEST:
            yield leaf


def _shortened(leaves: list[_Leaf], excess: int) -> dict[int, JSONValue]:
    """Replacements for leaves, by identity, that free this many bytes."""
    replaced: dict[int, JSONValue] = {}
    rest = list(leaves)
    for _ in range(MOST_DATA):
        level = _level(rest, excess)
        data = next((leaf for leaf in rest if leaf.weight > level and leaf.data is not None), None)
        if data is None or data.data is None:
            break
        rest.remove(data)
        replaced[id(data.held)] = data.without_data(*data.data)
        excess -= data.weight - MARKER
    if excess > 0:
        level = _level(rest, excess)
        replaced.update((id(leaf.held), leaf.shortened(level)) for leaf in rest if leaf.weight > level)
    return replaced


def _level(leaves: list[_Leaf], excess: int) -> float:
    """The weight to cut the longest leaves to, so that this many bytes are free."""
    if excess <= 0:
        return float("inf")
    total = 0
    for count, leaf in enumerate(leaves, start=1):
        total += leaf.weight
        level = (total - excess) / count
        if count == len(leaves) or level >= leaves[count].weight:
            return max(level, SHORTEST / 2)
    return float("inf")


def _rebuilt(value: JSONValue, replaced: dict[int, JSONValue]) -> JSONValue:
    if id(value) in replaced:
        return replaced[id(value)]
    if isinstance(value, dict):
        return {key: _rebuilt(item, replaced) for key, item in value.items()}
    if isinstance(value, list):
        return [_rebuilt(item, replaced) for item in value]
    if isinstance(value, AsText):
        return AsText(Frozen(_rebuilt(value.value, replaced), value.size, value.cut))
    return value


# -- whole values --------------------------------------------------------------------------------------------


def _fewer_values(value: JSONValue, excess: int, *, plain: bool) -> JSONValue:
    """Leave out values of about this many bytes, from the innermost container that has as many."""
    if isinstance(value, AsText):
        return AsText(Frozen(_fewer_values(value.value, excess, plain=False), value.size, value.cut))
    if not isinstance(value, (dict, list)) or not value:
        return value
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    weights: dict[Any, int] = {key: _weight(item, plain=plain) for key, item in pairs}
    heaviest = max(weights, key=weights.__getitem__)
    if isinstance(value[heaviest], (dict, list, AsText)) and weights[heaviest] > excess + MARKER:
        changed = value.copy()
        changed[heaviest] = _fewer_values(value[heaviest], excess, plain=plain)
        return changed
    if isinstance(value, dict):
        return _without_heaviest(value, weights, excess)
    return _without_middle(value, list(weights.values()), excess)


def _without_heaviest(value: dict[str, JSONValue], weights: dict[str, int], excess: int) -> JSONValue:
    """Leave out the heaviest fields: large ones leave a marker each, small ones share one."""
    changed, gone = value.copy(), {}
    excess += MARKER
    for key in sorted(value, key=weights.__getitem__, reverse=True):
        if excess <= 0:
            break
        if weights[key] > SHORTEST:
            changed[key] = _marker("", value[key])
            excess -= weights[key] - MARKER
        else:
            gone[key] = changed.pop(key)
            excess -= weights[key] + len(key) + len('"":,')
    if gone:
        changed["…"] = _marker(f"{len(gone)} of {len(value)} values, ", gone)
    return changed


def _without_middle(items: list[JSONValue], weights: list[int], excess: int) -> JSONValue:
    """Keep the first and the last items: of messages those are the instructions and the question."""
    first = last = len(items) // 2
    freed = 0
    while freed < excess + MARKER and (first > 0 or last < len(items)):
        if last < len(items) and (first == 0 or last - len(items) // 2 <= len(items) // 2 - first):
            freed += weights[last] + 1
            last += 1
        else:
            first -= 1
            freed += weights[first] + 1
    gone = items[first:last]
    return [*items[:first], _marker(f"{len(gone)} of {len(items)} values, ", gone), *items[last:]]


def _marker(what: str, value: JSONValue) -> str:
    body = encode(value)
    return f"… [cut: {what}{len(body)} bytes of JSON, SHA-256 {hashlib.sha256(body).hexdigest()}]"
