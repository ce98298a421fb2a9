"""The batch format that both backends' batch endpoints share, and how every response is read.

A batch is ``{"records": [{"id", "ts", "body"}, …]}``; the response is ``{"accepted": N}`` for all, or
``{"results": [{"id", "status", "error"?}, …]}``. A batch without records asks whether batches are accepted:
``{"accepted": 0}`` says yes, ``"gzip": true`` beside it that they may be compressed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..engine.http.response import Response
from ..engine.http.transport import Request, text_filter
from ..engine.policy.classification import ID_CONFLICT, classify, outcome_of, unless_id_conflict
from ..engine.policy.retry import parse_retry_after
from ..engine.records.encode import JSONValue, encode, encode_together, event_time
from ..engine.records.outcome import Outcome, Verdict
from ..engine.records.record import Record
from ..text import as_text

_RECORDS_OWN = (Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.CONFLICT)


class EnvelopeDestination:
    """What the two destinations share: single records with id and time in headers, batches in the envelope.

    The batch endpoint is the single one's path and ``/batch``.
    """

    hosted: frozenset[str | None]
    single_path: str
    takes_only_batches = False

    def __init__(self, base_url: str, api_key: str, headers: Mapping[str, str]) -> None:
        self.base_url = base_url
        self.key = api_key
        self.clean = text_filter(base_url, headers)
        self.identity: tuple[str, ...] = ()
        self.may_batch = urlsplit(base_url).hostname not in self.hosted
        self._headers = MappingProxyType(dict(headers))

    @property
    def urls(self) -> Sequence[str]:
        return (self.base_url,)

    def separate(self, records: Sequence[Record]) -> Sequence[Sequence[Record]]:
        return (records,)

    def single(self, record: Record) -> Request:
        headers = {**self._headers, "Idempotency-Key": record.id, "X-Event-Time": event_time(record.time)}
        return Request("POST", self.base_url + self.single_path, headers, record.body or b"")

    def batch(
        self, records: Sequence[Record], *, compress: bool, values: Sequence[JSONValue] | None = None
    ) -> Request:
        url = f"{self.base_url}{self.single_path}/batch"
        body = batch_body(records) if values is None else batch_body_of_values(records, values)
        return Request("POST", url, self._headers, body, compress)

    def verdict(self, response: Response, now: float) -> Verdict:
        return self._cleaned(verdict(response, now))

    def verdicts(self, records: Sequence[Record], response: Response, now: float) -> list[Verdict]:
        return [self._cleaned(each) for each in verdicts(records, response, now)]

    def _cleaned(self, verdict: Verdict) -> Verdict:
        """The backend's words end up in logs and on disk."""
        return verdict._replace(detail=self.clean(verdict.detail)) if verdict.detail else verdict

    def takes_batches(self, response: Response) -> tuple[bool, bool]:
        return takes_batches(response)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"


def batch_body(records: Sequence[Record]) -> bytes:
    """The envelope around bodies that are encoded already."""
    return _around(records, [record.body or b"null" for record in records])


def batch_body_of_values(records: Sequence[Record], values: Sequence[JSONValue]) -> bytes:
    """The same bytes, made of what the records hold. Raises like the encoder."""
    if encode_together is None:
        return _around(records, map(encode, values))
    envelopes = [
        {"id": record.id, "ts": event_time(record.time), "body": value}
        for record, value in zip(records, values, strict=True)
    ]
    return encode_together({"records": envelopes})


def _around(records: Sequence[Record], bodies: Iterable[bytes]) -> bytes:
    """In pieces: each body is copied once."""
    pieces = [b'{"records":[']
    for record, body in zip(records, bodies, strict=True):
        head = f'{{"id":{encode_basestring_ascii(record.id)},"ts":"{event_time(record.time)}","body":'
        pieces += (head.encode("ascii"), body, b"},")
    pieces[-1] = b"}]}" if records else b'{"records":[]}'
    return b"".join(pieces)


def takes_batches(response: Response) -> tuple[bool, bool]:
    """By the response to an empty batch: whether batches are accepted, and whether compressed."""
    content = _json_object(response)
    if not 200 <= response.status < 300 or content.get("accepted") != 0 or content.get("accepted") is False:
        return False, False
    return True, content.get("gzip") is True


def verdict(response: Response, now: float) -> Verdict:
    """What a response means for the record, or the whole batch, that was sent."""
    outcome = _outcome(response)
    if outcome is None:
        return Verdict(Outcome.HOLD_CONFIG, _what_came(response), response.status, reason="bad_answer")
    retry_after = parse_retry_after(response.headers.get("retry-after"), now)
    words = "" if outcome is Outcome.DELIVERED else error_text(response)
    verdict = Verdict(outcome, words, response.status, retry_after, _reason(outcome))
    return unless_id_conflict(verdict, says_so=ID_CONFLICT.encode() in response.body)


def _outcome(response: Response) -> Outcome | None:
    """None for a response that is not the API's."""
    if 200 <= response.status < 300:
        return outcome_of(response.status, is_html=_is_html(response))
    return outcome_of(
        response.status,
        is_html=_is_html(response),
        is_json=_is_json(response),
        may_be_the_apis=_may_be_the_apis(response),
        took_all=response.took_all,
    )


def verdicts(records: Sequence[Record], response: Response, now: float) -> list[Verdict]:
    """What a batch's response means: a verdict for each record, or one for all."""
    whole = verdict(response, now)
    if whole.outcome is not Outcome.DELIVERED:
        return [whole]
    content = _json_object(response)
    accepted = content.get("accepted")
    if accepted == len(records) and not isinstance(accepted, bool):
        return [whole]
    results = content.get("results")
    if not isinstance(results, list):
        detail = "the response to a batch has neither 'accepted' (all of them) nor 'results'"
        return [Verdict(Outcome.HOLD_CONFIG, detail, response.status, reason="bad_answer")]
    if _all_accepted(records, results):
        return [whole]
    by_id = {result["id"]: result for result in results if _names_a_record(result)}
    if len(by_id) < len(results):
        found = _each_its_own(records, results)
    else:
        found = [by_id.get(record.id) for record in records]
    return [_result_verdict(result, whole.retry_after) for result in found]


def _all_accepted(records: Sequence[Record], results: list[Any]) -> bool:
    """Whether these are the records' ids, in their order, each accepted: what most responses say."""
    try:
        ids = [result["id"] for result in results]
        statuses = {result["status"] for result in results}
    except (TypeError, KeyError):
        return False
    accepted = all(type(status) is int and 200 <= status < 300 for status in statuses)
    return accepted and ids == [record.id for record in records]


def _each_its_own(records: Sequence[Record], results: list[Any]) -> list[Any]:
    """The result of each record. An id that several have has one for each, in their order."""
    by_id: dict[str, list[Any]] = {}
    for result in reversed(results):
        if _names_a_record(result):
            by_id.setdefault(result["id"], []).append(result)
    found = [by_id.get(record.id) for record in records]
    return [each and (each.pop() if len(each) > 1 else each[0]) for each in found]


def _names_a_record(result: object) -> bool:
    return isinstance(result, dict) and isinstance(result.get("id"), str)


def _result_verdict(result: dict[str, Any] | None, retry_after: float | None) -> Verdict:
    status = result.get("status") if result is not None else None
    if result is None or not isinstance(status, int) or isinstance(status, bool):
        words = "the response to the batch does not mention this record"
        return Verdict(Outcome.RETRY, words, reason="bad_answer")
    outcome = classify(status)
    words = as_text(result.get("error") or "")
    verdict = Verdict(outcome, words, status, retry_after, _reason(outcome))
    return unless_id_conflict(verdict, says_so=ID_CONFLICT in f"{result.get('code')} {words}")


def _reason(outcome: Outcome) -> str:
    return outcome.value if outcome in _RECORDS_OWN else "status"


def error_text(response: Response) -> str:
    """The backend's own words, whole: `error` or `message` of a JSON body, else the text."""
    content = _json_object(response)
    words = content.get("error") or content.get("message")
    if words is not None:
        return as_text(words)
    if 200 <= response.status < 300:
        return ""
    return response.body.decode("utf-8", "replace")


def _json_object(response: Response) -> dict[str, Any]:
    content = _json(response)
    return content if isinstance(content, dict) else {}


def _json(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def _may_be_the_apis(response: Response) -> bool:
    """Whether a refusal is empty or JSON. A body whose type says JSON may have broken off on the way."""
    if not response.body.strip():
        return True
    if "json" in _content_type(response):
        return not _is_html(response)
    return _is_json(response)


def _is_json(response: Response) -> bool:
    return isinstance(_json(response), (dict, list, str))


def _is_html(response: Response) -> bool:
    return "html" in _content_type(response) or response.body.lstrip()[:1] == b"<"


def _content_type(response: Response) -> str:
    return response.headers.get("content-type", "").lower()


def _what_came(response: Response) -> str:
    """What a response is that is not the API's. The status is reported beside it; the text filter cuts it."""
    kind = "an HTML page" if _is_html(response) else _content_type(response) or "a text without a type"
    words = f": {error_text(response)}" if response.status >= 300 else ""
    return f"{kind} instead of the API's response: a proxy or a login page is in the way{words}"
