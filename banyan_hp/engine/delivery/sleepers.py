"""The threads that sleep, what they sleep for, and which of them wakes up.

Guarded by the engine's lock, but for `disturb`.
"""

from __future__ import annotations

from ..spool.spool import Spool
from ..sync import WakeUp
from .queue import Load, Queue
from .shared import Shared
from .tasks import NEVER

ANYTHING: Load = (1, NEVER)
NOTHING: Load = (NEVER, NEVER)


class Sleepers:
    """Idle threads by their wake-ups, the one that fell asleep last at the end.

    At most one of them is *on watch*: it sleeps a moment only, and then looks whether a request hangs.

    Attributes:
        idle: their wake-ups.
        wake_at: how much the queue must hold for a new record to wake one.
        sync_planned: one of them wakes in time to force the spool to the disk.
    """

    def __init__(self, shared: Shared, queue: Queue, spool: Spool | None) -> None:
        self._lock = shared.lock
        self._queue = queue
        _, self._batch_support, self._concurrency, _, _ = shared.policies
        self._spool = spool
        self._watch: WakeUp | None = None
        self.idle: list[WakeUp] = []
        self.wake_at = ANYTHING
        self.sync_planned = False

    @property
    def is_watched(self) -> bool:
        return self._watch is not None

    def add(self, wake_up: WakeUp, *, on_watch: bool = False) -> None:
        self._lock.assert_held()
        self.idle.append(wake_up)
        if on_watch:
            self._watch = wake_up

    def remove(self, wake_up: WakeUp) -> None:
        self._lock.assert_held()
        if wake_up in self.idle:
            self.idle.remove(wake_up)
        self._relieve(wake_up)

    def plan(self, now: float, seconds: float, wake_at: Load) -> float:
        """How long the caller may sleep: at most this long, and until the queue holds this much."""
        self.wake_at = wake_at
        if self._spool is None:
            return seconds
        sync = self._spool.sync_due_in(now)
        self.sync_planned = sync < NEVER
        return min(seconds, sync)

    # -- waking ------------------------------------------------------------------------------------------

    def wake_for_record(self) -> None:
        """Wake one, if the new record gives it something to do. The caller holds the lock."""
        queue = self._queue
        records, size = self.wake_at
        if len(queue.records) < records and queue.bytes < size:
            return
        if self._batch_support.batches or self.is_one_more_worthwhile(queue.records[-1].queued_at):
            self.wake_one()

    def wake_for_sync(self) -> None:
        """Wake one, if the disk has become dirty since it went to sleep."""
        self._lock.assert_held()
        if self.idle and not self.sync_planned and self._spool is not None and self._spool.dirty:
            self.sync_planned = True
            self.wake_one()

    def is_one_more_worthwhile(self, now: float) -> bool:
        """Whether one more sender helps, be it to watch whether those at work hang."""
        return self._watch is None or not self._concurrency.enough(now)

    def wake_one(self) -> None:
        self._lock.assert_held()
        if self.idle:
            self.idle[-1].wake()  # before it is taken out: Ctrl-C between the two must not leave it asleep
            self._relieve(self.idle.pop())

    def wake_all(self) -> None:
        while self.idle:
            self.wake_one()

    def disturb(self) -> None:
        """Have sleeping threads look around. Takes no lock: the copy is atomic, also without the GIL."""
        for wake_up in tuple(self.idle):
            wake_up.wake()

    def _relieve(self, wake_up: WakeUp) -> None:
        if wake_up is self._watch:
            self._watch = None
