"""How long to wait after a failed attempt: no clock, no state.

Random numbers for jitter come from the kernel: copies of a memory snapshot share the state of `random`. Each
costs a system call: they are for retries and expiry, not for each record.
"""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import SystemRandom

BACKOFF_CAP = 30.0
RETRY_AFTER_CAP = 300.0
_SHORTEST_STEP = 0.1  # keeps retry_delay=0 from hammering a backend that is down
_system = SystemRandom()


def chance() -> float:
    """A number in [0, 1)."""
    return _system.random()


def between(low: float, high: float) -> float:
    """A number from `low` to `high`."""
    return _system.uniform(low, high)


def backoff(failures: int, base: float, chance: float) -> float:
    """Seconds before the next attempt, with full jitter.

    Args:
        failures: how many attempts in a row have failed, from 1.
        base: the first step's upper bound in seconds; it doubles with each failure, up to `BACKOFF_CAP`.
        chance: a random number in [0, 1).

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return chance * _step(failures, base)


def probe_delay(failures: int, base: float, chance: float) -> float:
    """Seconds before an open breaker lets a probe through: half the step, and jitter over the other half."""
    return (1 + chance) / 2 * _step(failures, max(base, _SHORTEST_STEP))


def _step(failures: int, base: float) -> float:
    return min(BACKOFF_CAP, base * 2.0 ** min(failures - 1, 32))


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, 10.2.3): a number of seconds or an HTTP date.

    At least 0 and at most `RETRY_AFTER_CAP`; None where the header is missing or makes no sense.

    Args:
        text: the header's value.
        now: the wall clock, in seconds since the epoch.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now)
    return min(max(seconds, 0.0), RETRY_AFTER_CAP) if math.isfinite(seconds) else None


def _seconds_until(text: str, now: float) -> float:
    """Not a number where it is not a date."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan
