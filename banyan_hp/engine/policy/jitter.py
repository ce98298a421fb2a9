"""Random numbers for jitter, from the kernel: copies of a memory snapshot share the state of `random`.

Each costs a system call: they are for retries and expiry, not for each record.
"""

from __future__ import annotations

from random import SystemRandom

_system = SystemRandom()


def chance() -> float:
    """A number in [0, 1)."""
    return _system.random()


def between(low: float, high: float) -> float:
    """A number from `low` to `high`."""
    return _system.uniform(low, high)
