"""HTTP for reading records back, whatever their kind: page after page, and their number."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from banyan_hp.server.answers import Json, refuse
from banyan_hp.server.records import Filter, Records
from banyan_hp.server.validation import shown

MAX_PAGE = 1000
MAX_CURSOR = 2**63 - 1  # SQLite's largest integer


@dataclass(frozen=True, slots=True)
class Reading:
    """What sets one kind of record apart from another while it is read back."""

    records: Records
    name: str
    """What a page has its records under."""
    column: str
    """The column that a request may choose by."""

    async def page(self, request: Request) -> Response:
        """The page of records that the request's `limit` and `after` ask for."""
        limit = _whole_number(request, "limit", 100, 1, MAX_PAGE)
        after = _whole_number(request, "after", 0, 0, MAX_CURSOR)
        found, following = self.records.page(after, limit, self._where(request))
        return Json({self.name: found, "next": None if following is None else str(following)})

    async def count(self, request: Request) -> Response:
        """How many records there are, and how many deliveries of them, repeats included."""
        distinct, deliveries = self.records.count(self._where(request))
        return Json({"count": distinct, "deliveries": deliveries})

    def _where(self, request: Request) -> Filter:
        value = request.query_params.get(self.column)
        return {} if value is None else {self.column: value}


def _whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    # The length first: int() refuses, with an exception, more digits than any number here may have.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
    if not least <= number <= most:
        refuse(f"{name} must be a whole number from {least} to {most}, was {shown(text)}")
    return number
