"""The only place that decides what became of a record: delivered, spooled, quarantined or dropped.

A record is claimed once: whoever claims it first settles it. So shutdown can take a record from the hands
of a thread that hangs in a socket, and the late response is ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from ...errors import DeliveryError
from ...logs import warn
from ..records.ledger import Term
from ..records.outcome import Verdict
from ..records.record import Record, Waiter
from ..spool.spool import Spool
from ..spool.writer import is_on_disk, note_lost
from .callbacks import Notices
from .shared import Shared

_EPOCH: Callable[[Record], Any] = attrgetter("epoch")
Release = Callable[[list[Record]], None]
_PLACE, _TERM = attrgetter("place"), attrgetter("term")
_KEPT = {
    True: "it is in the quarantine, see `banyan-hp spool quarantine show`",
    False: "it is lost, as there is no disk to keep it on",
}


class DiskAccounts:
    """Keeps the ledger of what happens to records that are on disk only; see `spool.disk.Observer`."""

    def __init__(self, shared: Shared, notices: Notices) -> None:
        self._lock, _, self._ledger, _, self._watchers = shared
        self._notices = notices

    def adopted(self, count: int, damaged: int) -> None:
        with self._lock:
            self._ledger.adopted.accept(Term.SPOOLED, count)
            self._ledger.adopted.accept(Term.QUARANTINED, damaged)

    def handed_back(self, count: int) -> None:
        with self._lock:
            self._ledger.adopted.accept(Term.SPOOLED, -count)

    def damaged_on_disk(self, count: int, *, own: bool) -> None:
        with self._lock:
            self._ledger.book(own=own).shift(Term.SPOOLED, Term.QUARANTINED, count)
        self._watchers.wake()

    def lost_on_disk(self, count: int, reason: str, *, own: bool) -> None:
        with self._lock:
            book = self._ledger.book(own=own)
            book.shift(Term.SPOOLED, Term.DROPPED, count)
            if count:
                book.drops[reason] += count
                self._notices.dropped(reason, count)
        self._watchers.wake()

    def disk_failed(self) -> None:
        with self._lock:
            self._ledger.counters.spool_errors += 1


class Settlement:
    """Moves records to where they end, on disk first and in the ledger then."""

    def __init__(self, shared: Shared, notices: Notices, spool: Spool | None) -> None:
        self._lock, self._watchers = shared.lock, shared.watchers
        self._own, self._counters = shared.ledger.own, shared.ledger.counters
        self._suspects = shared.policies.suspects
        self._notices = notices
        self.spool = spool

    # -- ends -------------------------------------------------------------------------------------------

    def delivered(self, records: Iterable[Record]) -> None:
        mine = self._claim(records)
        with self._lock:
            last = self._account_delivered(mine) if len(mine) > 1 else self._account(mine, Term.DELIVERED)
        self._let_go(mine)
        if last:
            self._watchers.wake()

    def note_discarded(self, records: Sequence[Record], verdict: Verdict) -> None:
        """Some of these records were discarded where they arrived, nobody says which: keep copies of all."""
        kept = self.spool is not None and self.spool.keep_copies(records, verdict)
        where = "copies of all are beside the quarantine" if kept else "no copy could be kept"
        with self._lock:
            self._counters.discarded += verdict.discarded
            what = f"{verdict.discarded} of a batch of {len(records)} discarded: {verdict.detail}; {where}"
            self._notices.last_error = self._notices.last_discard = what
        message = "%d spans or scores in a batch of %d records were discarded where they arrived; %s"
        warn("discarded", message, verdict.discarded, len(records), where)

    def dropped(self, records: Iterable[Record], reason: str) -> None:
        self._end(self._claim(records), Term.DROPPED, reason)
        self._watchers.wake()

    def quarantined(self, record: Record, verdict: Verdict) -> bool:
        """Keep a refused record aside; where there is no disk to keep it on, it is dropped.

        Returns:
            False if it is on disk already and can't be put aside now: it stays where it is.
        """
        mine = self._claim([record])
        if not mine:
            return True
        kept = self.spool is not None and self.spool.quarantine(
            record, verdict.reason, verdict.status, verdict.detail
        )
        if not kept and is_on_disk(record):
            with self._lock:
                record.claimed = False
            return False
        with self._lock:
            what = f"record {record.id} quarantined ({verdict.reason}): {verdict.detail}"
            self._notices.last_error = self._notices.last_refusal = what
        self._end(mine, Term.QUARANTINED if kept else Term.DROPPED, verdict.reason)
        self._watchers.wake()
        warn("quarantine", "record %s is not delivered (%s): %s", record.id, verdict.reason, _KEPT[kept])
        return True

    def _end(self, records: list[Record], term: Term, reason: str = "") -> bool:
        """Account for claimed records and let them go. Returns whether a flush may wait for this."""
        with self._lock:
            last = self._account(records, term, reason)
        self._let_go(records)
        return last

    def _let_go(self, records: list[Record]) -> None:
        """They are settled: acknowledge what is on disk, notify waiters."""
        if self.spool is not None:
            on_disk = [record for record in records if record.place is not None]
            if on_disk:
                self.spool.acknowledge(on_disk)
        self._notify(records)

    # -- disk -------------------------------------------------------------------------------------------

    def spooled(
        self, records: Sequence[Record], *, in_order: bool = True, aside: bool = False
    ) -> list[Record]:
        """Leave encoded records to the disk. Returns those that the disk did not take, unclaimed again.

        `in_order` and `aside`: see `Spool.release`.

        Chunk by chunk: where the disk's cap is reached, what is written first can make room for the rest. A
        record that is longer than the cap is dropped: no room could be made for it.
        """
        spool = self.spool
        if spool is None:
            failed = [record for record in records if not record.claimed]
        else:
            too_long = [record for record in records if record.place is None and spool.is_too_large(record)]
            if too_long:
                self.dropped(too_long, "spool_full")
            chunks = spool.chunks(records)
            release = partial(spool.release, in_order=in_order, aside=aside)
            failed = [record for chunk in chunks for record in self._spooled(spool, chunk, release)]
        self._watchers.wake()
        return failed

    def _spooled(self, spool: Spool, records: Sequence[Record], release: Release) -> list[Record]:
        """One chunk. Interrupted (Ctrl-C), it leaves unclaimed what is not accounted for: try it again.

        What is accounted for is released, interrupted or not: until then this process does not read it back.
        """
        mine = [record for record in records if not record.claimed]
        kept: list[Record] = []
        try:
            mine = self._claim(mine)
            new = spool.missing(mine)
            failed = new[spool.append(new) :]
            lost = set(map(id, failed))
            kept = [record for record in mine if id(record) not in lost]
            with self._lock:
                self._account(kept, Term.SPOOLED)
                for record in kept:
                    if record.history is not None:
                        self._suspects.remember(record)
        finally:
            with self._lock:
                for record in mine:
                    record.claimed = record.settled
            release([record for record in kept if record.settled])
        self._notify(kept)
        return failed

    def bring_back(self, most: int | None = None) -> None:
        """Have this many of the records that are set aside sent, or all."""
        if self.spool is not None:
            self.spool.bring_back(most)

    def isolate(self, records: Sequence[Record]) -> None:
        """Suspects wait for their next attempt in memory and, where there is one, on disk."""
        mine = self._claim(records)
        try:
            failed = set(map(id, self._not_written(mine)))
        except BaseException:  # Ctrl-C: the caller still owns them
            for record in mine:
                record.claimed = False
            raise
        with self._lock:
            for record in mine:
                self._isolate(record, on_disk=id(record) not in failed)
        self._notify(mine)
        self._watchers.wake()

    def _isolate(self, record: Record, *, on_disk: bool) -> None:
        """Call with the lock held. To a flush a suspect that is in memory only counts as lost."""
        self._lock.assert_held()
        epoch, history = record.epoch, record.history
        if history is not None:
            history.isolated = True
            if on_disk:
                history.epoch = epoch or history.epoch
        if on_disk:
            self._account((record,), Term.SPOOLED)
        elif epoch is not None:
            record.epoch = None
            epoch.in_memory -= 1
            epoch.lost += 1
        record.claimed = False

    def _not_written(self, records: list[Record]) -> list[Record]:
        """Write what is not on disk yet; returns what could not be written."""
        spool = self.spool
        if spool is None:
            return records
        new = spool.missing(records)
        writable = [record for record in new if not spool.is_too_large(record)]
        written = set(map(id, writable[: spool.append(writable)]))
        return [record for record in new if id(record) not in written]

    # -- the ledger -------------------------------------------------------------------------------------

    def _claim(self, records: Iterable[Record]) -> list[Record]:
        with self._lock:
            mine = [record for record in records if not record.claimed]
            for record in mine:
                record.claimed = True
        return mine

    def _account(self, records: Iterable[Record], term: Term, reason: str = "") -> bool:
        """Call with the lock held. Returns whether one was its epoch's last in memory, or is on disk."""
        self._lock.assert_held()
        lost = term in (Term.DROPPED, Term.QUARANTINED)
        last = False
        for record in records:
            counts = record.book.counts
            counts[record.term] -= 1
            counts[term] += 1
            record.term = term
            record.value = None
            if term is Term.DROPPED:
                why = _refusal_of(record) or reason
                record.drop_reason = why
                record.book.drops[why] += 1
                self._notices.dropped(why, 1)
            epoch, record.epoch = record.epoch, None
            if epoch is not None:
                epoch.in_memory -= 1
                epoch.lost += lost
            elif lost:
                self._note_lost_on_disk(record)
            # On disk a flush counts by place, not by epoch: whether it is the last one is for it to find out.
            last = last or epoch is None or not epoch.in_memory or record.place is not None
        return last

    @staticmethod
    def _note_lost_on_disk(record: Record) -> None:
        """For flushes: a record that had left memory is lost after all."""
        if record.history is not None and record.history.epoch is not None:
            record.history.epoch.lost += 1
        else:
            note_lost(record)

    def _account_delivered(self, records: list[Record]) -> bool:
        """`_account` for delivered records: all of an epoch at once, unless some are or were on disk."""
        self._lock.assert_held()
        epochs = Counter(map(_EPOCH, records))
        if None in epochs or any(map(_PLACE, records)):
            return self._account(records, Term.DELIVERED)
        delivered = Term.DELIVERED
        for term, count in Counter(map(_TERM, records)).items():
            self._own.shift(term, delivered, count)
        for epoch, count in epochs.items():
            epoch.in_memory -= count
        for record in records:
            record.term = delivered
            record.epoch = record.value = None
        return not all(epoch.in_memory for epoch in epochs)

    def failed(self, error: DeliveryError, trouble: str = "") -> None:
        """An attempt failed, whatever becomes of its records; or one record was refused: see `Notices`."""
        with self._lock:
            self._notices.failed(error, trouble)

    def note_error(self, what: str) -> None:
        """An error that is not about delivery."""
        with self._lock:
            self._notices.last_error = what

    # -- waiters -----------------------------------------------------------------------------------------

    def _notify(self, settled: Iterable[Record]) -> None:
        for record in settled:
            for waiter in record.waiters:
                waiter.settled(record)

    def add_waiter(self, record: Record, waiter: Waiter) -> None:
        """A waiter for a record that may have one already."""
        with self._lock:
            if not record.is_first(waiter) and waiter not in record.waiters:
                record.waiters += (waiter,)

    def remove_waiter(self, record: Record, waiter: Waiter) -> None:
        """Who asks again and again whether a record has settled must not leave a waiter each time."""
        with self._lock:
            others = tuple(each for each in record.waiters if each is not waiter)
            if others:
                record.waiters = others
            else:
                record.__dict__.pop("waiters", None)


def _refusal_of(record: Record) -> str:
    """Why a record is lost that was refused, and only kept until that would be certain."""
    refused = record.history is not None and record.history.refused and record.verdict is not None
    return record.verdict.reason if refused and record.verdict is not None else ""
