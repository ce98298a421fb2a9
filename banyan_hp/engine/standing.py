"""Whether the destination has refused this process's key for good. Pure: no I/O, no clock, no lock.

Segments under a key that was refused for good are adopted under a newer one, so this must not be said of a
good key: records would leave under somebody else's. Therefore

- a key that is known to have been accepted, by this process or by an earlier one, which left a note in the
  directory, must be refused for `LONG_SECONDS`, at two attempts at least, and accepted at none between:
  longer than a hiccup of a server that checks keys;
- a key that never was accepted is refused for good at once: it was revoked before, or never was one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .gate import Gate
from .retry import Outcome

LONG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """Records are taken under the key; not said again until it was refused."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One more attempt found the key refused."""

    accepted_before: bool
    seconds: float

    def for_good(self, *, noted_as_accepted: bool) -> bool:
        """By what is known in this process, and what was noted by earlier ones."""
        return self.seconds >= LONG_SECONDS or not (self.accepted_before or noted_as_accepted)


class KeyStanding:
    """What attempts tell of one key. Guarded by the engine's lock, like the gate that it looks at."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._setbacks = gate.setbacks
        self._last_success = gate.last_success
        self._accepted_before = False
        self._good = False
        self._refused_since: float | None = None

    def look(self, now: float) -> Accepted | Refused | None:
        """What is new since the last look, if anything. `now` is on the monotonic clock."""
        gate = self._gate
        refused = gate.state == Outcome.HOLD_AUTH.value and gate.setbacks > self._setbacks
        accepted = gate.last_success != self._last_success and gate.state != Outcome.HOLD_AUTH.value
        self._setbacks, self._last_success = gate.setbacks, gate.last_success
        if refused:
            return self._refused(now)
        return self._accepted() if accepted else None

    def _refused(self, now: float) -> Refused:
        if self._refused_since is None:
            self._refused_since = now
        self._good = False
        return Refused(self._accepted_before, now - self._refused_since)

    def _accepted(self) -> Accepted | None:
        known, self._good = self._good, True
        self._accepted_before = True
        self._refused_since = None
        return None if known else Accepted()
