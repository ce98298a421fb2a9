"""Failed fetches: which questions are not to be asked again yet. Guarded by the lock of `answers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.policy.jitter import between
from .questions import Question

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class _Trouble:
    """Failed fetches, one after the other, whoever asked."""

    failures: int
    retry_at: float


class Troubles:
    """By the shared question. Pauses double up to `LONGEST_PAUSE`.

    Args:
        size: how many are remembered; the oldest go first.
        monotonic: the clock.
    """

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self._troubles: dict[Question[Any], _Trouble] = {}

    def __contains__(self, question: Question[Any]) -> bool:
        return question.shared in self._troubles

    def is_due(self, question: Question[Any], now: float) -> bool:
        """Whether it may be asked. Takes no lock."""
        trouble = self._troubles.get(question.shared)
        return trouble is None or now >= trouble.retry_at

    def note(self, question: Question[Any], *, slow: bool) -> None:
        """One more fetch has failed; a `slow` one had its callers wait."""
        key, now = question.shared, self._monotonic()
        earlier = self._troubles.get(key)
        if earlier is not None and now < earlier.retry_at:
            return  # several were under way at the same time
        failures = earlier.failures + 1 if earlier else 1
        pause = _pause(failures, slow=slow) * between(0.5, 1.0)
        self._troubles[key] = _Trouble(failures, now + pause)
        if len(self._troubles) > self._size:
            del self._troubles[next(iter(self._troubles))]

    def over(self, question: Question[Any]) -> None:
        self._troubles.pop(question.shared, None)

    def forget(self, subject: str | None) -> None:
        """Those about a prompt or experiment; None: all."""
        for key in [key for key in self._troubles if subject in (None, key.subject)]:
            del self._troubles[key]


def _pause(failures: int, *, slow: bool) -> float:
    """Seconds without a further fetch; none after a first failure that was quick to tell."""
    if failures == 1 and not slow:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
