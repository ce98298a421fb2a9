"""Which version of a prompt a user gets: pure functions, no I/O, no randomness, no state.

An experiment says by its `allocation` which of two rules holds. Either is stated here to the byte, so that
anybody can compute the same in any language; the test vectors are in `tests/vectors/allocation.json`. Both
begin with a digest of the sticky value:

    digest = SHA-256( "banyan_hp/experiment/" + A + ":" + L + ":" + salt + value )

All texts are UTF-8. `A` is the allocation, "1" or "2". `salt` is the experiment's, by default its id; `L` is
the length of `salt` in bytes, in decimal digits, so that no two pairs of salt and value give the same input.
`value` is the text of the sticky value: the int 1 and the string "1" are the same user. Who gets no version
of the experiment gets the prompt's default version.

Allocation 2, of new experiments: a value has one of a million slots, for ever, and the experiment says which
version has which slots (`slots`: by version, a list of ranges `[start, end]`, the end not included):

    slot = the first 8 bytes of the digest, as an unsigned big-endian integer, * 1,000,000 // 2**64

A slot that no version has is not part of the experiment. Choosing is a look-up; who has which slots is for
the backend to decide, which takes slots only from versions that shrink, and gives them only to versions that
grow. So a version that grows gets new users only, and one that stays keeps its own.

Allocation 1, of experiments that began before there were slots (`allocation` is 1, or not there):

    enter  = the first 8 bytes of the digest, as an unsigned big-endian integer
    pick   = the next 8 bytes, likewise

Let T be the sum of the versions' percentages; within a hundredth of 100 it counts as 100.

    the value takes part if       enter / 2**64 < T / 100
    and then gets the first version, in their order, for which
                                  pick / 2**64 < (the percentages up to it, itself included) / T

Percentages are taken as the decimal numbers they are written as, with at most `MAX_DECIMALS` decimal places,
and compared without rounding. Because taking part and picking go by different bits of the digest, raising the
traffic while the versions keep their proportions moves nobody who is already in; any other change does.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any, ClassVar

__all__ = ["input_hash"]

Range = tuple[int, int]  # slots from the first number on, up to but not including the second

SLOTS = 1_000_000  # of an experiment with allocation 2
RUNNING = "running"
MAX_DECIMALS = 30  # of a percentage: more than any float between 1e-13 and 100 has
MAX_VERSIONS = 1000  # of an experiment
_MAX_NAME = 1000  # characters of an id, a salt, a version's name
_MAX_SHOWN = 60  # characters of a value in an error
_TWO_INTEGERS = struct.Struct(">QQ")
_SPAN = 2**64
_PERCENT: int = 10**MAX_DECIMALS  # shares are integers, in the smallest unit that a percentage may have
_ALL = 100 * _PERCENT
_TOLERANCE = _PERCENT // 100


@dataclass(frozen=True, slots=True)
class Split:
    """Traffic by allocation 1, made ready for choosing.

    Args:
        salt: a text; experiments of different salts split independently of each other.
        percentages: of each version, in order: numbers, or texts of decimal numbers.

    Raises:
        ValueError: one is not a number from 0 to 100, or they add up to more than 100.01.
    """

    allocation: ClassVar[int] = 1
    salt: str
    percentages: Sequence[float | str | Decimal]
    _salted: bytes = field(init=False, repr=False, compare=False)
    _entered_below: int = field(init=False, repr=False, compare=False)
    _picked_below: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shares = [_percentage(each) for each in self.percentages]
        total = sum(shares)
        if total > _ALL + _TOLERANCE:
            raise ValueError(f"the percentages must add up to at most 100, was {total / _PERCENT:g}")
        taking_part = _ALL if _ALL - total <= _TOLERANCE else total
        picked_below = tuple(_ceiling(each, total) for each in accumulate(shares)) if total else ()
        object.__setattr__(self, "_salted", _salted(self.salt, self.allocation))
        object.__setattr__(self, "_entered_below", _ceiling(taking_part, _ALL))
        object.__setattr__(self, "_picked_below", picked_below)

    def choose(self, value: str) -> int | None:
        """The index of the version that the value gets; None: it does not take part."""
        enter, pick = _position(self._salted, value)
        if enter >= self._entered_below:
            return None
        index = bisect_right(self._picked_below, pick)
        return index if index < len(self._picked_below) else None


@dataclass(frozen=True, slots=True)
class Slots:
    """Traffic by allocation 2, made ready for choosing.

    Args:
        salt: a text; experiments of different salts split independently of each other.
        ranges: of each version, in order: the slots that it has.

    Raises:
        ValueError: a range is none, or two versions have the same slot.
    """

    allocation: ClassVar[int] = 2
    salt: str
    ranges: Sequence[Sequence[Range]]
    _salted: bytes = field(init=False, repr=False, compare=False)
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _owners: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        owned = sorted((start, end, index) for index, each in enumerate(self.ranges) for start, end in each)
        last = 0
        for start, end, _ in owned:
            if not last <= start < end <= SLOTS:
                was = f"[{_shown(start)}, {_shown(end)}]"
                raise ValueError(f"slots must be ranges from 0 to {SLOTS} that don't overlap, was {was}")
            last = end
        object.__setattr__(self, "_salted", _salted(self.salt, self.allocation))
        for position, name in enumerate(("_starts", "_ends", "_owners")):
            object.__setattr__(self, name, tuple(each[position] for each in owned))

    def choose(self, value: str) -> int | None:
        """The index of the version that the value gets; None: it does not take part."""
        number = _slot(self._salted, value)
        found = bisect_right(self._starts, number) - 1
        return self._owners[found] if found >= 0 and number < self._ends[found] else None


def position(salt: str, value: str) -> tuple[int, int]:
    """Where a value stands by allocation 1, twice over 2**64: for taking part, and for picking a version."""
    return _position(_salted(salt, Split.allocation), value)


def slot(salt: str, value: str) -> int:
    """The slot that a value has by allocation 2."""
    return _slot(_salted(salt, Slots.allocation), value)


def _salted(salt: str, allocation: int) -> bytes:
    content = salt.encode("utf-8", "surrogatepass")
    return b"banyan_hp/experiment/%d:%d:%b" % (allocation, len(content), content)


def _slot(salted: bytes, value: str) -> int:
    return _position(salted, value)[0] * SLOTS // _SPAN


def _position(salted: bytes, value: str) -> tuple[int, int]:
    digest = hashlib.sha256(salted + value.encode("utf-8", "surrogatepass")).digest()
    enter, pick = _TWO_INTEGERS.unpack_from(digest)
    return enter, pick


def input_hash(text: str) -> str:
    """A sticky value for experiments by content, as the published client makes it.

    The first 16 hex digits of the MD5 of the text in UTF-8.
    """
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Version:
    """One version in an experiment (on the wire: an element of `versions`).

    `config` and `messages` are as the backend sent them; None where it sent none.
    """

    experiment_version_id: str
    version: str
    content: str
    config: Any = field(default=None, hash=False)
    messages: Any = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as the backend configured it."""

    experiment_id: str
    status: str
    sticky_type: str
    versions: tuple[Version, ...]
    split: Split | Slots

    @property
    def running(self) -> bool:
        """Whether it routes anybody: paused, finished or not yet started ones don't."""
        return self.status == RUNNING

    def version_for(self, value: str) -> Version | None:
        """What the sticky value gets, always the same; None: the prompt's default version."""
        index = self.split.choose(value)
        return None if index is None else self.versions[index]


def experiment_from_config(config: Mapping[str, Any]) -> Experiment:
    """An experiment from the backend's JSON.

    Raises:
        ValueError: it can't be used; the message names the experiment and what is wrong, in one short line.
    """
    experiment_id = config.get("experiment_id")
    try:
        versions = config.get("versions")
        if not isinstance(versions, list) or not all(isinstance(each, dict) for each in versions):
            raise ValueError("versions must be a list of objects")
        if len(versions) > MAX_VERSIONS:
            raise ValueError(f"it may have at most {MAX_VERSIONS} versions, was {len(versions)}")
        salt = _text(config, "salt" if config.get("salt") is not None else "experiment_id")
        return Experiment(
            experiment_id=_text(config, "experiment_id"),
            status=_text(config, "status"),
            sticky_type=_text(config, "sticky_type"),
            versions=tuple(_version(each) for each in versions),
            split=_split(config, salt, versions),
        )
    except ValueError as error:
        raise ValueError(f"experiment {_shown(experiment_id)} is ignored: {error}") from error


def _split(config: Mapping[str, Any], salt: str, versions: list[dict[str, Any]]) -> Split | Slots:
    allocation = config.get("allocation")
    if allocation is None or (allocation == Split.allocation and allocation is not True):
        percentages: list[Any] = [each.get("traffic_percentage") for each in versions]
        return Split(salt, percentages)
    if allocation != Slots.allocation:
        raise ValueError(f"allocation must be 1 or 2, was {_shown(allocation)}")
    ids = [_text(each, "experiment_version_id") for each in versions]
    return Slots(salt, _ranges(config.get("slots"), ids))


def _ranges(slots: object, ids: Sequence[str]) -> list[list[Range]]:
    """The slots of each version, in their order."""
    if not isinstance(slots, dict) or not set(slots) <= set(ids) or len(set(ids)) < len(ids):
        raise ValueError("slots must be an object of ranges by the ids of different versions")
    if not all(isinstance(each, list) and all(map(_is_range, each)) for each in slots.values()):
        raise ValueError("slots must be lists of ranges [start, end] of integers")
    return [[(start, end) for start, end in slots.get(each, ())] for each in ids]


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)


def _version(config: Mapping[str, Any]) -> Version:
    return Version(
        _text(config, "experiment_version_id"),
        _text(config, "version"),
        _text(config, "content", empty=True),
        config.get("config"),
        config.get("messages"),
    )


def _text(config: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    """A text; a number, as ids may be, as its text."""
    value = config.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{name} must be a text, was {_shown(value)}")
    if len(value) > _MAX_NAME and name != "content":
        raise ValueError(f"{name} must be a text of at most {_MAX_NAME} characters, was one of {len(value)}")
    return value


def _shown(value: object) -> str:
    """A value in an error: short, whatever a backend sends."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__}"
    text = repr(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _percentage(value: object) -> int:
    if isinstance(value, (int, float, str, Decimal)) and not isinstance(value, bool):
        number = _decimal(str(value))
        if number.is_finite() and 0 <= number <= 100 and number.as_tuple().exponent >= -MAX_DECIMALS:  # type: ignore[operator]
            numerator, denominator = number.as_integer_ratio()
            return numerator * (_PERCENT // denominator)
    raise ValueError(f"traffic_percentage must be a number from 0 to 100, was {_shown(value)}")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text) if len(text) <= _MAX_NAME else Decimal("NaN")
    except InvalidOperation:
        return Decimal("NaN")


def _ceiling(share: int, whole: int) -> int:
    """The least integer n for which k / 2**64 < share / whole is the same as k < n."""
    return -(-share * _SPAN // whole)
