"""An OpenTelemetry collector: OTLP over HTTP, as JSON or protobuf. Spans and scores go to two endpoints.

What a response means, beyond what the status says of any destination:

    2xx, `partialSuccess` rejects some   delivered; counted, and copies are kept: the same batch again would
                                         repeat those that were taken, and nobody says which were not
    2xx, `partialSuccess` rejects all    refused for good, with the collector's words
    400, 413                             one of the batch may be at fault: bisected
    other refusals                       all of the batch; nothing is gained by halves
    404, 405, 415, 501 of `/v1/logs`     the collector has no logs pipeline: scores wait for one, spans go on
    401, a redirect, a page there        likewise: the engine's `is_of_the_endpoint`

500 is retried, although the standard does not ask for that: collectors behind proxies send it in an outage.
An empty body, one in protobuf to a request in JSON, and `"partialSuccess": null` are success: collectors send
all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from .. import semconv
from .._version import __version__
from ..engine.http.response import Response
from ..engine.http.transport import Request, text_filter
from ..engine.policy.classification import outcome_of
from ..engine.policy.retry import parse_retry_after
from ..engine.records.encode import JSONValue
from ..engine.records.outcome import DISCARDED, Outcome, Verdict
from ..engine.records.record import Record
from ..text import as_text, json_object
from . import otlp_json, protobuf
from .banyan import USER_AGENT
from .collector import Collector
from .items import LogRecord, Span
from .scores import MARK, log_record_of, score_in
from .spans import span_count, spans_of

SCOPE = {"name": semconv.SCOPE, "version": __version__}
_JSON = "application/json"
_NOT_THERE = frozenset({404, 405, 415, 501})


class Format(Protocol):
    """One of the two encodings."""

    def traces(self, resource: Mapping[str, str], scope: Mapping[str, str], spans: Iterable[Span]) -> bytes:
        """A request for spans."""

    def logs(
        self, resource: Mapping[str, str], scope: Mapping[str, str], records: Iterable[LogRecord]
    ) -> bytes:
        """A request for log records."""


class OtlpDestination:
    """One collector, with one set of headers. Its records have the form of whichever client logged them."""

    may_batch = False
    takes_only_batches = True

    def __init__(self, collector: Collector) -> None:
        self.base_url = collector.traces.url
        self.key = collector.key
        self.identity: tuple[str, ...] = ("otlp", collector.traces.url, collector.service)
        self._collector = collector
        self._as_json = collector.protocol == "http/json"
        self._format: Format = otlp_json if self._as_json else protobuf
        if not self._as_json:
            protobuf.check_installed("otlp_protocol")
        own = {"Content-Type": _JSON if self._as_json else protobuf.TYPE, "User-Agent": USER_AGENT}
        self._headers = {False: {**own, **collector.traces.headers}, True: {**own, **collector.logs.headers}}
        self.clean = text_filter(self.base_url, {**self._headers[True], **self._headers[False]})

    @property
    def urls(self) -> Sequence[str]:
        return (self._collector.traces.url, self._collector.logs.url)

    # -- requests ---------------------------------------------------------------------------------------

    def separate(self, records: Sequence[Record]) -> Sequence[Sequence[Record]]:
        """Spans and scores."""
        scores = [record for record in records if _is_score(record)]
        if not scores or len(scores) == len(records):
            return (records,)
        ids = set(map(id, scores))
        return [record for record in records if id(record) not in ids], scores

    def single(self, record: Record) -> Request:
        return self.batch([record], compress=False)

    def batch(
        self, records: Sequence[Record], *, compress: bool, values: Sequence[JSONValue] | None = None
    ) -> Request:
        bodies = [_body(record) for record in records] if values is None else values
        kinds = {score_in(body) is not None for body in bodies}
        are_scores = True in kinds
        if len(kinds) > 1:
            raise ValueError("spans and scores go to two endpoints")
        signal = self._collector.logs if are_scores else self._collector.traces
        make = self._log_records if are_scores else self._spans
        return Request("POST", signal.url, self._headers[are_scores], make(records, bodies), compress)

    def _spans(self, records: Sequence[Record], bodies: Sequence[JSONValue]) -> bytes:
        spans = _spans(records, bodies, content=self._collector.content)
        resource = self._collector.resource
        return self._format.traces(resource, SCOPE, spans)

    def _log_records(self, records: Sequence[Record], bodies: Sequence[JSONValue]) -> bytes:
        content, resource = self._collector.content, self._collector.resource
        made = [
            log_record_of(record.id, record.time, body, score_in(body) or {}, content=content)
            for record, body in zip(records, bodies, strict=True)
        ]
        return self._format.logs(resource, SCOPE, made)

    def key_check(self) -> Request | None:
        """None: nothing checks a key without writing a span."""
        return None

    def takes_batches(self, _response: Response) -> tuple[bool, bool]:
        return True, True

    # -- responses --------------------------------------------------------------------------------------

    def verdict(self, response: Response, now: float) -> Verdict:
        return self._of_the_status(response, now)

    def verdicts(self, records: Sequence[Record], response: Response, now: float) -> list[Verdict]:
        verdict = self._of_the_status(response, now)
        are_scores = _is_score(records[0])
        if verdict.outcome is Outcome.DELIVERED:
            return self._of_a_success(records, response, verdict, are_scores=are_scores)
        if are_scores and response.status in _NOT_THERE:
            missing = verdict._replace(
                outcome=Outcome.NO_ENDPOINT, detail=f"{_NO_LOGS}: {verdict.detail}".rstrip(": ")
            )
            return [missing] * len(records)
        if verdict.outcome is Outcome.REFUSED and response.status != 400:
            return [verdict] * len(records)
        return [verdict]

    def _of_a_success(
        self, records: Sequence[Record], response: Response, verdict: Verdict, *, are_scores: bool
    ) -> list[Verdict]:
        refused, words = _partial_success(response)
        if refused <= 0:
            return [verdict]
        sent = len(records) if are_scores else sum(span_count(_body(record)) for record in records)
        if refused >= sent:
            return [_thrown_away(verdict, self.clean(words))] * len(records)
        return [verdict._replace(detail=self.clean(words), discarded=refused)]

    def _of_the_status(self, response: Response, now: float) -> Verdict:
        is_html = _is_html(response)
        status = 404 if response.status == 409 else response.status  # no record's id means anything there
        outcome = outcome_of(status, is_html=is_html, may_be_the_apis=not is_html, took_all=response.took_all)
        if outcome is None:
            return Verdict(Outcome.HOLD_CONFIG, _NOT_A_COLLECTOR, response.status, reason="bad_answer")
        if outcome is Outcome.DELIVERED:
            return Verdict(outcome, "", response.status)
        retry_after = parse_retry_after(response.headers.get("retry-after"), now)
        reason = outcome.value if outcome in (Outcome.REFUSED, Outcome.TOO_LARGE) else "status"
        words = _words(response) + (_TRY_PROTOBUF if response.status == 415 and self._as_json else "")
        return Verdict(outcome, self.clean(words), response.status, retry_after, reason)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"


_NO_LOGS = "the collector takes no scores, which go to its logs pipeline"
_NOT_A_COLLECTOR = "a page instead of a collector's response: a proxy or a login page is in the way"
_TRY_PROTOBUF = " (a collector that takes no JSON: set otlp_protocol='http/protobuf')"


def _body(record: Record) -> Mapping[str, Any]:
    """What a record holds, in whichever form."""
    value, encoded = record.value, record.body or record.raw
    if encoded is not None:
        value = json.loads(encoded)
    return value if isinstance(value, dict) else {}


def _is_score(record: Record) -> bool:
    encoded = record.body or record.raw
    if encoded is not None:
        return MARK in encoded and score_in(json.loads(encoded)) is not None
    return score_in(record.value) is not None


def _spans(records: Sequence[Record], bodies: Sequence[JSONValue], *, content: bool) -> Iterator[Span]:
    for record, body in zip(records, bodies, strict=True):
        try:
            yield from spans_of(record.id, record.time, body, content=content)
        except Exception:  # noqa: BLE001 - whatever a before_send made of it: the others must go on
            yield from spans_of(record.id, record.time, {"unreadable": body}, content=content)


def _thrown_away(verdict: Verdict, words: str) -> Verdict:
    """What was read and will not be kept, whoever sends it again."""
    return verdict._replace(outcome=Outcome.REFUSED, detail=words, reason=DISCARDED)


def _partial_success(response: Response) -> tuple[int, str]:
    """How many spans or log records were refused, and why. What can't be read is a full success."""
    try:
        if protobuf.TYPE in _content_type(response):
            return protobuf.partial_success(response.body)
        content = json.loads(response.body) if response.body.strip() else {}
        partial = content.get("partialSuccess") or {}
        refused = partial.get("rejectedSpans") or partial.get("rejectedLogRecords") or 0
        return int(refused), as_text(partial.get("errorMessage") or "")
    except (ValueError, OverflowError, TypeError, AttributeError, RecursionError):
        return 0, ""


def _words(response: Response) -> str:
    """A collector's reason: the message of its `Status`, or its text."""
    if protobuf.TYPE in _content_type(response):
        return protobuf.status_message(response.body)
    content = json_object(response.body)
    if content is not None:
        return as_text(content.get("message") or content.get("error") or content)
    return response.body.decode("utf-8", "replace")


def _is_html(response: Response) -> bool:
    return "html" in _content_type(response) or response.body.lstrip()[:1] == b"<"


def _content_type(response: Response) -> str:
    return response.headers.get("content-type", "").lower()
