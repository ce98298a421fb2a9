"""OTLP over HTTP: traces and logs of any OpenTelemetry sender, in protobuf and JSON.

A request is stored as it is, span by span, and answered after the commit. Calls are made of spans behind
intake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..otlp import json_reader, proto_reader
from ..otlp.replies import JSON, PROTOBUF, refusal, success
from ..otlp.signals import LogRecord, Span, UnreadableError, sorted_out
from ..spans.arriving import stored_events, stored_span
from ..store.calls import Call, Stored, microseconds
from ..store.database import BusyError
from ..store.spans import StoredEvent, StoredSpan
from . import response_models
from .auth import Exporting
from .committer import Committer, Verdict
from .otlp_scores import is_score, score_of
from .requests import JsonRoute, off_the_loop, parse_json
from .responses import RETRY_SECONDS, told_of

logger = logging.getLogger(__name__)

TRACES = (
    "/v1/traces",
    "/api/public/otel/v1/traces",  # Langfuse's SDK
    "/api/otel/v1/traces",  # LangWatch's
    "/opentelemetry/v1/traces",  # HoneyHive's
)
LOGS = "/v1/logs"
UNREADABLE = 400
_ENCODINGS = {JSON: JSON, PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF}
_NO_EVENT = "only log events named gen_ai.… with ids of a trace and a span are kept"


class Arrivals(NamedTuple):
    """What of a request is stored, how much is not, and why."""

    kept: Sequence[StoredSpan | StoredEvent]
    rejected: int
    reason: str | None
    scores: Sequence[Call] = ()


class OtlpRoute(JsonRoute):
    """A route whose refusals, too, are in the encoding of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def handle_otlp(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                return _refused(request, error.status_code, str(error.detail), error.headers)
            except BusyError as error:
                later = {"Retry-After": str(RETRY_SECONDS)}
                return _refused(request, 503, told_of(error), later)

        return handle_otlp


def _refused(request: Request, status: int, reason: str, headers: Mapping[str, str] | None) -> Response:
    encoding = _ENCODINGS.get(_content_type(request), JSON)
    return Response(refusal(encoding, reason), status, headers, encoding)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def otlp_router(spans: Committer[StoredSpan | StoredEvent], calls: Committer) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=OtlpRoute, tags=["OpenTelemetry"])
    export = _Export(spans, calls)
    traces = [(path, export.traces, "resourceSpans") for path in TRACES]
    for path, route, field in (*traces, (LOGS, export.logs, "resourceLogs")):
        extra = _documented(field)
        router.add_api_route(
            path, route, methods=["POST"], response_model=response_models.Exported, openapi_extra=extra
        )
    return router


def _documented(field: str) -> dict[str, Any]:
    """The body of a route that reads it itself, for the API's document; the standard has the rest."""
    parts = {"type": "array", "items": {"type": "object"}}
    content = {
        PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
        JSON: {"schema": {"type": "object", "properties": {field: parts}}},
    }
    return {"requestBody": {"required": True, "content": content}}


class _Export:
    def __init__(self, spans: Committer[StoredSpan | StoredEvent], calls: Committer) -> None:
        self._spans = spans
        self._calls = calls

    async def traces(self, request: Request, caller: Exporting) -> Response:
        """Spans of any OpenTelemetry sender. Those of calls of models become calls; the others of their
        traces are kept around them. A span that comes again is known by its ids.
        """
        return await self._export(request, caller.project, spans_of, "rejectedSpans")

    async def logs(self, request: Request, caller: Exporting) -> Response:
        """Log events about generative AI: what was said, where a sender keeps it out of its spans, which may
        come before its span; and results of evaluations, which become scores. Other log records are counted
        as rejected.
        """
        return await self._export(request, caller.project, events_of, "rejectedLogRecords")

    async def _export(
        self, request: Request, project: str, read: Callable[[str, str, bytes], Arrivals], name: str
    ) -> Response:
        encoding = _ENCODINGS.get(_content_type(request))
        if encoding is None:
            allowed = f"{PROTOBUF} or {JSON}"
            raise HTTPException(415, f"Content-Type must be {allowed}, was {_content_type(request)!r}")
        body = await request.body()
        try:
            arrivals = await run_in_threadpool(read, project, encoding, body)
        except UnreadableError as error:
            raise HTTPException(UNREADABLE, str(error)) from None
        refused = [each for each in await self._stored(arrivals, len(body)) if not isinstance(each, Stored)]
        rejected = arrivals.rejected + len(refused)
        reason = arrivals.reason or (f"the database can't store it: {refused[0]}" if refused else None)
        return Response(success(encoding, name, rejected, reason), 200, None, encoding)

    async def _stored(self, arrivals: Arrivals, size: int) -> list[Verdict]:
        """What became of each. A score that comes again with other words is no new one."""
        waiting: list[Future[list[Verdict]]] = []
        if arrivals.kept:
            waiting.append(self._spans.store(arrivals.kept, size))
        if arrivals.scores:
            waiting.append(await off_the_loop(size, self._calls.store, arrivals.scores, size))
        return [verdict for each in waiting for verdict in await asyncio.wrap_future(each)]


def spans_of(project: str, encoding: str, body: bytes) -> Arrivals:
    """The spans of a request, as they are stored.

    Raises:
        UnreadableError: it is none.
    """
    given: list[Span]
    given = json_reader.spans_of(_json(body)) if encoding == JSON else proto_reader.spans_of(body)
    batch = sorted_out(given)
    now = microseconds(datetime.now(UTC))
    read = [_read(project, span, now) for span in batch.good]
    kept = [span for span in read if isinstance(span, StoredSpan)]
    flaws = [flaw for flaw in read if isinstance(flaw, str)]
    return Arrivals(kept, batch.rejected + len(flaws), batch.reason or next(iter(flaws), None))


def _read(project: str, span: Span, now: int) -> StoredSpan | str:
    """A span as it is stored, or why it can't be: it takes no others along."""
    try:
        return stored_span(project, span, now)
    except Exception as error:  # foreign data, as any sender writes it
        logger.exception("a span can't be read")
        return f"span {span.name!r}: its attributes can't be read: {type(error).__name__}"


def events_of(project: str, encoding: str, body: bytes) -> Arrivals:
    """The log events of a request, as they are stored.

    Raises:
        UnreadableError: it is none.
    """
    given: list[LogRecord]
    given = json_reader.logs_of(_json(body)) if encoding == JSON else proto_reader.logs_of(body)
    now = microseconds(datetime.now(UTC))
    told = [score_of(project, log) for log in given if is_score(log)]
    scores = [score for score in told if isinstance(score, Call)]
    others = [log for log in given if not is_score(log)]
    events = stored_events(project, others, now)
    flaws = [flaw for flaw in told if isinstance(flaw, str)]
    flaws += [_NO_EVENT] * (len(others) - len(events))
    return Arrivals(events, len(flaws), flaws[0] if flaws else None, scores)


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise UnreadableError(f"body isn't valid JSON: {error}") from None
