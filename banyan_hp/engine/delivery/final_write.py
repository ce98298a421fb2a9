"""What an engine writes to disk at its end, and who owns its records meanwhile.

    state      who owns a record that is in memory            what a crash leaves of it
    running    the queue, a retry, or a thread's hands        nothing, unless `durability="disk"`
    closing    the same; nothing more is taken in             the same
    secured    the same, and it is on disk as well            all of it, for the next process
               (only at the exit of the process)
    finishing  the final write, oldest first                  what was written: a chunk is whole or torn
    ended      nobody: it is delivered, on disk or counted    all that is on disk
    leaving    as ended; who logs now writes it to disk       the same

*closing → secured*: nobody takes records from the queue meanwhile; those in a thread's hands are written,
too, and acknowledged if they were settled in the meantime. *secured → finishing* is one section of the
engine's lock: threads stop, and all records move to the final write before anybody else forgets them. From
there on a record that a thread hands back goes to the final write as well. A response that arrives late
still counts if it comes before its record is claimed.

No write waits for `before_send`: what that has not seen is on disk marked so, and the next process's
`before_send` sees it before it leaves.

An exception at any point (Ctrl-C raises one in the main thread, anywhere) leaves each record with its owner:
a chunk leaves the list of what is pending only when all of it is settled, and a chunk that was
interrupted is written again, to a new segment. Whoever is interrupted goes back to the work that is left.
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
_DISK_SECONDS = 30.0  # a disk that hangs for longer is not waited for


class Job:
    """Records to be seen to chunk by chunk, by one thread at a time; any can go on where one stopped."""

    def __init__(self, clock: Clock, see_to: Callable[[list[Record]], None]) -> None:
        self._clock = clock
        self._see_to = see_to
        self._pending: deque[Record] = deque()
        self._turn = Lock()  # re-entrant: a thread that was interrupted while it held it can go on
        self._wake_up = WakeUp()
        self._taken_up = False

    @property
    def done(self) -> bool:
        return not self._pending

    def take(self, records: Iterable[Record]) -> None:
        self._pending.extend(records)

    def run(self) -> None:
        """Until nothing is pending, or at once if another thread is at it: that one will see to all."""
        mine = True
        while self._pending and mine:
            with ReleasingOnError((self._turn,)):
                mine = self._in_turn()

    def _in_turn(self) -> bool:
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._taken_up = True
            self._wake_up.wake()
            self._run()
        finally:
            self._turn.release()
            self._wake_up.wake()
        return True

    def _run(self) -> None:
        while self._pending:
            chunk = list(islice(self._pending, _CHUNK_RECORDS))
            self._see_to(chunk)
            for _ in chunk:
                self._pending.popleft()

    def is_taken_up(self) -> bool:
        """Give another thread the time to begin; whether one has."""
        self._clock.wait(self._wake_up, _BEGIN_SECONDS)
        return self._taken_up

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
        keeping: writes records that stay in memory, to be sent.
        leaving: the final write, after which a record is on disk only, or a counted loss.
    """

    def __init__(self, clock: Clock, settlement: Settlement, preparer: Preparer) -> None:
        self._settlement = settlement
        self._preparer = preparer
        self.keeping = Job(clock, self._keep)
        self.leaving = Job(clock, self._leave)

    # -- on disk as well ----------------------------------------------------------------------------------

    def _keep(self, records: list[Record]) -> None:
        spool = self._settlement.spool
        if spool is None:
            return
        ready = self._preparer.for_disk(_unclaimed(records))
        spool.try_again()
        spool.append(ready)
        self._acknowledge_settled(ready)

    def _acknowledge_settled(self, records: list[Record]) -> None:
        """Whoever settled them meanwhile may not have seen that they are on disk."""
        gone = (Term.DELIVERED, Term.QUARANTINED, Term.DROPPED)
        settled = [record for record in records if record.term in gone]
        if settled and self._settlement.spool is not None:
            self._settlement.spool.acknowledge(settled)

    # -- on disk only -------------------------------------------------------------------------------------

    def leave(self, records: list[Record]) -> None:
        """At once, for what is logged while the process ends."""
        self._try_again()
        self._write_or_drop(self._preparer.prepare(records))

    def _leave(self, records: list[Record]) -> None:
        self._try_again()
        self._write_or_drop(self._preparer.for_disk(_unclaimed(records)))

    def _write_or_drop(self, ready: list[Record]) -> None:
        on_disk = [record for record in ready if record.place is not None]  # the oldest: they make room
        self._write(on_disk)
        self._write([record for record in ready if record.place is None])
        self._settlement.dropped(ready, "shutdown")

    def _write(self, records: list[Record]) -> bool:
        """Whether all of them are on disk now. Where there is little room, the oldest get it."""
        self._try_again()
        failed = self._settlement.spooled(records)
        if not failed or len(failed) == 1 or self._settlement.spool is None:
            return not failed
        middle = len(failed) // 2
        return self._write(failed[:middle]) and self._write(failed[middle:])

    def _try_again(self) -> None:
        """Whatever has failed before: there is no later."""
        if self._settlement.spool is not None:
            self._settlement.spool.try_again()


def _unclaimed(records: list[Record]) -> list[Record]:
    """Those that nobody has settled or is about to, each once."""
    return list(dict.fromkeys(record for record in records if not record.claimed))
