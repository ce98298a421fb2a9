"""Which version of a prompt a user gets: pure functions, no I/O, no randomness, no state.

The formula, version "1" of it, so that anybody can compute the same in any language:

    digest = SHA-256( "banyan_hp/experiment/1:" + L + ":" + salt + value )
    enter  = the first 8 bytes of the digest, as an unsigned big-endian integer
    pick   = the next 8 bytes, likewise

All texts are UTF-8. `salt` is the experiment's, by default its id; `L` is the length of `salt` in bytes, in
decimal digits, so that no two pairs of salt and value give the same input. `value` is the text of the sticky
value: the int 1 and the string "1" are the same user.

Let T be the sum of the versions' percentages; within a hundredth of 100 it counts as 100.

    the value takes part if       enter / 2**64 < T / 100
    and then gets the first version, in their order, for which
                                  pick / 2**64 < (the percentages up to it, itself included) / T

Who does not take part gets the prompt's default version. Percentages are taken as the decimal numbers they
are written as, with at most `MAX_DECIMALS` decimal places, and compared without rounding. Because taking part
and picking go by different bits of the digest, raising the traffic while the versions keep their proportions
moves nobody who is already in.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any

ALGORITHM = "1"
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
    """An experiment's traffic, made ready for choosing.

    Args:
        salt: a text; experiments of different salts split independently of each other.
        percentages: of each version, in order: numbers, or texts of decimal numbers.

    Raises:
        ValueError: one is not a number from 0 to 100, or they add up to more than 100.01.
    """

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
        object.__setattr__(self, "_salted", _salted(self.salt))
        object.__setattr__(self, "_entered_below", _ceiling(taking_part, _ALL))
        object.__setattr__(self, "_picked_below", picked_below)

    def choose(self, value: str) -> int | None:
        """The index of the version that the value gets; None: it does not take part."""
        enter, pick = _position(self._salted, value)
        if enter >= self._entered_below:
            return None
        index = bisect_right(self._picked_below, pick)
        return index if index < len(self._picked_below) else None


def position(salt: str, value: str) -> tuple[int, int]:
    """Where a value stands, twice over 2**64: for taking part, and for picking a version."""
    return _position(_salted(salt), value)


def _salted(salt: str) -> bytes:
    content = salt.encode("utf-8", "surrogatepass")
    return b"banyan_hp/experiment/%b:%d:%b" % (ALGORITHM.encode(), len(content), content)


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
    """One version in an experiment (on the wire: an element of `versions`)."""

    experiment_version_id: str
    version: str
    content: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as the backend configured it."""

    experiment_id: str
    status: str
    sticky_type: str
    versions: tuple[Version, ...]
    split: Split

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
            split=Split(salt, [each.get("traffic_percentage") for each in versions]),
        )
    except ValueError as error:
        raise ValueError(f"experiment {_shown(experiment_id)} is ignored: {error}") from error


def _version(config: Mapping[str, Any]) -> Version:
    return Version(
        _text(config, "experiment_version_id"), _text(config, "version"), _text(config, "content", empty=True)
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
