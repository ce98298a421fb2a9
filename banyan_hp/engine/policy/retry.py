"""How long to wait after a failed attempt: pure functions, no clock, no state."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime

BACKOFF_CAP = 30.0
RETRY_AFTER_CAP = 300.0
_SHORTEST_STEP = 0.1  # keeps retry_delay=0 from hammering a backend that is down


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

    Args:
        text: the header's value.
        now: the wall clock, in seconds since the epoch.

    Returns:
        At least 0 and at most `RETRY_AFTER_CAP`; None where the header is missing or makes no sense.
    """
    if text is None:
        return None
    seconds = _delta_seconds(text.strip())
    if seconds is None:
        seconds = _seconds_until(text, now)
    if seconds is None:
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP)


def _delta_seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _seconds_until(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
