"""HTTP for records: Banyan's logs and HuggingPlace's interactions, logged (by `intake`) and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .auth import BEARER, X_API_KEY, ApiKeys
from .intake import Intake
from .records import Filter, Records, Span
from .requests import project
from .responses import BAD, Json, refuse
from .validation import interaction_refusal, record_refusal, shown, text_in

HUGGINGPLACE_BAD = 400  # the status that HuggingPlace's clients take for a mistake in the record
STORE = "/v2/chatgpt/store_generated_response"
MAX_PAGE = 1000
OLDEST, NEWEST = "oldest", "newest"
MAX_CURSOR = 2**63 - 1  # SQLite's largest integer


def log_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """The routes under `/api/logs` that concern records."""
    intake = Intake(
        records, record_refusal, lambda request, _body: project(request), new=201, bad=BAD, thanks={}
    )
    reading = Reading(records, "logs", "experiment_id")
    return [
        Route("/api/logs/prompt-usage", keys.guard(intake.one), methods=["POST"]),
        Route("/api/logs/prompt-usage/batch", keys.guard(intake.batch), methods=["POST"]),
        Route("/api/logs/count", keys.guard(reading.count, query=reading.filters), methods=["GET"]),
        Route("/api/logs", keys.guard(reading.page, query=reading.parameters), methods=["GET"]),
    ]


def interaction_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """HuggingPlace's one endpoint, its batch, and `/api/interactions` to read the records back.

    HuggingPlace's callers have a bearer token; readers may send the key either way.
    """
    intake = Intake(
        records,
        interaction_refusal,
        lambda _request, body: _session(body),
        new=200,
        bad=HUGGINGPLACE_BAD,
        thanks={"message": "stored"},
    )
    reading = Reading(records, "interactions", "session_id")
    return [
        Route(STORE, keys.guard(intake.one, BEARER), methods=["POST"]),
        Route(f"{STORE}/batch", keys.guard(intake.batch, BEARER), methods=["POST"]),
        Route(
            "/api/interactions/count",
            keys.guard(reading.count, BEARER, X_API_KEY, query=reading.filters),
            methods=["GET"],
        ),
        Route(
            "/api/interactions",
            keys.guard(reading.page, BEARER, X_API_KEY, query=reading.parameters),
            methods=["GET"],
        ),
    ]


def _session(body: Mapping[str, object]) -> str | None:
    """The interaction's session; a number counts as its text, and what can't be a name as no session."""
    session = body.get("session_id")
    if isinstance(session, (int, float)):
        return json.dumps(session)
    return text_in(body, "session_id")


# -- reading back --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """Reading one kind of record back."""

    records: Records
    name: str
    """The field of a page that holds its records."""
    column: str
    """The column that a request may filter by, besides `id`."""

    @property
    def filters(self) -> tuple[str, ...]:
        """The parameters that choose records."""
        return ("id", self.column)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters of a page."""
        return (*self.filters, "limit", "after", "before", "order")

    async def page(self, request: Request) -> Response:
        """The page of records that the request's parameters ask for."""
        order = request.query_params.get("order", OLDEST)
        if order not in (OLDEST, NEWEST):
            refuse(f"order must be {OLDEST!r} or {NEWEST!r}, was {shown(order)}")
        limit = _whole_number(request, "limit", 100, 1, MAX_PAGE)
        after = _whole_number(request, "after", 0, 0, MAX_CURSOR)
        before = _whole_number(request, "before", MAX_CURSOR, 0, MAX_CURSOR)
        span = Span(after, before, newest_first=order == NEWEST)
        found, following = self.records.page(span, limit, self._where(request))
        return Json({self.name: found, "next": None if following is None else str(following)})

    async def count(self, request: Request) -> Response:
        """How many records there are, and how many deliveries of them, repeats included."""
        distinct, deliveries = self.records.count(self._where(request))
        return Json({"count": distinct, "deliveries": deliveries})

    def _where(self, request: Request) -> Filter:
        query = request.query_params
        return {name: query[name] for name in self.filters if name in query}


def _whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    # The length first: int() refuses, with an exception, more digits than any number here may have.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
    if not least <= number <= most:
        refuse(f"{name} must be a whole number from {least} to {most}, was {shown(text)}")
    return number
