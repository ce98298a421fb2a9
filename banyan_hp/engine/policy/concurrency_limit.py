"""How many senders are worth having if each request takes one record. Guarded by the engine's lock.

A sender that waits for a response leaves the interpreter to another one. But if responses arrive sooner than
the next record is ready, a second sender waits for the interpreter, not for the backend: on loopback one
sender delivers twice as many records a second as eight do, for a third of their CPU.
"""

from __future__ import annotations

LOOK_AGAIN_SECONDS = 0.02  # a request under way for longer may hang; for less, its thread may not have run
# A few times what a sender does between two requests, which is 50 to 150 µs: handing over the interpreter's
# lock costs as much again.
_WORK_SECONDS = 300e-6


class ConcurrencyLimit:
    """Counts the requests under way, and measures how long responses take."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._usual = 0.0

    @property
    def at_work(self) -> int:
        """How many senders have a request under way."""
        return len(self._since)

    def begin(self, sender: int, now: float) -> None:
        self._since[sender] = now

    def end(self, sender: int) -> None:
        self._since.pop(sender, None)

    def took(self, seconds: float) -> None:
        """A response took this long. A busy machine delays some: a quick one counts for more."""
        self._usual = min(seconds, 2 * self._usual) if self._usual else seconds

    def enough(self, now: float) -> bool:
        """Whether one more sender would not deliver any more than those under way."""
        if not self._since:
            return False
        longest = now - min(self._since.values())
        wait = max(longest, self._usual) if longest > LOOK_AGAIN_SECONDS else self._usual
        return len(self._since) > wait / _WORK_SECONDS
