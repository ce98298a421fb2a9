"""A trace as a tree, for a waterfall: put together when it is read, in whatever order its spans came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from fastapi import APIRouter, HTTPException, Response

from ..otlp.signals import ERROR
from ..store.calls import time_of
from ..store.spans import StoredSpan
from . import response_models
from .auth import Reading
from .requests import JsonRoute
from .responses import Json
from .state import Backend


class _InATrace(Protocol):
    @property
    def span_id(self) -> str: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def start(self) -> int: ...


Each = TypeVar("Each", bound=_InATrace)
router = APIRouter(route_class=JsonRoute, tags=["OpenTelemetry"])


@router.get("/api/traces/{trace_id}", response_model=response_models.Trace)
def trace(trace_id: str, caller: Reading, backend: Backend) -> Response:
    """The spans of a trace, each before those inside it, with its `depth`; `call_id` is that of the call that
    it tells of. A span whose parent is not there has a depth of 0. What they say is left out beyond 8 MiB.
    """
    found = backend.spans.trace(caller.project, trace_id.lower())
    if not found:
        raise HTTPException(404, f"trace {trace_id!r} not found in project {caller.project!r}")
    return Json({"trace_id": found[0].trace_id, "spans": [_shown(*each) for each in in_order(found)]})


def in_order(spans: Sequence[Each]) -> Iterator[tuple[Each, int]]:
    """Each span before those inside it, and how deep it is; siblings by their start.

    Without recursion: a trace may be deep. Spans in a circle come last.
    """
    known = {span.span_id for span in spans}
    inside: dict[str | None, list[Each]] = {}
    for span in sorted(spans, key=lambda span: (span.start, span.span_id), reverse=True):
        parent = span.parent_id if span.parent_id in known and span.parent_id != span.span_id else None
        inside.setdefault(parent, []).append(span)
    seen: set[str] = set()
    waiting = [(span, 0) for span in inside.get(None, [])]
    left = sorted(spans, key=lambda span: (span.start, span.span_id), reverse=True)
    while waiting or left:
        span, depth = waiting.pop() if waiting else (left.pop(), 0)
        if span.span_id not in seen:
            seen.add(span.span_id)
            yield span, depth
            waiting += [(each, depth + 1) for each in inside.get(span.span_id, [])]


def _shown(span: StoredSpan, depth: int) -> dict[str, Any]:
    body = span.body
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "depth": depth,
        "name": span.name,
        "role": span.role or None,
        "scope": span.scope,
        "start_time": time_of(span.start).isoformat(timespec="microseconds"),
        "duration_ms": (span.end - span.start) / 1000,
        "failed": span.status == ERROR,
        "message": body.get("message") or None,
        "call_id": span.call_id,
        "attributes": body.get("attributes"),
        "events": body.get("events"),
        "resource": body.get("resource"),
    }
