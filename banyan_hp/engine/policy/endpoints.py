"""Which endpoints of a destination are missing, or fail on their own, where it has several.

What belongs to a missing one is set aside: it waits on disk, and holds up nothing else. One request now and
then asks whether the endpoint is there by now. Guarded by the engine's lock.
"""

from __future__ import annotations

from collections.abc import Callable

from ..records.outcome import Verdict
from .circuit_breaker import HOLD_PROBE_SECONDS
from .retry import chance

MOST_IN_MEMORY = 1000  # records that wait for an endpoint where there is no disk to set them aside on


class Endpoints:
    """The missing ones, by URL. A destination has two or three: nothing here grows."""

    def __init__(self, *, chance: Callable[[], float] = chance) -> None:
        self._chance = chance
        self.any_missing = False
        self._missing: dict[str, tuple[Verdict, float]] = {}  # what it responded, and when to ask again

    def missing(self, url: str, verdict: Verdict, now: float) -> bool:
        """The endpoint is missing. True if that is new."""
        is_new = url not in self._missing
        wait = HOLD_PROBE_SECONDS * (0.75 + 0.5 * self._chance())
        self._missing[url] = verdict, now + max(wait, verdict.retry_after or 0.0)
        self.any_missing = True
        return is_new

    def found(self, url: str) -> bool:
        """The endpoint took records. True if it was missing."""
        was_missing = self._missing.pop(url, None) is not None
        self.any_missing = bool(self._missing)
        return was_missing

    def not_before(self, url: str, now: float) -> Verdict | None:
        """What a missing endpoint responded, while it must not be asked again; None: send."""
        verdict, due = self._missing.get(url, (None, now))
        return verdict if due > now else None

    def is_due(self, now: float) -> bool:
        """Whether one that is missing may be asked again."""
        return any(due <= now for _, due in self._missing.values())

    def forget(self) -> None:
        """Another address or key: what was missing need not be."""
        self._missing.clear()
        self.any_missing = False

    def problem(self) -> str | None:
        """For people: what responds how."""
        said = [f"POST {url}: {_said(verdict)}" for url, (verdict, _) in self._missing.items()]
        return "; ".join(said) or None


def _said(verdict: Verdict) -> str:
    return verdict.detail if verdict.status is None else f"{verdict.status} {verdict.detail}"
