"""HTTP for HuggingPlace's interactions: logging one, logging a batch, reading them back."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from banyan_hp.server import reading
from banyan_hp.server.answers import Json
from banyan_hp.server.auth import BEARER, X_API_KEY, ApiKeys
from banyan_hp.server.intake import Intake
from banyan_hp.server.records import Records
from banyan_hp.server.validation import interaction_refusal

BAD = 400  # what HuggingPlace's clients take for a mistake in the record
STORE = "/v2/chatgpt/store_generated_response"


def interaction_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """HuggingPlace's one endpoint, its batch, and `/api/interactions` to read back what came.

    HuggingPlace's callers have a bearer token; those who read may show the key either way.
    """
    intake = Intake(records, interaction_refusal, lambda _request, body: body.get("session_id"), 200, BAD)
    api = _InteractionApi(records, intake)
    return [
        Route(STORE, keys.guard(api.log, BEARER), methods=["POST"]),
        Route(f"{STORE}/batch", keys.guard(intake.batch, BEARER), methods=["POST"]),
        Route("/api/interactions/count", keys.guard(api.count, BEARER, X_API_KEY), methods=["GET"]),
        Route("/api/interactions", keys.guard(api.page, BEARER, X_API_KEY), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _InteractionApi:
    records: Records
    intake: Intake

    async def log(self, request: Request) -> Response:
        status, answer = await self.intake.one(request)
        return Json({"message": "stored"} | answer, status)

    async def page(self, request: Request) -> Response:
        return reading.page(request, self.records, "interactions", "session_id")

    async def count(self, request: Request) -> Response:
        return reading.count(request, self.records, "session_id")
