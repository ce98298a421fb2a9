"""The list of calls with its live tail, one call in full, and its texts by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple, cast
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery
from starlette.concurrency import run_in_threadpool

from ..api.feeds import Arrived, Feeds
from ..api.follow import EventStream, Followed, Listener, position_of
from ..api.scores import scores_of
from ..api.shown import as_json
from ..api.state import Backend, Stores
from ..store.calls import FILTERS, Call
from ..store.shown import texts_of
from .conversation import gist, said_in
from .filters import Wanted, address_with, filters_of
from .ratings import scores_about
from .rendering import HEADERS, PageRoute, fragment, page, part, plain
from .snippets import as_curl, as_python, asked_by_curl, asked_by_python, request_of
from .texts import MOST_SHOWN, as_text, in_ascii
from .traces import traces_of
from .trees import tree_of
from .visitors import LoginNeededError, Looking, Visitor, current
from .waterfalls import waterfall

PARTS = ("input", "output", "metadata", "json", "curl", "python")
_AGAIN = {"curl": asked_by_curl, "python": asked_by_python}
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Tailed(Followed, Wanted):
    """The filters of a list whose new calls are wanted."""


@router.get("/calls")
def listed(
    request: Request, query: Annotated[Wanted, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """Calls, newest first; as a fragment, the rows that follow."""
    end = backend.calls.end()  # before the page is read: what arrives meanwhile must not be missed
    found = backend.calls.page(query.filter(visitor.caller), query.limit, query.after)
    given = query.given()
    return page(
        request,
        "calls_rows" if fragment(request) and query.after else "calls",
        visitor,
        calls=rows_of(found.calls),
        more=address_with("/calls", {**given, "after": found.next}) if found.next is not None else None,
        searched_to=found.searched_to,
        begun=query.after is not None,
        filters=filters_of(query, "/calls"),
        tail=address_with("/calls/tail", {**given, "after": end}) if query.after is None else None,
        base_url=str(request.base_url).rstrip("/"),
    )


@router.get("/calls/tail")
async def tail(
    request: Request, query: Annotated[Tailed, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """New calls as rows of the list, as they arrive; see `api/follow.py`."""
    if "text/event-stream" not in request.headers.get("accept", ""):
        return await run_in_threadpool(one, request, "tail", visitor, backend)  # a call may have this id
    listener = Listener(
        query.filter(visitor.caller), position_of(request, query), lambda: _still_in(request), _row
    )
    return EventStream(listener, cast("Feeds", request.app.state.feeds), HEADERS)


@router.get("/calls/{call_id:path}/text")
def text(
    request: Request, call_id: str, visitor: Looking, backend: Backend, part: str | None = None
) -> Response:
    """Input, output, metadata or all of a call, however long, as a text that no browser takes for a page."""
    if part is None:
        return one(request, f"{call_id}/text", visitor, backend)  # that is an id, too
    if part not in PARTS:
        raise HTTPException(400, f"part must be one of {', '.join(PARTS)}, was {part[:40]!r}")
    call = _call(call_id, visitor, backend)
    return plain(_part_of(call, part, backend))


@router.get("/calls/{call_id:path}")
def one(request: Request, call_id: str, visitor: Looking, backend: Backend) -> Response:
    """One call in full."""
    call = _call(call_id, visitor, backend)
    texts, whole = texts_of(call), _json_of(call, backend)
    metadata = texts["metadata"]
    return page(
        request,
        "call",
        visitor,
        call=call,
        input=said_in(texts["input"]),
        output=said_in(texts["output"]),
        metadata=tree_of(metadata) if isinstance(metadata, Mapping) else (),
        bars=waterfall(call, {}),
        traces=traces_of(call, backend),
        facts=_facts(call),
        scores=scores_about(call.project, "record_id", call.id, backend),
        json=whole[:MOST_SHOWN],
        json_whole=len(whole) <= MOST_SHOWN,
        copies=list(_copies(call, str(request.base_url).rstrip("/"))),
    )


class Copied(NamedTuple):
    """Lines to copy, or their beginning; the rest is at an address."""

    title: str
    language: str
    text: str
    is_whole: bool = True
    part: str | None = None


def _copies(call: Call, base_url: str) -> Iterator[Copied]:
    yield Copied("Read it with curl", "curl", as_curl(base_url, call.id))
    yield Copied("Read it with Python", "Python", as_python(base_url, call.id))
    if (asked := request_of(call)) is not None:
        for part, language in (("curl", "curl"), ("python", "Python")):
            text = _AGAIN[part](asked)
            title = f"Ask the model again with {language}"
            yield Copied(title, language, text[:MOST_SHOWN], len(text) <= MOST_SHOWN, part)


def _part_of(call: Call, part: str, backend: Stores) -> str:
    if part == "json":
        return _json_of(call, backend)
    if part in _AGAIN:
        asked = request_of(call)
        return _AGAIN[part](asked) if asked is not None else ""
    return as_text(texts_of(call)[part])


def _json_of(call: Call, backend: Stores) -> str:
    """As the API has it."""
    return in_ascii({**as_json(call), "scores": scores_of(call.id, call.project, backend)})


def rows_of(calls: Sequence[Call]) -> list[tuple[Call, dict[str, str]]]:
    """Calls with what a list shows of their texts."""
    return [
        (each, {name: gist(text) for name, text in texts_of(each).items() if name != "metadata"})
        for each in calls
    ]


def _call(call_id: str, visitor: Visitor, backend: Stores) -> Call:
    found = backend.calls.get(visitor.caller.project, call_id)
    if found is None:
        raise HTTPException(404, f"There is no call {call_id!r} in project {visitor.caller.project!r}.")
    return found


def _row(arrived: Arrived) -> str | None:
    if arrived.call is None:
        return None
    return in_ascii(part("calls_rows", calls=rows_of([arrived.call]), more=None), indent=None)


def _still_in(request: Request) -> None:
    try:
        current(request)
    except LoginNeededError:
        raise HTTPException(401, "the session has ended; load the page again") from None


def _facts(call: Call) -> dict[str, tuple[str, str]]:
    """What is known about a call, and the page that each leads to."""
    return {
        name: (value, _leads_to(name, value, call))
        for name in FILTERS
        if (value := getattr(call, name)) is not None and name != "id"
    }


def _leads_to(name: str, value: str, call: Call) -> str:
    if name == "session":
        return f"/sessions/{_quoted(value)}"
    if name == "version" and call.prompt_id is not None:
        return f"/prompts/{_quoted(call.prompt_id)}?version={_quoted(value)}"
    if name == "prompt_name" and call.prompt_id is not None:
        return f"/prompts/{_quoted(call.prompt_id)}"
    if name in ("experiment_id", "experiment_version_id") and call.experiment_id is not None:
        return f"/experiments/{_quoted(call.experiment_id)}"
    return f"/calls?{urlencode({name: value})}"


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")
