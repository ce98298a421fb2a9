"""HTTP for reading records back, whatever their kind: page after page, and their number."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from banyan_hp.server.answers import Json, refuse
from banyan_hp.server.records import Filter, Records
from banyan_hp.server.validation import shown

MAX_PAGE = 1000
MAX_CURSOR = 2**63 - 1  # SQLite's largest integer


def page(request: Request, records: Records, name: str, *filters: str) -> Response:
    """The page of records that the request's `limit` and `after` ask for, under `name`.

    Each of `filters` is a column that the request may choose by.
    """
    limit = _whole_number(request, "limit", 100, 1, MAX_PAGE)
    after = _whole_number(request, "after", 0, 0, MAX_CURSOR)
    found, following = records.page(after, limit, _where(request, filters))
    return Json({name: found, "next": None if following is None else str(following)})


def count(request: Request, records: Records, *filters: str) -> Response:
    """How many records there are, and how many deliveries of them, repeats included."""
    distinct, deliveries = records.count(_where(request, filters))
    return Json({"count": distinct, "deliveries": deliveries})


def _where(request: Request, filters: Sequence[str]) -> Filter:
    return {name: request.query_params[name] for name in filters if name in request.query_params}


def _whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    # The length first: int() refuses, with an exception, more digits than any number here may have.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
    if not least <= number <= most:
        refuse(f"{name} must be a whole number from {least} to {most}, was {shown(text)}")
    return number
