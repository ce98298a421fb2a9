"""Whether the destination may be tried now: back-off, circuit breaker, holds.

One for all threads that send to a destination. Guarded by the engine's lock; it reads no clock of its own.

    WELL ──failure──► BACKING OFF ──failures > max_retries──► BROKEN ──probe fails──► BROKEN
      ▲                    │                                    │
      └──────success───────┴──────────────success───────────────┘   (HELD is like BROKEN, probed more seldom)
"""

from __future__ import annotations

from collections.abc import Callable

from ..records.outcome import Outcome, Verdict
from .classification import may_be_the_record
from .jitter import chance
from .retry import backoff, probe_delay

HOLD_PROBE_SECONDS = 60.0
REFUSED_PROBE_SECONDS = 2.0  # what is refused costs the backend little, and good records wait meanwhile
REFUSED_PROBE_JITTER = 3.0
HURRIED_PROBE_GAP = 0.25  # seconds; callers that flush in a loop must not become a load of their own


class CircuitBreaker:
    """The shared state of one destination's health.

    While it is *unwell* (breaker open, or credentials or address wrong) one attempt at a time is let
    through, the probe, when its time has come. Whoever begins an attempt says at its end whether it was
    the probe.
    """

    def __init__(self, max_retries: int, retry_delay: float, *, chance: Callable[[], float] = chance) -> None:
        self._max_retries = max_retries
        self._retry_delay = retry_delay
        self._chance = chance
        self._not_before = 0.0
        self._told_to_wait_until = 0.0
        self._failed_at = float("-inf")
        self._tripped_at = float("-inf")
        self._held: Outcome | None = None
        self._complaint = Outcome.RETRY  # of the last failure that was counted
        self._probing = False
        self.failures = 0
        self.broken = False
        self.refusing = False  # every record seems to be refused: held, but probed every few seconds
        self.doubtful = False  # what failed last got there: it may be the record, and another one is accepted
        self.trips = 0  # how often an attempt left it unwell
        self.recoveries = 0
        self.last_success: float | None = None

    @property
    def is_open(self) -> bool:
        return self.broken or self._held is not None

    @property
    def state(self) -> str:
        if self._held is not None:
            return self._held.value
        if self.failures and self._complaint is Outcome.HOLD_CONFIG:
            return Outcome.HOLD_CONFIG.value
        if self.broken:
            return "offline"
        if self.failures:
            return "backing_off"
        return "idle" if self.last_success is None else "online"

    def delay(self, now: float) -> float:
        """Seconds until an attempt may begin; infinite while somebody else's probe is under way."""
        if self._probing and self.is_open:
            return float("inf")
        return max(0.0, self._not_before - now, self._told_to_wait_until - now)

    def begin(self) -> bool:
        """An attempt begins. True if it is the probe; then `end(probe=True)` must follow."""
        if self.is_open:
            self._probing = True
        return self.is_open

    def end(self, *, probe: bool) -> None:
        """An attempt is over, whatever it told."""
        if probe:
            self._probing = False

    def succeed(self, now: float) -> bool:
        """Returns whether it had failed before."""
        is_back = self.failures > 0 or self.is_open
        self.recoveries += is_back
        self._held = None
        self.broken = self.refusing = False
        self.failures = 0
        self._not_before = 0.0
        self.last_success = now
        return is_back

    def fail(self, verdict: Verdict, began: float, now: float) -> None:
        """The destination is unwell. Attempts that began before the last counted failure tell nothing new."""
        if verdict.outcome is not Outcome.RETRY and not may_be_the_record(verdict):
            self.hold(verdict.outcome, now)
        elif began >= self._failed_at:
            self._count_failure(now)
            self.doubtful = may_be_the_record(verdict)
            self._complaint = verdict.outcome
        if verdict.retry_after is not None:
            self._obey(verdict.retry_after, now)

    def _count_failure(self, now: float) -> None:
        self._failed_at = now
        self._held = None
        self.refusing = False
        self.failures += 1
        if self.failures > self._max_retries:
            self.broken = True
            self._trip(now)
            self._not_before = now + probe_delay(self.failures, self._retry_delay, self._chance())
        else:
            self._not_before = now + backoff(self.failures, self._retry_delay, self._chance())

    def _obey(self, seconds: float, now: float) -> None:
        """A Retry-After: never earlier than told, with jitter so that not all clients come at once."""
        until = now + seconds + self._chance() * min(1.0, 0.1 * seconds)
        self._told_to_wait_until = max(self._told_to_wait_until, until)

    def hold(self, outcome: Outcome, now: float) -> None:
        """The credentials or the address are wrong: nothing is to be expected of trying again soon."""
        self._hold(outcome, now, HOLD_PROBE_SECONDS * (0.75 + 0.5 * self._chance()))

    def refuse(self, now: float) -> None:
        """Several records in a row were refused, with no acceptance between them."""
        self._hold(Outcome.HOLD_CONFIG, now, REFUSED_PROBE_SECONDS + REFUSED_PROBE_JITTER * self._chance())
        self.refusing = True

    def _hold(self, outcome: Outcome, now: float, seconds: float) -> None:
        self._held = outcome
        self.broken = self.refusing = False
        self._trip(now)
        self._not_before = now + seconds

    def _trip(self, now: float) -> None:
        self.trips += 1
        self._tripped_at = now

    def break_now(self, now: float) -> None:
        """Give up retrying: at shutdown one more attempt is all there is."""
        if not self.is_open:
            self.broken = True
            self._trip(now)

    def hurry(self, now: float) -> None:
        """Somebody waits for an attempt: let it through at once, unless the backend told us to wait."""
        self._not_before = min(self._not_before, max(now, self._tripped_at + HURRIED_PROBE_GAP))
