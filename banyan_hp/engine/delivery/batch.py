"""One batch, tried once: split into requests, and bisected where a request is refused as a whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ... import logs
from ..http.transport import Request
from ..records.record import Record
from .attempt import ENVELOPE_BYTES, Attempt, Group, Mode, Sender, bytes_of
from .consequences import Consequences, is_refused, lacks_endpoint
from .prepare import Preparer
from .settlement import Settlement
from .shared import Shared


class Delivery:
    """Sends groups of records and acts on the verdicts."""

    def __init__(
        self, shared: Shared, sender: Sender, settlement: Settlement, preparer: Preparer, max_batch_bytes: int
    ) -> None:
        self._lock = shared.lock
        self._breaker, self._batch_support, _, _, _ = shared.policies
        self._sender = sender
        self.ask_for_batches = sender.ask_for_batches
        self._consequences = Consequences(shared, settlement)
        self._preparer = preparer
        self._max_batch_bytes = max_batch_bytes
        self.reconfigured = self._consequences.reconfigured

    def deliver(self, records: Sequence[Record], deadline: float) -> Group:
        """Try the records once, splitting as needed, until `deadline` on the monotonic clock.

        Returns those that are not settled.
        """
        mode = self._mode(deadline)
        if mode.batches:
            groups = self._sender.separate(records)
            if len(groups) > 1:
                return self._deliver_apart(deque(groups), mode)
        return self._deliver_together(records, mode)

    def _deliver_apart(self, groups: deque[Sequence[Record]], mode: Mode) -> Group:
        """One after the other: no request can carry all of them."""
        left: Group = []
        while groups:
            failed = self._deliver_together(groups.popleft(), mode)
            left += failed
            if self._ends_here(failed):
                left.extend(record for waiting in groups for record in waiting)
                break
        return left

    def _ends_here(self, failed: Group) -> bool:
        """Whether the destination is to blame, so that nothing more is sent now."""
        return self._breaker.refusing or any(not (is_refused(r) or lacks_endpoint(r)) for r in failed)

    def _deliver_together(self, records: Sequence[Record], mode: Mode) -> Group:
        """Records that one request can carry, as they are known so far."""
        request = self._whole(records, mode) if mode.batches else None
        if request is None:
            return self._deliver_prepared(records, mode)
        _say(len(records), 1, mode)
        attempt = self._send(list(records), mode, request)
        if attempt.is_to_be_bisected:
            return self._deliver_prepared(records, mode, halved=True)
        return self._consequences.for_records(attempt)

    def _whole(self, records: Sequence[Record], mode: Mode) -> Request | None:
        """The request for a batch that is encoded as a whole, where nothing needs its records one by one."""
        values = self._preparer.together(records)
        return None if values is None else self._sender.whole(records, values, mode)

    def _deliver_prepared(self, records: Sequence[Record], mode: Mode, *, halved: bool = False) -> Group:
        """Encoded one by one; `halved`: they were refused as a whole."""
        ready = self._preparer.prepare(records, mode.deadline)
        if len(ready) < len(records):
            left: Group = [record for record in records if not record.claimed]
            if len(left) > len(ready):  # the end has come in the middle
                return left
        groups = deque(_halves(ready) if halved else self._split(ready, mode))
        _say(len(ready), len(groups), mode)
        left = []
        newest = False
        while groups:
            group = groups.pop() if newest else groups.popleft()
            group = [record for record in group if not record.claimed]
            if not group:
                continue
            failed = self._attempt(group, mode, groups)
            left += failed
            newest = bool(failed) and not newest  # bad ones at one end, good ones at the other
            if self._ends_here(failed):
                left.extend(record for waiting in groups for record in waiting)
                break
        return left

    def _split(self, records: Group, mode: Mode) -> list[Group]:
        """In requests; `before_send` may have changed what goes together."""
        if not mode.batches:
            return [[record] for record in records]
        return [group for part in self._sender.separate(records) for group in _split(list(part), mode)]

    def _mode(self, deadline: float) -> Mode:
        """One mode for all of a delivery: another thread may find out meanwhile that it has changed."""
        support = self._batch_support
        with self._lock:
            most_bytes = min(self._max_batch_bytes, support.byte_limit)
            return Mode(support.batches, support.compression.active, most_bytes, deadline)

    def _attempt(self, group: Group, mode: Mode, groups: deque[Group]) -> Group:
        """One request. Returns what is not settled; halves of what is refused as a whole join `groups`."""
        attempt = self._send(group, mode, self._sender.request(group, mode))
        if attempt.is_to_be_bisected:
            groups.extendleft(reversed(_halves(group)))  # down to one record first
            return []
        return self._consequences.for_records(attempt)

    def _send(self, group: Group, mode: Mode, request: Request) -> Attempt:
        attempt = self._sender.attempt(group, mode, request)
        if attempt.was_sent:
            self._consequences.for_destination(attempt, in_batches=mode.batches)
        return attempt


def _say(records: int, requests: int, mode: Mode) -> None:
    if logs.everything:
        logs.debug("sending %s: records=%d requests=%d", mode, records, requests)


def _halves(group: Group) -> list[Group]:
    middle = len(group) // 2
    return [group[:middle], group[middle:]]


def _split(records: Group, mode: Mode) -> list[Group]:
    """As many records a request as the destination takes, and as many bytes as allowed."""
    if bytes_of(records) <= mode.most_bytes:
        return [records]
    groups: list[Group] = []
    room = 0.0
    for record in records:
        size = len(record.body or b"") + ENVELOPE_BYTES
        if not groups or size > room:
            groups.append([])
            room = mode.most_bytes
        groups[-1].append(record)
        room -= size
    return groups
