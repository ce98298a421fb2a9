"""Records that wait on disk, and those of them that were fetched to be sent. Guarded by the engine's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..records.ledger import Book, Term
from ..records.record import Record
from ..spool.spool import Spool
from .retries import any_of
from .shared import Shared
from .tasks import NEVER, ReadBack


class Backlog:
    """What the spool holds, read back a few records at a time, by one thread at a time."""

    def __init__(self, shared: Shared, spool: Spool | None) -> None:
        self._lock = shared.lock
        self._spool = spool
        self._suspects = shared.policies.suspects
        self._own = shared.ledger.own
        self.fetched: deque[Record] = deque()
        self.is_being_read = False

    def is_there(self, only: Book | None) -> bool:
        """Whether there is something on disk to send, of all or of one book's records."""
        if any_of(only, self.fetched):
            return True
        if self._spool is None or not self._spool.readable:
            return False
        return self._spool.backlog and (only is None or self._own_on_disk_only() > 0)

    def _own_on_disk_only(self) -> int:
        """Isolated suspects are on disk, and in memory, too."""
        return self._own[Term.SPOOLED] - self._suspects.count_isolated(-NEVER, self._own, Term.SPOOLED)

    def begin_to_read(self, only: Book | None, *, several: bool) -> ReadBack:
        """The task whose records come to `add`."""
        self.is_being_read = True
        return ReadBack(own_only=only is not None, several=several)

    def add(self, records: Sequence[Record], now: float) -> None:
        """These came from the disk."""
        self._lock.assert_held()
        self.is_being_read = False
        for record in records:
            if self._suspects.recognise(record):
                self._suspects.isolate(record, now, at_once=True)
            else:
                self.fetched.append(record)

    def take(self, count: int, only: Book | None) -> list[Record]:
        if only is None:
            return [self.fetched.popleft() for _ in range(min(count, len(self.fetched)))]
        taken = [record for record in self.fetched if record.book is only][:count]
        for record in taken:
            self.fetched.remove(record)
        return taken

    def take_all(self) -> list[Record]:
        records = list(self.fetched)
        self.fetched.clear()
        return records
