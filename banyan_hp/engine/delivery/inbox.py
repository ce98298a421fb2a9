"""Records of callers that found the engine's lock taken: handed over without waiting for it.

Who holds the lock may not run for a while: the interpreter or the system has given another thread its turn.
A caller that waited would wait for that thread's next turn. So it leaves its record here, in one step, and
whoever holds the lock next takes it in, before it looks at the queue or the ledger, or changes them.

    the record is    who may touch it      is it in the ledger   may its caller take it back
    the caller's     the caller            no                    -
    here             who holds the lock    no                    behind the seal, with the lock held
    in the queue     who holds the lock    yes                   no

*Sealing* goes with the engine's end, in one section: what is here is taken in, and nothing after it. A caller
appends first and looks at the seal then; who seals does it the other way round. So either the record is taken
in, or its caller sees the seal, takes the record back and is turned away.

*Sleep*: a sender joins the sleepers first and looks in here then, a caller does it the other way round. So
either the sender does not fall asleep, or the caller wakes it.
"""

from __future__ import annotations

from collections import deque

from ..records.ledger import Term
from ..records.record import Epochs, Record
from .queue import Queue
from .shared import Shared
from .sleepers import Sleepers

_MOST = 100
_HALF = 0.5  # of the queue: here is never more than fits into its other half
_QUEUED = Term.QUEUED


class Inbox:
    """See the module. `records` holds those to be taken in."""

    def __init__(self, shared: Shared, queue: Queue, epochs: Epochs, sleepers: Sleepers) -> None:
        self._lock = shared.lock
        self._own = shared.ledger.own
        self._queue = queue
        self._epochs = epochs
        self._sleepers = sleepers
        self._most = min(_MOST, int(_HALF * queue.max_records))
        self._largest = _HALF * queue.max_bytes / _MOST
        self._sealed = False
        self._noticed = False  # a sender is awake for what is here
        self.records: deque[Record] = deque()

    def offer(self, record: Record) -> bool:
        """Leave it here, without the lock. False if there is no room, or if it is sealed.

        Callers that look at the same moment all find room: each of them may have one record too many here.
        """
        if len(self.records) >= self._most or record.size > self._largest or self._queue.above(_HALF):
            return False
        self.records.append(record)
        if self._sealed:
            return not self._taken_back(record)
        if not self._noticed:
            self._noticed = True
            self._sleepers.disturb()
        return True

    def _taken_back(self, record: Record) -> bool:
        with self._lock:
            if record not in self.records:
                return False
            self.records.remove(record)
            return True

    def take_in(self) -> None:
        """Move what is here to the queue, unless it is sealed. Call with the lock held."""
        self._lock.assert_held()
        self._noticed = False
        if self.records and not self._sealed:
            self._move()

    def seal(self) -> None:
        """Take in what is here, and nothing after it. Call with the lock held, while records are accepted."""
        self._lock.assert_held()
        self._sealed = True
        self._move()

    def unseal(self) -> None:
        """Take records again. Call with the lock held."""
        self._lock.assert_held()
        self._sealed = False

    def _move(self) -> None:
        """Interrupted (Ctrl-C comes behind a call), it counts no record twice; see `Intake._accept`."""
        own, queue, epoch = self._own, self._queue, self._epochs.current
        while self.records:
            record = self.records[0]
            if record.epoch is None:  # else it is in the queue already
                record.term = _QUEUED
                record.epoch = epoch
                epoch.in_memory += 1
                own.accepted += 1
                own.counts[_QUEUED] += 1
                queue.bytes += record.size
                queue.records.append(record)
            self.records.popleft()
        if self._sleepers.idle and queue.records:
            self._sleepers.wake_for_record()
