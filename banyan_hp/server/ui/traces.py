"""A trace as a waterfall of its spans: by itself, on the page of a call, in the turns of a session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response

from ..api.state import Backend, Stores
from ..api.traces import in_order
from ..store.calls import Call, time_of
from ..store.shown import texts_of
from ..store.spans import StoredSpan, processed_trace
from ..store.traces import FAILED, Told, Trace
from .rendering import PageRoute, page, plain
from .texts import in_ascii
from .trees import tree_of
from .visitors import Looking, Visitor
from .waterfalls import Bar, placed

PAGE_SPANS = 500
OF_A_CALL = 100  # spans of one trace on the page of a call
OF_A_TURN = 30  # and in a turn of a session
_MOST_TRACES = 3  # of one call: several senders may tell of it
_MILLISECOND = 1000
_TRACE_DIGITS = 32
_SAID = ("attributes", "events", "logs", "links", "resource")  # of a span
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """A trace, or a part of it, as a waterfall.

    Attributes:
        own: the address of the span that tells of the call whose page this is, if there is one.
    """

    trace: Trace
    bars: Sequence[Bar]
    own: str | None = None

    @property
    def address(self) -> str:
        """Where all of it is."""
        return address_of(self.trace.trace_id)

    @property
    def is_cut(self) -> bool:
        """Whether there are spans that are not shown."""
        return len(self.bars) < self.trace.count


@router.get("/traces/{trace_id}")
def one(
    request: Request, trace_id: str, visitor: Looking, backend: Backend, after: str | None = None
) -> Response:
    """The first spans of a trace, or those behind a cursor."""
    found = backend.traces.part(visitor.caller.project, trace_id.lower(), PAGE_SPANS, after)
    if found is None:
        raise _missing(f"trace {trace_id!r}", visitor)
    address = address_of(found.trace_id)
    return page(
        request,
        "trace",
        visitor,
        trace=found,
        bars=bars_of(found),
        began=time_of(found.began),
        duration=(found.ended - found.began) / _MILLISECOND,
        next=f"{address}?after={quote(found.next)}" if found.next is not None else None,
        first=address if after is not None else None,
    )


@router.get("/traces/{trace_id}/spans/{span_id}")
def span(request: Request, trace_id: str, span_id: str, visitor: Looking, backend: Backend) -> Response:
    """One span, with all that it says."""
    found = _span(trace_id, span_id, visitor, backend)
    return page(
        request,
        "span",
        visitor,
        span=found,
        kind=kind_of(found.role),
        began=time_of(found.start),
        duration=(found.end - found.start) / _MILLISECOND,
        failed=found.status == FAILED,
        message=found.body.get("message") or "",
        trace=address_of(found.trace_id),
        parent=address_of(found.trace_id, found.parent_id) if found.parent_id is not None else None,
        said=tree_of(_said_by(found, backend)),
        text=f"{address_of(found.trace_id, found.span_id)}/text",
    )


@router.get("/traces/{trace_id}/spans/{span_id}/text")
def text(trace_id: str, span_id: str, visitor: Looking, backend: Backend) -> Response:
    """What a span says, however long, as JSON."""
    return plain(in_ascii(_said_by(_span(trace_id, span_id, visitor, backend), backend)))


def _said_by(span: StoredSpan, backend: Stores) -> dict[str, Any]:
    """With the log events that belong to it: some senders have their texts there."""
    said = {**span.body, "logs": backend.traces.logs(span.project, span.trace_id, span.span_id)}
    return {name: said[name] for name in _SAID if said.get(name)}


def _span(trace_id: str, span_id: str, visitor: Visitor, backend: Stores) -> StoredSpan:
    found = backend.traces.span(visitor.caller.project, trace_id.lower(), span_id.lower())
    if found is None:
        raise _missing(f"span {span_id!r} of trace {trace_id!r}", visitor)
    return found


def _missing(what: str, visitor: Visitor) -> HTTPException:
    return HTTPException(404, f"There is no {what} in project {visitor.caller.project!r}.")


def address_of(trace_id: str, span_id: str | None = None) -> str:
    """The page of a trace, or of one of its spans."""
    of_span = f"/spans/{quote(span_id, safe='')}" if span_id is not None else ""
    return f"/traces/{quote(trace_id, safe='')}{of_span}"


def kind_of(role: str) -> str:
    """What a span stands for, in one word."""
    return role or "span"


def bars_of(trace: Trace, call_id: str | None = None) -> list[Bar]:
    """The spans that are there, each before those inside it; `call_id`: of the call whose page this is."""
    longest = (trace.ended - trace.began) / _MILLISECOND
    return [
        placed(
            Bar(
                name=each.name or each.span_id,
                text=each.model or "",
                kind=kind_of(each.role),
                start=(each.start - trace.began) / _MILLISECOND,
                duration=max(0, each.end - each.start) / _MILLISECOND,
                depth=depth,
                failed=each.failed,
                call_id=each.call_id,
                address=address_of(trace.trace_id, each.span_id),
                is_here=call_id is not None and each.call_id == call_id,
            ),
            longest,
        )
        for each, depth in in_order([*trace.above, *trace.spans])
    ]


# -- of calls ------------------------------------------------------------------------------------------------


def traces_of(call: Call, backend: Stores) -> list[Shown]:
    """The traces that a call is in: of long ones the part that begins with the call."""
    told = backend.traces.of_calls(call.project, [call.id])
    return list(_shown(call, _by_trace(call, told), backend))


def _shown(call: Call, traces: Mapping[str, Told | None], backend: Stores) -> Iterator[Shown]:
    for name, told in list(traces.items())[:_MOST_TRACES]:
        found = backend.traces.part(call.project, name, OF_A_CALL)
        if found is not None and found.next is not None and told is not None:
            found = backend.traces.part(call.project, name, OF_A_CALL, told.before)
        if found is not None:
            own = address_of(name, told.span_id) if told is not None else None
            yield Shown(found, bars_of(found, call.id), own)


def traces_of_turns(calls: Sequence[Call], backend: Stores) -> dict[int, Shown]:
    """The traces of a session's calls, by the `seq` of each; one that several are in has its spans once."""
    told: dict[str, list[Told]] = {}
    if calls:
        for each in backend.traces.of_calls(calls[0].project, [call.id for call in calls]):
            told.setdefault(each.call_id, []).append(each)
    traces = {call.seq: next(iter(_by_trace(call, told.get(call.id, ()))), None) for call in calls}
    names = {name for name in traces.values() if name is not None}
    found = backend.traces.beginnings(calls[0].project, names, OF_A_TURN) if names else {}
    shown: dict[int, Shown] = {}
    met: set[str] = set()
    for call in calls:
        trace = found.get(traces[call.seq] or "")
        if trace is not None:
            shown[call.seq] = Shown(trace, [] if trace.trace_id in met else bars_of(trace))
            met.add(trace.trace_id)
    return shown


def _by_trace(call: Call, told: Sequence[Told]) -> dict[str, Told | None]:
    """The traces of a call, each with the first of its spans that tells of it, where one does."""
    traces: dict[str, Told | None] = {}
    for each in told:
        traces.setdefault(each.trace_id, each)
    metadata = texts_of(call)["metadata"]
    named = metadata.get("trace_id") if isinstance(metadata, Mapping) else None
    for name in (named, processed_trace(call.id)):
        if isinstance(name, str) and len(name) == _TRACE_DIGITS:
            traces.setdefault(name.lower(), None)
    return traces
