"""One batch, tried once: who is delivered, who is refused, and who is to be tried again.

Bisects a batch that is refused as a whole, and tells a refused record from a backend that refuses
everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DeliveryError
from ..logs import unheard, warn
from .batching import Batching
from .clock import Clock
from .destination import Destination
from .gate import Gate
from .guard import Guard
from .ledger import Counters
from .pace import Pace
from .records import Record
from .retry import Outcome, Verdict
from .settlement import Settlement
from .transport import NoAnswer, Request, Response, Transport

if TYPE_CHECKING:
    from .preparing import Preparer

REFUSALS_IN_A_ROW = 5  # so many without an acceptance between them: it is the backend, not the records
_KEY_GOOD_SECONDS = 60.0
_ENVELOPE_BYTES = 128  # around each body of a batch, at the most

_HOLDS = frozenset({Outcome.HOLD_AUTH, Outcome.HOLD_CONFIG})
_REFUSALS = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE})

Group = list[Record]


class How(NamedTuple):
    """How one delivery travels: settled at its beginning."""

    batches: bool
    compress: bool
    deadline: float


class Delivery:
    """Sends groups of records and acts on the verdicts."""

    def __init__(
        self,
        guard: Guard,
        clock: Clock,
        counters: Counters,
        gate: Gate,
        batching: Batching,
        pace: Pace,
        destination: Destination,
        transport: Transport,
        settlement: Settlement,
        preparer: Preparer,
        max_batch_bytes: int,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._counters = counters
        self._gate = gate
        self._batching = batching
        self._pace = pace
        self._destination = destination
        self._transport = transport
        self._settlement = settlement
        self._preparer = preparer
        self._max_batch_bytes = max_batch_bytes
        self._refusals = 0
        self._key_good_until = float("-inf")

    @property
    def transport(self) -> Transport:
        return self._transport

    def turn_to(self, destination: Destination, transport: Transport) -> Transport:
        """From now on send there; returns the transport used so far."""
        with self._guard:
            old, self._transport = self._transport, transport
            self._destination = destination
            self._key_good_until = float("-inf")
        return old

    def deliver(self, records: Sequence[Record], *, probe: bool, deadline: float) -> Group:
        """Try the records once, splitting as needed. Returns those that are neither settled nor refused.

        `probe` is what the gate said when this attempt began; `deadline` is on the monotonic clock.
        """
        try:
            return self._deliver(records, deadline)
        finally:
            self._end(probe=probe)

    def _end(self, *, probe: bool) -> None:
        with self._guard:
            self._gate.end(probe=probe)
        if probe:
            self._settlement.ring()

    def _deliver(self, records: Sequence[Record], deadline: float) -> Group:
        with self._guard:  # one mode for all of it: another thread may find out meanwhile that it has changed
            how = How(self._batching.batches, self._batching.compress, deadline)
        ready = self._preparer.prepare(records, deadline)
        if len(ready) < len(records):
            left: Group = [record for record in records if not record.claimed]
            if len(left) > len(ready):  # the end has come in the middle
                return left
        groups = deque(self._split(ready, how))
        left = []
        while groups:
            group = [record for record in groups.popleft() if not record.claimed]
            if not group:
                continue
            verdicts = self._attempt(group, how)
            left += self._act(group, verdicts, groups)
            if left:
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
        if isinstance(answer, NoAnswer):
            with self._guard:
                self._batching.learn_nothing(now)
            return
        batches, compress = self._destination.takes_batches(answer)
        with self._guard:
            self._batching.learn(answer, batches=batches, compress=compress, now=now)

    # -- one request ------------------------------------------------------------------------------------

    def _split(self, records: Group, how: How) -> list[Group]:
        """As many records a request as the destination takes, and as many bytes as allowed."""
        if not how.batches:
            return [[record] for record in records]
        bodies = sum([len(record.body or b"") for record in records])
        if bodies + _ENVELOPE_BYTES * len(records) <= self._max_batch_bytes:
            return [records]
        groups: list[Group] = []
        room = 0
        for record in records:
            size = len(record.body or b"") + _ENVELOPE_BYTES
            if not groups or size > room:
                groups.append([])
                room = self._max_batch_bytes
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
        answer = self._send(request, how.deadline)
        if isinstance(answer, NoAnswer):
            verdicts = [Verdict(Outcome.RETRY, answer.detail, reason=answer.reason)]
        elif how.batches:
            verdicts = self._destination.verdicts(group, answer, self._clock.wall())
        else:
            verdicts = [self._destination.verdict(answer, self._clock.wall())]
        verdicts = self._reconsidered(verdicts, how.deadline)
        if not _all_delivered(verdicts):
            for record, verdict in zip(group, _for_each(verdicts, group), strict=True):
                record.verdict = verdict
        if not self._batches_are_gone(verdicts, how):
            self._tell_gate(verdicts, began, request, group)
        return verdicts

    def _batches_are_gone(self, verdicts: list[Verdict], how: How) -> bool:
        """The batch endpoint itself is no longer there: that is no failure, the records go another way."""
        if not how.batches or len(verdicts) > 1:
            return False
        with self._guard:
            return self._batching.unlearn(verdicts[0].status)

    def _count_attempt(self, group: Group) -> None:
        again = False
        for record in group:
            again |= record.attempts > 0
            record.attempts += 1
        if again:
            with self._guard:
                self._counters.retries_attempted += 1

    def _send(self, request: Request, deadline: float) -> Response | NoAnswer:
        began = self._clock.monotonic()
        with unheard():
            answer = self._transport.send(request, deadline - began)
        with self._guard:
            self._counters.requests_sent += 1
            if isinstance(answer, Response):
                self._counters.bytes_sent += answer.sent_bytes
                self._pace.took(self._clock.monotonic() - began)
        return answer

    def _reconsidered(self, verdicts: list[Verdict], deadline: float) -> list[Verdict]:
        """What looks like a wrong key or address is a refusal of that record, where others are accepted.

        So is a 403 with a key that is valid: firewalls block bodies that hold SQL.
        """
        if _all_delivered(verdicts):
            return verdicts
        accepted = any(verdict.outcome is Outcome.DELIVERED for verdict in verdicts)
        return [
            Verdict(Outcome.REFUSED, verdict.detail, verdict.status, reason="forbidden")
            if verdict.outcome in _HOLDS and (accepted or self._is_a_firewall(verdict, deadline))
            else verdict
            for verdict in verdicts
        ]

    def _is_a_firewall(self, verdict: Verdict, deadline: float) -> bool:
        return verdict.status == 403 and self._key_is_good(deadline)

    def _key_is_good(self, deadline: float) -> bool:
        now = self._clock.monotonic()
        if now < self._key_good_until:
            return True
        check = self._destination.key_check()
        if check is None:
            return self._refusals == 0 and self._gate.state == "online"
        answer = self._send(check, deadline)
        good = isinstance(answer, Response) and answer.status == 200
        if good:
            self._key_good_until = now + _KEY_GOOD_SECONDS
        return good

    # -- what it means ----------------------------------------------------------------------------------

    def _tell_gate(self, verdicts: list[Verdict], began: float, request: Request, group: Group) -> None:
        """Any acceptance means that the destination is well; else the worst verdict counts."""
        outcomes = {verdict.outcome for verdict in verdicts}
        if Outcome.DELIVERED in outcomes:
            with self._guard:
                self._refusals = 0
                is_back = self._gate.succeed(self._clock.monotonic())
            if is_back:
                self._settlement.ring()
        if Outcome.RETRY in outcomes:
            worst = next(verdict for verdict in verdicts if verdict.outcome is Outcome.RETRY)
            self._destination_failed(worst, began, request, group)
        for hold in outcomes & _HOLDS:
            worst = next(verdict for verdict in verdicts if verdict.outcome is hold)
            self._destination_misused(worst, request, group)

    def _destination_failed(
        self, verdict: Verdict, began: float, request: Request, group: Sequence[Record]
    ) -> None:
        with self._guard:
            self._counters.attempts_failed += 1
            self._gate.fail(verdict, began, self._clock.monotonic())
        self._report(verdict, request, group)

    def _destination_misused(self, verdict: Verdict, request: Request, group: Sequence[Record]) -> None:
        with self._guard:
            self._counters.attempts_failed += 1
            self._gate.hold(verdict.outcome, self._clock.monotonic())
        self._report(verdict, request, group)

    def _report(self, verdict: Verdict, request: Request, group: Sequence[Record]) -> None:
        status = f"{verdict.status} " if verdict.status is not None else ""
        message = f"{request.method} {request.url}: {status}{verdict.detail}".rstrip()
        self._tell_on_error(message, verdict, request.url, group)
        self._settlement.ring()
        warn(f"delivery {verdict.outcome.value}", "delivery failed (%s): %s", verdict.outcome.value, message)

    def _act(self, group: Group, verdicts: list[Verdict], groups: deque[Group]) -> Group:
        """Settle what is decided, queue up halves of what was refused as a whole; returns what is not."""
        if len(verdicts) == 1 and len(group) > 1 and verdicts[0].outcome in _REFUSALS:
            middle = len(group) // 2
            groups.extend((group[:middle], group[middle:]))
            return []
        if _all_delivered(verdicts):
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
        """Quarantine a record that is itself refused; False if it is to be kept and tried again."""
        if verdict.outcome not in _REFUSALS:
            return False
        if not accepts_others and self._refuses_everything(verdict):
            return False
        self._settlement.quarantined(record, verdict)
        message = f"record {record.id} refused: {verdict.detail}"
        self._tell_on_error(message, verdict, self._destination.base_url, [record])
        return True

    def _refuses_everything(self, verdict: Verdict) -> bool:
        with self._guard:
            self._refusals += 1
            if self._refusals < REFUSALS_IN_A_ROW:
                return False
            self._gate.hold(Outcome.HOLD_CONFIG, self._clock.monotonic())
        warn("refuses everything", "%d records refused in a row: %s", self._refusals, verdict.detail)
        return True

    def _tell_on_error(self, message: str, verdict: Verdict, url: str, group: Sequence[Record]) -> None:
        error = DeliveryError(
            message,
            reason=verdict.reason,
            status=verdict.status,
            url=url,
            retry_after=verdict.retry_after,
            record_ids=tuple(record.id for record in group[:100]),
        )
        self._settlement.failed(error)


def _all_delivered(verdicts: list[Verdict]) -> bool:
    return len(verdicts) == 1 and verdicts[0].outcome is Outcome.DELIVERED


def _for_each(verdicts: list[Verdict], group: Group) -> list[Verdict]:
    """One verdict for a whole batch is that of each of its records."""
    return verdicts * len(group) if len(verdicts) == 1 else verdicts
