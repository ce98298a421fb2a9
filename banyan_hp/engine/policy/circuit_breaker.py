"""Whether the destination may be tried now: back-off, circuit breaker, holds.

All threads that send to a destination share one. Guarded by the engine's lock; it reads no clock of its own.

    CLOSED ──failure──► BACKING OFF ──failures > max_retries──► OPEN ──probe fails──► OPEN
      ▲                      │                                   │
      └───────success────────┴──────────────success──────────────┘   (HELD is like OPEN, probed more seldom)
"""

from __future__ import annotations

from collections.abc import Callable

from ..records.outcome import Outcome, Verdict
from .classification import may_be_the_record
from .retry import backoff, chance, probe_delay

HOLD_PROBE_SECONDS = 60.0
REFUSED_PROBE_SECONDS = 2.0  # a refusal costs the backend little, and good records wait meanwhile
REFUSED_PROBE_JITTER = 3.0
HURRIED_PROBE_GAP = 0.25  # seconds; callers that flush in a loop must not become a load of their own


class CircuitBreaker:
    """The shared state of one destination's health.

    While it is open (too many failures, or wrong credentials or address) it lets one attempt at a time
    through, the probe, when its time has come. The caller of `begin` passes its result to `end`.
    """

    def __init__(self, max_retries: int, retry_delay: float, *, chance: Callable[[], float] = chance) -> None:
        self._max_retries = max_retries
        self._retry_delay = retry_delay
        self._chance = chance
        self._not_before = 0.0
        self._retry_after_until = 0.0
        self._failed_at = float("-inf")
        self._tripped_at = float("-inf")
        self._held: Outcome | None = None
        self._complaint = Outcome.RETRY  # of the last failure that was counted
        self._probing = False
        self.failures = 0
        self.broken = False
        self.refusing = False  # the backend seems to refuse every record: held, but probed every few seconds
        self.doubtful = False  # the last failure may be due to the record: try another one
        self.trips = 0  # how often an attempt left it open
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

    def has_tripped_since(self, trips: int) -> bool:
        """Whether an attempt since then has left it open, and what the probe carried is put away again."""
        return self.is_open and self.trips > trips and not self._probing

    def delay(self, now: float) -> float:
        """Seconds until an attempt may begin; infinite while another thread's probe is under way."""
        if self._probing and self.is_open:
            return float("inf")
        return max(0.0, self._not_before - now, self._retry_after_until - now)

    def stays_shut(self, now: float, seconds: float) -> bool:
        """Whether no attempt is under way, and none may begin for so long: waiting for one is in vain."""
        return not (self._probing and self.is_open) and self.delay(now) > seconds

    def begin(self) -> bool:
        """Begin an attempt. Returns whether it is the probe; if so, `end(probe=True)` must follow."""
        if self.is_open:
            self._probing = True
        return self.is_open

    def end(self, *, probe: bool) -> None:
        """End an attempt, whatever its result."""
        if probe:
            self._probing = False

    def succeed(self, now: float) -> bool:
        """An attempt succeeded. Returns whether it had failed before."""
        is_back = self.failures > 0 or self.is_open
        self.recoveries += is_back
        self._held = None
        self.broken = self.refusing = False
        self.failures = 0
        self._not_before = 0.0
        self.last_success = now
        return is_back

    def fail(self, verdict: Verdict, began: float, now: float) -> None:
        """An attempt failed. One that began before the last counted failure says nothing new.

        A Retry-After is obeyed: never earlier, and with jitter so that clients don't all return at once.
        """
        if verdict.outcome is not Outcome.RETRY and not may_be_the_record(verdict):
            self.hold(verdict.outcome, now)
        elif began >= self._failed_at:
            self._count_failure(now)
            self.doubtful = may_be_the_record(verdict)
            self._complaint = verdict.outcome
        if verdict.retry_after is not None:
            until = now + verdict.retry_after + self._chance() * min(1.0, 0.1 * verdict.retry_after)
            self._retry_after_until = max(self._retry_after_until, until)

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

    def hold(self, outcome: Outcome, now: float) -> None:
        """The credentials or the address are wrong: trying again soon would not help."""
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
        """Give up retrying: at shutdown there is time for one more attempt."""
        if not self.is_open:
            self.broken = True
            self._trip(now)

    def hurry(self, now: float) -> None:
        """A caller waits for an attempt: let it through at once, unless the backend asked us to wait."""
        self._not_before = min(self._not_before, max(now, self._tripped_at + HURRIED_PROBE_GAP))
