"""One batch, tried once: who is delivered, who is refused, and who is to be tried again.

Bisects a batch that is refused as a whole. Whether a record that fails on its own is at fault, `Suspects`
decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import DeliveryError
from ...logs import suppressed, warn
from ..destination import Destination
from ..http.transport import NoResponse, Request, Response, Transport
from ..policy.classification import (
    accepts_some,
    all_delivered,
    has_conflict,
    is_to_be_bisected,
    may_be_the_record,
    reconsider,
    resolve_conflicts,
)
from ..policy.policies import Policies
from ..policy.suspects import POISON
from ..records.ledger import Term
from ..records.outcome import Outcome, Verdict
from ..records.record import Record
from .prepare import Preparer
from .settlement import Settlement
from .shared import Shared

_KEY_GOOD_SECONDS = 60.0
_ENVELOPE_BYTES = 128  # around each body of a batch, at the most

_FAILURES = (Outcome.RETRY, Outcome.HOLD_AUTH, Outcome.HOLD_CONFIG)  # the worst last
_REFUSALS = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE})
_CONFLICT = 409

Group = list[Record]


class How(NamedTuple):
    """How one delivery travels: settled at its beginning."""

    batches: bool
    compress: bool
    most_bytes: float
    deadline: float


class Delivery:
    """Sends groups of records and acts on the verdicts."""

    def __init__(
        self,
        shared: Shared,
        policies: Policies,
        destination: Destination,
        transport: Transport,
        settlement: Settlement,
        preparer: Preparer,
        max_batch_bytes: int,
    ) -> None:
        self._lock, self._clock, ledger = shared
        self._counters = ledger.counters
        self._breaker, self._batch_support, self._concurrency, self._suspects = policies
        self._destination = destination
        self._transport = transport
        self._settlement = settlement
        self._preparer = preparer
        self._max_batch_bytes = max_batch_bytes
        self._key_good_until = float("-inf")

    @property
    def transport(self) -> Transport:
        return self._transport

    def reconfigure(self, destination: Destination, transport: Transport) -> Transport:
        """From now on send there; returns the transport used so far."""
        with self._lock:
            old, self._transport = self._transport, transport
            self._destination = destination
            self._key_good_until = float("-inf")
        return old

    def deliver(self, records: Sequence[Record], *, probe: bool, deadline: float) -> Group:
        """Try the records once, splitting as needed. Returns those that are not settled.

        `probe` is what the gate said when this attempt began; `deadline` is on the monotonic clock.
        """
        try:
            return self._deliver(records, deadline)
        finally:
            self._end(probe=probe)

    def _end(self, *, probe: bool) -> None:
        with self._lock:
            self._breaker.end(probe=probe)
        if probe:
            self._settlement.wake()

    def _deliver(self, records: Sequence[Record], deadline: float) -> Group:
        with self._lock:  # one mode for all of it: another thread may find out meanwhile that it has changed
            most_bytes = min(self._max_batch_bytes, self._batch_support.byte_limit)
            compress = self._batch_support.compression.active
            how = How(self._batch_support.batches, compress, most_bytes, deadline)
        ready = self._preparer.prepare(records, deadline)
        if len(ready) < len(records):
            left: Group = [record for record in records if not record.claimed]
            if len(left) > len(ready):  # the end has come in the middle
                return left
        groups = deque(self._split(ready, how))
        left = []
        newest = False
        while groups:
            group = groups.pop() if newest else groups.popleft()
            group = [record for record in group if not record.claimed]
            if not group:
                continue
            verdicts = self._attempt(group, how)
            failed = self._act_on_verdicts(group, verdicts, groups)
            left += failed
            newest = bool(failed) and not newest  # bad ones at one end, good ones at the other
            if self._breaker.refusing or any(not _is_refused(record) for record in failed):
                left.extend(record for waiting in groups for record in waiting)
                break
        return left

    def ask_for_batches(self, *, probe: bool, deadline: float) -> None:
        """Send one empty batch to learn whether the destination takes batches. Changes nothing else."""
        try:
            self._ask_for_batches(deadline)
        finally:
            self._end(probe=probe)

    def _ask_for_batches(self, deadline: float) -> None:
        answer = self._send(self._destination.batch((), compress=False), deadline)
        now = self._clock.monotonic()
        if isinstance(answer, NoResponse):
            with self._lock:
                self._batch_support.learn_nothing(now)
            return
        batches, compress = self._destination.takes_batches(answer)
        with self._lock:
            self._batch_support.learn(answer.status, batches=batches, compress=compress, now=now)

    # -- one request ------------------------------------------------------------------------------------

    def _split(self, records: Group, how: How) -> list[Group]:
        """As many records a request as the destination takes, and as many bytes as allowed."""
        if not how.batches:
            return [[record] for record in records]
        if _bytes_of(records) <= how.most_bytes:
            return [records]
        groups: list[Group] = []
        room = 0.0
        for record in records:
            size = len(record.body or b"") + _ENVELOPE_BYTES
            if not groups or size > room:
                groups.append([])
                room = how.most_bytes
            groups[-1].append(record)
            room -= size
        return groups

    def _attempt(self, group: Group, how: How) -> list[Verdict]:
        """One request; a verdict for each record, or one for all."""
        request = (
            self._destination.batch(group, compress=how.compress)
            if how.batches
            else self._destination.single(group[0])
        )
        self._count_attempt(group)
        began = self._clock.monotonic()
        verdicts = self._verdicts(request, group, how)
        if request.goes_compressed:
            verdicts = self._plain_if_refused(request, verdicts, group, how)
        if has_conflict(verdicts) and not is_to_be_bisected(verdicts, len(group)):
            verdicts = resolve_conflicts(verdicts, [record.maybe_stored for record in group])
        verdicts = reconsider(verdicts, lambda: self._key_is_good(how.deadline))
        if not all_delivered(verdicts) and not is_to_be_bisected(verdicts, len(group)):
            _note(group, _for_each(verdicts, group))
        if not self._batches_are_gone(verdicts, how):
            self._update_breaker(verdicts, began, request, group)
        return verdicts

    def _verdicts(self, request: Request, group: Group, how: How) -> list[Verdict]:
        answer = self._send(request, how.deadline)
        if isinstance(answer, NoResponse):
            return [Verdict(Outcome.RETRY, answer.detail, reason=answer.reason)]
        if how.batches:
            return self._destination.verdicts(group, answer, self._clock.wall())
        return [self._destination.verdict(answer, self._clock.wall())]

    def _plain_if_refused(
        self, request: Request, verdicts: list[Verdict], group: Group, how: How
    ) -> list[Verdict]:
        """The same once more, not compressed, if something on the way may have refused the compression."""
        if accepts_some(verdicts):
            with self._lock:
                self._batch_support.compression.worked()
            return verdicts
        if not self._batch_support.compression.may_explain(verdicts):
            return verdicts
        again = self._verdicts(request._replace(compress=False), group, how)
        if accepts_some(again):
            self._compress_no_more(verdicts[0])
        return again

    def _compress_no_more(self, verdict: Verdict) -> None:
        with self._lock:
            is_new = self._batch_support.compression.refused()
        if is_new:
            where = self._destination.base_url
            warn(
                "compression",
                "%s refuses compressed requests (%d): from now on they are not compressed. It said: %s",
                where,
                verdict.status or 0,
                verdict.detail,
            )

    def _batches_are_gone(self, verdicts: list[Verdict], how: How) -> bool:
        """The batch endpoint itself is no longer there: that is no failure, the records go another way."""
        if not how.batches or len(verdicts) > 1:
            return False
        with self._lock:
            return self._batch_support.unlearn(verdicts[0].status)

    def _count_attempt(self, group: Group) -> None:
        again = False
        for record in group:
            again |= record.attempts > 0
            record.attempts += 1
        if again:
            with self._lock:
                self._counters.retries_attempted += 1

    def _send(self, request: Request, deadline: float) -> Response | NoResponse:
        began = self._clock.monotonic()
        with suppressed():
            answer = self._transport.send(request, deadline - began)
        with self._lock:
            self._counters.requests_sent += 1
            if isinstance(answer, Response):
                self._counters.bytes_sent += answer.sent_bytes
                self._concurrency.took(self._clock.monotonic() - began)
        return answer

    def _key_is_good(self, deadline: float) -> bool:
        now = self._clock.monotonic()
        if now < self._key_good_until:
            return True
        check = self._destination.key_check()
        if check is None:
            return self._suspects.refusals == 0 and self._breaker.state == "online"
        answer = self._send(check, deadline)
        good = isinstance(answer, Response) and answer.status == 200
        if good:
            self._key_good_until = now + _KEY_GOOD_SECONDS
        return good

    # -- what it means ----------------------------------------------------------------------------------

    def _update_breaker(self, verdicts: list[Verdict], began: float, request: Request, group: Group) -> None:
        """Any acceptance means that the destination is well; else the worst verdict counts."""
        outcomes = {verdict.outcome for verdict in verdicts}
        if Outcome.DELIVERED in outcomes:
            self._accepted(group)
        if Outcome.TOO_LARGE in outcomes and len(verdicts) == 1:
            with self._lock:
                self._try_less(group)
        for failure in _FAILURES:
            if failure in outcomes:
                worst = next(verdict for verdict in verdicts if verdict.outcome is failure)
                self._destination_failed(worst, began, request, group, whole=len(verdicts) == 1)

    def _accepted(self, group: Group) -> None:
        """The destination is well, and that says something of those that it did not accept."""
        with self._lock:
            now = self._clock.monotonic()
            was_open = self._breaker.is_open
            is_back = self._breaker.succeed(now)
            if self._batch_support.is_limited:
                self._batch_support.worked(len(group), _bytes_of(group))
            poison = self._suspects.accepted(now, group, is_back=was_open)
        if is_back:
            self._settlement.wake()
        for record in poison:
            verdict = record.verdict or Verdict(Outcome.RETRY)
            if self._put_aside(record, verdict._replace(reason=POISON)):
                self._report_refusal(record, verdict)
            elif record.term is Term.SPOOLED:  # else it is in a thread's hands
                with self._lock:
                    self._suspects.isolate(record, now)

    def _destination_failed(
        self, verdict: Verdict, began: float, request: Request, group: Group, *, whole: bool
    ) -> None:
        with self._lock:
            self._counters.attempts_failed += 1
            now = self._clock.monotonic()
            if not (whole and self._fails_on_its_own(verdict, group, now)):
                self._breaker.fail(verdict, began, now)
        self._report(verdict, request, group)

    def _fails_on_its_own(self, verdict: Verdict, group: Group, now: float) -> bool:
        """Whether it is the record that fails, not the destination. Call with the lock held."""
        if not may_be_the_record(verdict):
            return False
        self._try_less(group)
        return self._suspects.failed(group, now)

    def _try_less(self, group: Group) -> None:
        """A batch was too large, or one of its records was to blame. Call with the lock held."""
        if len(group) > 1 and group[0].attempts == 1:  # the rest of a batch that failed is in halves already
            self._batch_support.failed(len(group), _bytes_of(group))

    def _report(self, verdict: Verdict, request: Request, group: Sequence[Record]) -> None:
        status = f"{verdict.status} " if verdict.status is not None else ""
        message = f"{request.method} {request.url}: {status}{verdict.detail}".rstrip()
        self._settlement.failed(self._error(message, verdict, request.url, group))
        self._settlement.wake()
        warn(f"delivery {verdict.outcome.value}", "delivery failed (%s): %s", verdict.outcome.value, message)

    def _act_on_verdicts(self, group: Group, verdicts: list[Verdict], groups: deque[Group]) -> Group:
        """Settle what is decided, queue up halves of what was refused as a whole; returns what is not."""
        if is_to_be_bisected(verdicts, len(group)):
            middle = len(group) // 2
            groups.extendleft((group[middle:], group[:middle]))  # down to one record first
            return []
        if all_delivered(verdicts):
            self._settlement.delivered(group)
            return []
        verdicts = _for_each(verdicts, group)
        self._settlement.delivered(
            record for record, v in zip(group, verdicts, strict=True) if v.outcome is Outcome.DELIVERED
        )
        others = any(verdict.outcome is Outcome.DELIVERED for verdict in verdicts)
        left = []
        for record, verdict in zip(group, verdicts, strict=True):
            if verdict.outcome is not Outcome.DELIVERED and not self._refused(record, verdict, others):
                left.append(record)
        return left

    def _refused(self, record: Record, verdict: Verdict, accepts_others: bool) -> bool:
        """Quarantine a record that is at fault itself; False if it is to be kept and tried again."""
        if verdict.outcome not in _REFUSALS:
            return False
        known = _is_refused(record)
        at_fault = verdict.status == _CONFLICT or self._is_at_fault(record, verdict, accepts_others)
        if not known:
            self._report_refusal(record, verdict)
        return at_fault and self._put_aside(record, verdict)

    def _put_aside(self, record: Record, verdict: Verdict) -> bool:
        """False if the disk can't take it now: then it stays there, and rests until its next attempt."""
        if self._settlement.quarantined(record, verdict):
            return True
        with self._lock:
            self._suspects.quarantine_failed(record)
        return False

    def _is_at_fault(self, record: Record, verdict: Verdict, accepts_others: bool) -> bool:
        """Whether it is clear that the record is refused, and not everything that is sent."""
        with self._lock:
            if self._suspects.refused(record, beside_others=accepts_others):
                return True
            refusals, everything = self._suspects.refusals, self._suspects.everything_is_refused
            if (
                everything or self._breaker.is_open
            ):  # a probe that is refused: the next one comes in seconds, too
                self._breaker.refuse(self._clock.monotonic())
        if everything:
            self._settlement.wake()
            warn("refuses everything", "%d records refused in a row: %s", refusals, verdict.detail)
        return False

    def _report_refusal(self, record: Record, verdict: Verdict) -> None:
        message = f"record {record.id} refused: {verdict.detail}"
        error = self._error(message, verdict, self._destination.base_url, [record])
        self._settlement.failed(error, of_one_record=True)

    @staticmethod
    def _error(message: str, verdict: Verdict, url: str, group: Sequence[Record]) -> DeliveryError:
        return DeliveryError(
            message,
            reason=verdict.reason,
            status=verdict.status,
            url=url,
            retry_after=verdict.retry_after,
            record_ids=tuple(record.id for record in group[:100]),
        )


def _all_delivered(verdicts: list[Verdict]) -> bool:
    return len(verdicts) == 1 and verdicts[0].outcome is Outcome.DELIVERED


def _bytes_of(group: Group) -> int:
    """Of a batch, at the most."""
    return sum([len(record.body or b"") for record in group]) + _ENVELOPE_BYTES * len(group)


def _for_each(verdicts: list[Verdict], group: Group) -> list[Verdict]:
    """One verdict for a whole batch is that of each of its records."""
    return verdicts * len(group) if len(verdicts) == 1 else verdicts


def _is_refused(record: Record) -> bool:
    return record.history is not None and record.history.refused


def _note(group: Group, verdicts: list[Verdict]) -> None:
    """Keep what an attempt said of each record; one that was not refused may have been stored."""
    for record, verdict in zip(group, verdicts, strict=True):
        record.verdict = verdict
        if verdict.outcome not in _REFUSALS:
            record.maybe_stored = True
