"""What an engine writes to disk at its end, and who owns its records meanwhile.

    state      who owns a record that is in memory            what a crash leaves of it
    running    the queue, a retry, or a task under way        nothing, unless `durability="disk"`
    closing    the same; nothing more is taken in             the same
    secured    the same, and it is on disk as well            all of it, for the next process
               (only at the exit of the process)
    finishing  the final write, oldest first                  what was written: a chunk is whole or torn
    ended      nobody: it is delivered, on disk or counted    all that is on disk
    leaving    as ended; what is logged now goes to disk      the same

*closing → secured*: no thread takes records from the queue meanwhile. Records under way are written, too, and
acknowledged if they were settled in the meantime. *secured → finishing* is one section of the engine's lock:
threads stop, and all records move to the final write before their previous owners forget them. From there
on a record that a task returns goes to the final write as well. A late response still counts if it comes
before its record is claimed.

No write waits for `before_send`: a record that it has not seen is marked so on disk, and the next process's
`before_send` sees it before it is sent.

An exception at any point (Ctrl-C raises one in the main thread, anywhere) leaves each record with its owner:
a chunk stays pending until all of it is settled, and a chunk that was interrupted is written again, to a new
segment. The interrupted caller goes back to the work that is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from ..records.ledger import Term
from ..records.record import Record
from ..sync import Clock, Lock, ReleasingOnError, WakeUp
from .prepare import Preparer
from .settlement import Settlement

_CHUNK_RECORDS = 500
_BEGIN_SECONDS = 0.1
_DISK_SECONDS = 30.0  # nobody waits longer for a disk that hangs


class Job:
    """Records to be written chunk by chunk, by one thread at a time; any thread can go on with them."""

    def __init__(self, clock: Clock, write_chunk: Callable[[list[Record]], None]) -> None:
        self._clock = clock
        self._write_chunk = write_chunk
        self._pending: deque[Record] = deque()
        self._turn = Lock()  # re-entrant: a thread that was interrupted while it held it can go on
        self._wake_up = WakeUp()

    @property
    def done(self) -> bool:
        return not self._pending

    def take(self, records: Iterable[Record]) -> None:
        self._pending.extend(records)

    def run(self) -> None:
        """Write until nothing is pending; return at once if another thread does, which writes all."""
        mine = True
        while self._pending and mine:
            with ReleasingOnError((self._turn,)):
                mine = self._in_turn()

    def _in_turn(self) -> bool:
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._wake_up.wake()
            self._run()
        finally:
            self._turn.release()
            self._wake_up.wake()
        return True

    def _run(self) -> None:
        while self._pending:
            chunk = list(islice(self._pending, _CHUNK_RECORDS))
            self._write_chunk(chunk)
            for _ in chunk:
                self._pending.popleft()

    def wait_for_beginning(self) -> None:
        self._clock.wait(self._wake_up, _BEGIN_SECONDS)

    def complete(self) -> None:
        """Run it, or wait for the thread that does."""
        give_up_at = self._clock.monotonic() + _DISK_SECONDS
        while self._pending and self._clock.monotonic() < give_up_at:
            self.run()
            if self._pending:
                self._clock.wait(self._wake_up, give_up_at - self._clock.monotonic())


class LastWrites:
    """Both jobs of one engine's end.

    Attributes:
        copies: writes records that stay in memory, to be sent.
        final: the final write, after which a record is on disk only, or a counted loss.
    """

    def __init__(self, clock: Clock, settlement: Settlement, preparer: Preparer) -> None:
        self._settlement = settlement
        self._preparer = preparer
        self.copies = Job(clock, self._write_copies)
        self.final = Job(clock, self._write_finally)

    # -- on disk as well ----------------------------------------------------------------------------------

    def _write_copies(self, records: list[Record]) -> None:
        spool = self._settlement.spool
        if spool is None:
            return
        ready = self._preparer.for_disk(_unclaimed(records))
        spool.try_again()
        spool.append(ready)
        # A thread that settled some meanwhile may not have seen that they are on disk.
        gone = [record for record in ready if record.settled and record.term is not Term.SPOOLED]
        if gone:
            spool.acknowledge(gone)

    # -- on disk only -------------------------------------------------------------------------------------

    def write_now(self, records: list[Record]) -> None:
        self._write_or_drop(self._preparer.prepare(records))

    def _write_finally(self, records: list[Record]) -> None:
        self._write_or_drop(self._preparer.for_disk(_unclaimed(records)))

    def _write_or_drop(self, ready: list[Record]) -> None:
        on_disk = [record for record in ready if record.place is not None]  # the oldest: they make room
        self._write(on_disk)
        self._write([record for record in ready if record.place is None])
        self._settlement.dropped(ready, "shutdown")

    def _write(self, records: list[Record]) -> bool:
        """Returns whether all of them are on disk now. Where there is little room, the oldest get it."""
        spool = self._settlement.spool
        if spool is not None:
            spool.try_again()  # also after a failure: there is no later
        failed = self._settlement.spooled(records)
        if not failed or len(failed) == 1 or spool is None:
            return not failed
        middle = len(failed) // 2
        return self._write(failed[:middle]) and self._write(failed[middle:])


def _unclaimed(records: list[Record]) -> list[Record]:
    """Those that no thread has settled or is settling, each once."""
    return list(dict.fromkeys(record for record in records if not record.claimed))
