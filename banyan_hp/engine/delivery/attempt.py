"""One request: how it travels, and what the response says about each of its records."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import urlsplit

from ...logs import suppressed, warn
from ..destination import Destination
from ..http.response import Response
from ..http.transport import NoResponse, Request, Transport
from ..policy.classification import (
    accepts_some,
    all_delivered,
    has_conflict,
    is_of_the_endpoint,
    is_to_be_bisected,
    reconsider,
    resolve_conflicts,
)
from ..records.encode import JSONValue
from ..records.outcome import Outcome, Verdict
from ..records.record import Record
from .shared import Shared

ENVELOPE_BYTES = 128  # around each body of a batch, at the most
REFUSALS = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE})
_KEY_GOOD_SECONDS = 60.0
_ATTEMPTS = attrgetter("attempts")

Group = list[Record]


def bytes_of(group: Group) -> int:
    """Of a batch, at the most."""
    return sum([len(record.body or b"") for record in group]) + ENVELOPE_BYTES * len(group)


class Mode(NamedTuple):
    """How one delivery travels, fixed at its beginning."""

    batches: bool
    compress: bool
    most_bytes: float
    deadline: float

    def __str__(self) -> str:
        compressed = ", compressed" if self.compress else ""
        return f"as batches{compressed}" if self.batches else "of one record each"


class Attempt(NamedTuple):
    """A request that is over: what was sent and what came of it."""

    group: Group
    request: Request
    began: float  # on the monotonic clock
    verdicts: list[Verdict]  # one for each record of the group, or one for all of them
    base_url: str  # of the destination
    was_sent: bool = True

    @property
    def is_to_be_bisected(self) -> bool:
        return is_to_be_bisected(self.verdicts, len(self.group))

    @property
    def bytes(self) -> int:
        return len(self.request.body)

    @property
    def whole(self) -> bool:
        """Whether there is one verdict for all records."""
        return len(self.verdicts) == 1

    def each(self) -> list[tuple[Record, Verdict]]:
        return list(zip(self.group, _for_each(self.verdicts, self.group), strict=True))


class Sender:
    """Sends requests to one destination, one at a time for each calling thread."""

    def __init__(self, shared: Shared, destination: Destination, transport: Transport) -> None:
        self._lock, self._clock, ledger, policies, _ = shared
        self._counters = ledger.counters
        self._breaker, self._batch_support, self._concurrency, self._suspects, self._endpoints = policies
        self._destination = destination
        self.transport = transport
        self._key_good_until = float("-inf")

    def reconfigure(self, destination: Destination, transport: Transport) -> None:
        with self._lock:
            old, self.transport = self.transport, transport
            self._destination = destination
            self._key_good_until = float("-inf")
        old.close()

    def ask_for_batches(self, deadline: float) -> None:
        response = self._send(self._destination.batch((), compress=False), deadline)
        now = self._clock.monotonic()
        if isinstance(response, NoResponse):
            with self._lock:
                self._batch_support.learn_nothing(now)
            return
        batches, compress = self._destination.takes_batches(response)
        with self._lock:
            self._batch_support.learn(response.status, batches=batches, compress=compress, now=now)

    def separate(self, records: Sequence[Record]) -> Sequence[Sequence[Record]]:
        """In groups that one request can carry."""
        return self._destination.separate(records)

    def request(self, group: Group, mode: Mode) -> Request:
        """For records that are encoded."""
        if mode.batches:
            return self._destination.batch(group, compress=mode.compress)
        return self._destination.single(group[0])

    def whole(self, records: Sequence[Record], values: list[JSONValue], mode: Mode) -> Request | None:
        """For a batch that is encoded as a whole. None if it can't be, or is too large: one record may be."""
        try:
            request = self._destination.batch(records, compress=mode.compress, values=values)
        except (TypeError, ValueError, RecursionError):
            return None
        return request if len(request.body) <= mode.most_bytes else None

    def attempt(self, group: Group, mode: Mode, request: Request) -> Attempt:
        """Send the request. What the response says about each record is noted there, too."""
        self._count_attempt(group)
        began = self._clock.monotonic()
        if self._endpoints.any_missing:
            with self._lock:
                known = self._endpoints.not_before(request.url, began)
            if known is not None:
                return self._not_sent(group, request, began, known)
        verdicts = self._verdicts(request, group, mode)
        if request.goes_compressed:
            verdicts = self._plain_if_refused(request, verdicts, group, mode)
        if not all_delivered(verdicts):
            if self._fails_alone(request.url, verdicts):
                verdicts = [verdicts[0]._replace(outcome=Outcome.NO_ENDPOINT)] * len(group)
            verdicts = self._corrected(verdicts, group, mode.deadline)
        return Attempt(group, request, began, verdicts, self._destination.base_url)

    def _fails_alone(self, url: str, verdicts: list[Verdict]) -> bool:
        """Whether it is a failure of this endpoint, and says nothing of the destination's first one."""
        first, *others = self._destination.urls
        if url not in others:
            return False
        same_host = urlsplit(url).netloc == urlsplit(first).netloc
        return any(is_of_the_endpoint(verdict, same_host=same_host) for verdict in verdicts)

    def _not_sent(self, group: Group, request: Request, began: float, known: Verdict) -> Attempt:
        """It would come to what came of another one shortly before."""
        verdicts = [known] * len(group)
        _note(group, verdicts)
        return Attempt(group, request, began, verdicts, self._destination.base_url, was_sent=False)

    def _count_attempt(self, group: Group) -> None:
        again = any(map(_ATTEMPTS, group))
        for record in group:
            record.attempts += 1
        if again:
            with self._lock:
                self._counters.retries_attempted += 1

    def _verdicts(self, request: Request, group: Group, mode: Mode) -> list[Verdict]:
        response = self._send(request, mode.deadline)
        if isinstance(response, NoResponse):
            return [Verdict(Outcome.RETRY, response.detail, reason=response.reason)]
        if mode.batches:
            return self._destination.verdicts(group, response, self._clock.wall())
        return [self._destination.verdict(response, self._clock.wall())]

    def _send(self, request: Request, deadline: float) -> Response | NoResponse:
        began = self._clock.monotonic()
        with suppressed():
            response = self.transport.send(request, deadline - began)
        with self._lock:
            self._counters.requests_sent += 1
            if isinstance(response, Response):
                self._counters.bytes_sent += response.sent_bytes
                self._breaker.last_response = now = self._clock.monotonic()
                self._concurrency.took(now - began)
        return response

    # -- where compression is refused --------------------------------------------------------------------

    def _plain_if_refused(
        self, request: Request, verdicts: list[Verdict], group: Group, mode: Mode
    ) -> list[Verdict]:
        """The same once more, not compressed, if something on the way may have refused the compression."""
        compression = self._batch_support.compression
        if accepts_some(verdicts):
            with self._lock:
                compression.worked()
            return verdicts
        if not compression.may_explain(verdicts):
            return verdicts
        again = self._verdicts(request._replace(compress=False), group, mode)
        if accepts_some(again):
            self._compress_no_more(verdicts[0])
        return again

    def _compress_no_more(self, verdict: Verdict) -> None:
        with self._lock:
            is_new = self._batch_support.compression.refused()
        if is_new:
            warn(
                "compression",
                "%s refuses compressed requests (%d): from now on they are not compressed. It said: %s",
                self._destination.base_url,
                verdict.status or 0,
                verdict.detail,
            )

    # -- what only a client knows ------------------------------------------------------------------------

    def _corrected(self, verdicts: list[Verdict], group: Group, deadline: float) -> list[Verdict]:
        """By earlier attempts, by what else is accepted, and by whether the key is valid."""
        bisected = is_to_be_bisected(verdicts, len(group))
        if has_conflict(verdicts) and not bisected:
            verdicts = resolve_conflicts(verdicts, [record.maybe_stored for record in group])
        verdicts = reconsider(verdicts, lambda: self._key_is_good(deadline))
        if not all_delivered(verdicts) and not is_to_be_bisected(verdicts, len(group)):
            _note(group, _for_each(verdicts, group))
        return verdicts

    def _key_is_good(self, deadline: float) -> bool:
        now = self._clock.monotonic()
        if now < self._key_good_until:
            return True
        check = self._destination.key_check()
        if check is None:
            return self._suspects.refusals == 0 and self._breaker.state == "online"
        response = self._send(check, deadline)
        good = isinstance(response, Response) and response.status == 200
        if good:
            self._key_good_until = now + _KEY_GOOD_SECONDS
        return good


def _for_each(verdicts: list[Verdict], group: Group) -> list[Verdict]:
    """One verdict for a whole batch is that of each of its records."""
    return verdicts * len(group) if len(verdicts) == 1 else verdicts


def _note(group: Group, verdicts: list[Verdict]) -> None:
    """Keep what the attempt says of each record; one that was not refused may have been stored."""
    for record, verdict in zip(group, verdicts, strict=True):
        record.verdict = verdict
        if verdict.outcome not in REFUSALS:
            record.maybe_stored = True
