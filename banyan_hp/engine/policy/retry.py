"""What an answer means and how long to wait after it: pure functions, no clock, no state."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from ..records.outcome import Outcome, Verdict

BACKOFF_CAP = 30.0
RETRY_AFTER_CAP = 300.0
_PASSING = frozenset({408, 425, 429})
_NO_TIME = "1970-01-01T00:00:00.000Z"
_SHORTEST_STEP = 0.1  # keeps retry_delay=0 from hammering a backend that is down


_REFUSALS = (Outcome.REFUSED, Outcome.CONFLICT)


def may_be_the_record(verdict: Verdict) -> bool:
    """Whether a failure may be due to what was sent: the request got there, and then failed.

    Or something on the way to the API refused it, which may be a firewall that dislikes the content.
    """
    if verdict.outcome is Outcome.HOLD_CONFIG:
        return verdict.status is not None and classify(verdict.status) in _REFUSALS
    if verdict.outcome is not Outcome.RETRY or verdict.status in _PASSING:
        return False
    return verdict.status is not None or verdict.reason != "no_connection"


def classify(status: int) -> Outcome:
    """Design decision 7, as a function of the status alone."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 409:
        return Outcome.CONFLICT
    if status in _PASSING or status >= 500:
        return Outcome.RETRY
    if status in (401, 403):
        return Outcome.HOLD_AUTH
    if status in (400, 422):
        return Outcome.REFUSED
    if status == 413:
        return Outcome.TOO_LARGE
    return Outcome.HOLD_CONFIG


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


def event_time(seconds: float) -> str:
    """A UTC time as the wire carries it: ``2026-01-31T12:00:00.123Z``.

    Total: records come back from disk, and what is no time of our calendar there becomes the first of 1970.
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
