"""HTTP for Banyan's usage records: logging one, logging a batch, reading them back."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from banyan_hp.server import reading
from banyan_hp.server.answers import BAD, Json
from banyan_hp.server.auth import ApiKeys
from banyan_hp.server.headers import project
from banyan_hp.server.intake import Intake
from banyan_hp.server.records import Records
from banyan_hp.server.validation import record_refusal


def log_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """The routes under `/api/logs` that concern records."""
    intake = Intake(records, record_refusal, lambda request, _body: project(request), new=201, bad=BAD)
    api = _LogApi(records, intake)
    return [
        Route("/api/logs/prompt-usage", keys.guard(api.log), methods=["POST"]),
        Route("/api/logs/prompt-usage/batch", keys.guard(intake.batch), methods=["POST"]),
        Route("/api/logs/count", keys.guard(api.count), methods=["GET"]),
        Route("/api/logs", keys.guard(api.page), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _LogApi:
    records: Records
    intake: Intake

    async def log(self, request: Request) -> Response:
        status, answer = await self.intake.one(request)
        return Json(answer, status)

    async def page(self, request: Request) -> Response:
        return reading.page(request, self.records, "logs", "experiment_id")

    async def count(self, request: Request) -> Response:
        return reading.count(request, self.records, "experiment_id")
