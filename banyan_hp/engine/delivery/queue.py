"""The queue between callers and the worker: bounded by count and by bytes. Guarded by the engine's lock."""

from __future__ import annotations

from collections import deque
from itertools import repeat, starmap
from operator import attrgetter

from ..records.record import Record

SPILL_ABOVE = 0.75  # of either bound: from here on the worker writes to disk what it can't send
SPILL_TO = 0.5

_SIZE = attrgetter("size")

Load = tuple[float, float]  # records, and bytes


class Queue:
    """A deque that knows its bytes and its bounds. A record larger than all of `max_bytes` never fits."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.bytes = 0
        self.records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self.records)

    def fits(self, size: int) -> bool:
        return len(self.records) < self.max_records and self.bytes + size <= self.max_bytes

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.bytes += record.size

    def take(self, max_records: int, max_bytes: int) -> list[Record]:
        """The oldest records, as many as a batch holds; at least one if there is any."""
        records = self.records
        taken = list(starmap(records.popleft, repeat((), min(max_records, len(records)))))  # in C
        size = sum(map(_SIZE, taken))
        while size > max_bytes and len(taken) > 1:
            size -= taken[-1].size
            records.appendleft(taken.pop())
        self.bytes -= size
        return taken

    def take_newest(self) -> list[Record]:
        """The newest record; the queue must not be empty."""
        record = self.records.pop()
        self.bytes -= record.size
        return [record]

    def make_room(self, size: int) -> list[Record]:
        """Take out the oldest records until one of `size` bytes fits."""
        evicted = []
        while self.records and not self.fits(size):
            record = self.records.popleft()
            self.bytes -= record.size
            evicted.append(record)
        return evicted

    def drop_settled(self) -> None:
        """Take out what was settled while it was in here."""
        left = deque([record for record in self.records if not record.settled])
        size = sum([record.size for record in left])
        self.records, self.bytes = left, size

    def clear(self) -> None:
        self.records, self.bytes = deque(), 0

    def oldest_at(self) -> float | None:
        """The monotonic time at which the oldest record came."""
        return self.records[0].queued_at if self.records else None

    def full_batch(self, max_records: int, max_bytes: int) -> bool:
        return len(self.records) >= max_records or self.bytes >= max_bytes

    def above(self, share: float) -> bool:
        records, size = self.load_at(share)
        return len(self.records) > records or self.bytes > size

    def load_at(self, share: float) -> Load:
        """Which load is that share of what it may hold."""
        return share * self.max_records, share * self.max_bytes
