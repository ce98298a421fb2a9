"""What an attempt means: for the destination's circuit breaker, and for each of the records.

Whether a record that fails on its own is at fault, `Suspects` decides.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...errors import DeliveryError
from ...logs import debug, debugging, say, warn
from ..policy.classification import all_delivered, may_be_the_record
from ..policy.suspects import POISON
from ..records.ledger import Term
from ..records.outcome import Outcome, Verdict
from ..records.record import Record
from .attempt import REFUSALS, Attempt, Group
from .settlement import Settlement
from .shared import Shared

_FAILURES = (Outcome.RETRY, Outcome.HOLD_AUTH, Outcome.HOLD_CONFIG)  # the worst last
_CONFLICT = 409
_TROUBLE = {
    "auth_error": "the backend refuses the API key; records are kept until it accepts one: %s",
    "misconfigured": "the base URL or the account is wrong; records are kept until it is right: %s",
    "offline": "the backend can't be reached, or fails; records are kept and sent when it is back: %s",
}
_NO_ENDPOINT = (
    "nothing takes records there: %s. What belongs there is kept until something does; all else is sent. "
    "health() says more"
)


class Consequences:
    """Draws them from one attempt after the other."""

    def __init__(self, shared: Shared, settlement: Settlement) -> None:
        self._lock, self._clock, ledger, policies, self._watchers = shared
        self._counters = ledger.counters
        self._breaker, self._batch_support, _, self._suspects, self._endpoints = policies
        self._settlement = settlement
        self._said = ""  # the trouble that was reported last, until the destination takes a record again

    def reconfigured(self) -> None:
        """Another key or address: its trouble is new."""
        self._said = ""

    # -- for the destination -----------------------------------------------------------------------------

    def for_destination(self, attempt: Attempt, *, in_batches: bool) -> None:
        """Any acceptance means that the destination works; otherwise the worst verdict counts."""
        if in_batches and attempt.whole:
            with self._lock:
                if self._batch_support.unlearn(attempt.verdicts[0].status):
                    return  # the batch endpoint is gone: that is no failure, the records go another way
        outcomes = {verdict.outcome for verdict in attempt.verdicts}
        if Outcome.DELIVERED in outcomes:
            self._accepted(attempt)
        elif any(verdict.is_final for verdict in attempt.verdicts):
            self._works(attempt)
        if Outcome.TOO_LARGE in outcomes and attempt.whole:
            with self._lock:
                self._make_batches_smaller(attempt)
        if Outcome.NO_ENDPOINT in outcomes:
            self._lacks_endpoint(attempt)
        for failure in _FAILURES:
            if failure in outcomes:
                worst = next(verdict for verdict in attempt.verdicts if verdict.outcome is failure)
                self._failed(worst, attempt)

    def _works(self, attempt: Attempt) -> None:
        """The destination read the records and threw all of them away: it is well."""
        if self._endpoints.any_missing:
            self._endpoint_works(attempt.request.url)
        with self._lock:
            is_back = self._breaker.succeed(self._clock.monotonic())
        if is_back:
            self._watchers.wake()
            self._report_recovery(attempt.base_url)

    def _accepted(self, attempt: Attempt) -> None:
        """The destination works, and that says something about the records that it did not accept."""
        if self._endpoints.any_missing:
            self._endpoint_works(attempt.request.url)
        group = attempt.group
        with self._lock:
            now = self._clock.monotonic()
            was_open = self._breaker.is_open
            is_back = self._breaker.succeed(now)
            if self._batch_support.is_limited:
                self._batch_support.worked(len(group), attempt.bytes)
            poison = self._suspects.accepted(now, group, is_back=was_open)
        if is_back:
            self._watchers.wake()
            self._report_recovery(attempt.base_url)
        for record in poison:
            verdict = record.verdict or Verdict(Outcome.RETRY)
            if self._quarantine(record, verdict._replace(reason=POISON)):
                self._report_refusal(record, verdict, attempt)
            elif record.term is Term.SPOOLED:  # else a thread is trying it
                with self._lock:
                    self._suspects.isolate(record, now)

    def _lacks_endpoint(self, attempt: Attempt) -> None:
        """Nothing takes what this request holds; that says nothing of other requests."""
        verdict, url = attempt.verdicts[0], attempt.request.url
        self._note_failure(verdict, attempt)
        with self._lock:
            self._counters.attempts_failed += 1
            is_new = self._endpoints.missing(url, verdict, self._clock.monotonic())
        self._watchers.wake()
        if is_new:
            warn(f"no endpoint {url}", _NO_ENDPOINT, _without_words(verdict, attempt))

    def _endpoint_works(self, url: str) -> None:
        """What was set aside for it may go."""
        with self._lock:
            is_new = self._endpoints.found(url)
        if is_new:
            self._settlement.bring_back()
            say(logging.INFO, "%s takes records now", url)

    def _failed(self, verdict: Verdict, attempt: Attempt) -> None:
        self._note_failure(verdict, attempt)  # first: whoever sees that the destination is unwell finds why
        with self._lock:
            self._counters.attempts_failed += 1
            now = self._clock.monotonic()
            if not (attempt.whole and self._fails_on_its_own(verdict, attempt, now)):
                self._breaker.fail(verdict, attempt.began, now)
            trouble = self._breaker.state if self._breaker.is_open and not self._breaker.refusing else ""
            delay = self._breaker.delay(now)
        self._watchers.wake()
        if trouble in _TROUBLE:
            self._report_trouble(
                trouble, attempt.base_url, _TROUBLE[trouble], _without_words(verdict, attempt)
            )
        if debugging():
            debug("the attempt failed (%s): %s", trouble or "will be retried", _wait_for(delay))

    def _fails_on_its_own(self, verdict: Verdict, attempt: Attempt, now: float) -> bool:
        """Whether the record fails, not the destination."""
        self._lock.assert_held()
        if not may_be_the_record(verdict):
            return False
        self._make_batches_smaller(attempt)
        return self._suspects.failed(attempt.group, now)

    def _make_batches_smaller(self, attempt: Attempt) -> None:
        """A batch was too large, or one of its records was to blame."""
        self._lock.assert_held()
        group = attempt.group
        if len(group) > 1 and group[0].attempts == 1:  # the rest of a batch that failed is in halves already
            self._batch_support.failed(len(group), attempt.bytes)

    def _note_failure(self, verdict: Verdict, attempt: Attempt) -> None:
        request = attempt.request
        status = f"{verdict.status} " if verdict.status is not None else ""
        message = f"{request.method} {request.url}: {status}{verdict.detail}".rstrip()
        error = _error(message, verdict, request.url, attempt.group)
        self._settlement.failed(error, _without_words(verdict, attempt))

    def _report_trouble(self, trouble: str, base_url: str, message: str, *args: object) -> None:
        """Once, until the destination takes a record again."""
        if trouble != self._said and warn(f"{trouble} {base_url}", message, *args):
            self._said = trouble

    def _report_recovery(self, base_url: str) -> None:
        if self._said:
            self._said = ""
            say(logging.INFO, "%s takes records again", base_url)

    # -- for the records ---------------------------------------------------------------------------------

    def for_records(self, attempt: Attempt) -> Group:
        """Settle the records whose end this is; returns the others."""
        if all_delivered(attempt.verdicts):
            if attempt.verdicts[0].discarded:
                self._settlement.note_discarded(attempt.group, attempt.verdicts[0])
            self._settlement.delivered(attempt.group)
            return []
        each = attempt.each()
        delivered = [record for record, verdict in each if verdict.outcome is Outcome.DELIVERED]
        self._settlement.delivered(delivered)
        left = []
        for record, verdict in each:
            if verdict.outcome is Outcome.DELIVERED:
                continue
            refused = verdict.outcome in REFUSALS
            if not (refused and self._refused(record, verdict, attempt, beside_others=bool(delivered))):
                left.append(record)
        return left

    def _refused(self, record: Record, verdict: Verdict, attempt: Attempt, *, beside_others: bool) -> bool:
        """Quarantine a record that is at fault itself; False if it is to be kept and tried again."""
        if not is_refused(record):  # first: whoever sees that everything seems refused finds why
            self._report_refusal(record, verdict, attempt)
        certain = verdict.is_final or verdict.status == _CONFLICT
        at_fault = certain or self._is_at_fault(record, attempt, beside_others)
        return at_fault and self._quarantine(record, verdict)

    def _quarantine(self, record: Record, verdict: Verdict) -> bool:
        """False if the disk can't take it now: then it stays there, isolated until its next attempt."""
        if self._settlement.quarantined(record, verdict):
            return True
        with self._lock:
            self._suspects.quarantine_failed(record)
        return False

    def _is_at_fault(self, record: Record, attempt: Attempt, beside_others: bool) -> bool:
        """Whether it is clear that the record is refused, and not everything that is sent."""
        with self._lock:
            if self._suspects.refused(record, beside_others=beside_others):
                return True
            refusals, everything = self._suspects.refusals, self._suspects.everything_is_refused
            if everything or self._breaker.is_open:  # after a refused probe the next comes in seconds, too
                self._breaker.refuse(self._clock.monotonic())
        if everything:
            self._watchers.wake()
            message = "%s refused %d records in a row; they are kept until it takes one. last_error says why"
            self._report_trouble("refuses everything", attempt.base_url, message, attempt.base_url, refusals)
        return False

    def _report_refusal(self, record: Record, verdict: Verdict, attempt: Attempt) -> None:
        message = f"record {record.id} refused: {verdict.detail}"
        self._settlement.failed(_error(message, verdict, attempt.base_url, [record]))


def _wait_for(delay: float) -> str:
    return f"the next one in {delay:.2f} s" if delay < float("inf") else "another thread tries it next"


def _without_words(verdict: Verdict, attempt: Attempt) -> str:
    """What failed. A backend's own words may repeat the record: they are in `last_error`."""
    why = f"status {verdict.status}" if verdict.status is not None else verdict.reason
    if verdict.status is None and verdict.reason in ("no_connection", "timeout"):
        why = verdict.detail
    return f"{attempt.request.method} {attempt.request.url}: {why}"


def lacks_endpoint(record: Record) -> bool:
    """Whether the last attempt found that nothing takes records of its kind."""
    return record.verdict is not None and record.verdict.outcome is Outcome.NO_ENDPOINT


def is_refused(record: Record) -> bool:
    """Whether the last attempt refused it."""
    return record.history is not None and record.history.refused


def _error(message: str, verdict: Verdict, url: str, group: Sequence[Record]) -> DeliveryError:
    return DeliveryError(
        message,
        reason=verdict.reason,
        status=verdict.status,
        url=url,
        retry_after=verdict.retry_after,
        record_ids=tuple(record.id for record in group[:100]),
    )
