"""The list of calls, and one call in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery

from ..api.calls import Paged
from ..api.models import Limit
from ..api.state import Backend
from ..store.calls import FILTERS, Call
from ..store.shown import texts_of
from .rendering import PageRoute, fragment, page
from .visitors import Looking

PAGE_CALLS = 50
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Wanted(Paged):
    """The filters of the API, all in the address."""

    limit: Limit = PAGE_CALLS

    @classmethod
    def _given(cls, value: object) -> object:
        """A form sends the fields that were left empty, too."""
        given = super()._given(value)
        return (
            {name: each for name, each in given.items() if each != ""} if isinstance(given, dict) else given
        )

    def given(self) -> dict[str, str]:
        """Those that are set, as the address has them."""
        values = self.model_dump(exclude={"limit", "after"}, exclude_none=True)
        return {
            name: str(value).lower() if value in (True, False) else value for name, value in values.items()
        }


@router.get("/calls")
def listed(
    request: Request, query: Annotated[Wanted, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """Calls, newest first; as a fragment, the rows that follow."""
    found = backend.calls.page(query.filter(visitor.caller), query.limit, query.after)
    return page(
        request,
        "calls_rows" if fragment(request) and query.after else "calls",
        visitor,
        calls=[(each, texts_of(each)) for each in found.calls],
        more=_following(query.given(), found.next),
        given=query.given(),
        base_url=str(request.base_url).rstrip("/"),
    )


@router.get("/calls/{call_id:path}")
def one(request: Request, call_id: str, visitor: Looking, backend: Backend) -> Response:
    """One call in full."""
    found = backend.calls.get(visitor.caller.project, call_id)
    if found is None:
        raise HTTPException(404, f"There is no call {call_id!r} in project {visitor.caller.project!r}.")
    return page(request, "call", visitor, call=found, texts=texts_of(found), facts=_facts(found))


def _following(given: Mapping[str, str], after: str | None) -> str | None:
    return f"/calls?{urlencode({**given, 'after': after})}" if after is not None else None


def _facts(call: Call) -> dict[str, object]:
    """The columns that are filled, each of which is a filter of the list."""
    values = {name: getattr(call, name) for name in FILTERS}
    return {name: value for name, value in values.items() if value is not None}
