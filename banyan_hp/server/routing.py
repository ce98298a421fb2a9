"""Which version of an experiment a sticky value gets: pure arithmetic, no I/O, no randomness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence


def position(salt: str, sticky_value: str) -> float:
    """Where the value stands in an experiment's traffic: from 0 up to, and not including, 100.

    The first 64 bits of a SHA-256 over both strings as a JSON list, whose quotes keep
    ("a", "bc") and ("ab", "c") apart.
    """
    digest = hashlib.sha256(json.dumps([salt, sticky_value]).encode("ascii")).digest()
    # 53 of the bits: as many as a float holds, so that the largest doesn't round up to 100.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 * 100


def choose(salt: str, sticky_value: str, percentages: Sequence[float]) -> int | None:
    """The index of the version that the value gets, or None where the percentages leave it out."""
    at = position(salt, sticky_value)
    reached = 0.0
    for index, percentage in enumerate(percentages):
        reached += percentage
        if at < reached:
            return index
    return None
