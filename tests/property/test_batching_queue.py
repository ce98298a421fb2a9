"""The queue: bounds respected, order kept, nothing lost, whatever is done to it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from banyan_hp.engine.delivery.queue import Queue
from banyan_hp.engine.records.ledger import Book, Term
from banyan_hp.engine.records.record import Record

MAX_RECORDS = 12
MAX_BYTES = 1000
SIZES = st.integers(0, 400)


class QueueMachine(RuleBasedStateMachine):
    """A queue beside a plain list that says what should be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(MAX_RECORDS, MAX_BYTES)
        self.model: list[Record] = []
        self.made = 0

    def _record(self, size: int) -> Record:
        self.made += 1
        return Record(
            id=str(self.made),
            time=0.0,
            value={},
            size=size,
            queued_at=float(self.made),
            book=Book(),
            term=Term.QUEUED,
        )

    @rule(size=SIZES)
    def append_what_fits(self, size: int) -> None:
        count, used = len(self.model), sum(each.size for each in self.model)
        fits = count < MAX_RECORDS and used + size <= MAX_BYTES
        assert self.queue.fits(size) is fits
        if fits:
            record = self._record(size)
            self.queue.append(record)
            self.model.append(record)

    @rule(count=st.integers(1, 15), room=st.integers(0, 1200))
    def take(self, count: int, room: int) -> None:
        taken = self.queue.take(count, room)
        assert taken == self.model[: len(taken)]
        assert len(taken) <= count
        assert len(taken) <= 1 or sum(each.size for each in taken) <= room
        if self.model:
            assert taken
        following = self.model[len(taken) :]
        if following and len(taken) < count:
            assert sum(each.size for each in taken) + following[0].size > room
        self.model = following

    @rule(size=st.integers(0, 1500))
    def make_room(self, size: int) -> None:
        evicted = self.queue.make_room(size)
        assert evicted == self.model[: len(evicted)]
        self.model = self.model[len(evicted) :]
        assert self.queue.fits(size) or not self.model

    @invariant()
    def counts_hold(self) -> None:
        assert len(self.queue) == len(self.model)
        assert self.queue.bytes == sum(each.size for each in self.model)
        assert self.queue.oldest_at() == (self.model[0].queued_at if self.model else None)

    def teardown(self) -> None:
        assert self.queue.take(len(self.model) + 1, MAX_BYTES * 100) == self.model


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
