"""HTTP for Banyan's usage records: logging one, logging a batch, reading them back."""

from __future__ import annotations

from starlette.routing import Route

from banyan_hp.server.answers import BAD
from banyan_hp.server.auth import ApiKeys
from banyan_hp.server.headers import project
from banyan_hp.server.intake import Intake
from banyan_hp.server.reading import Reading
from banyan_hp.server.records import Records
from banyan_hp.server.validation import record_refusal


def log_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """The routes under `/api/logs` that concern records."""
    intake = Intake(
        records, record_refusal, lambda request, _body: project(request), new=201, bad=BAD, thanks={}
    )
    reading = Reading(records, "logs", "experiment_id")
    return [
        Route("/api/logs/prompt-usage", keys.guard(intake.one), methods=["POST"]),
        Route("/api/logs/prompt-usage/batch", keys.guard(intake.batch), methods=["POST"]),
        Route("/api/logs/count", keys.guard(reading.count), methods=["GET"]),
        Route("/api/logs", keys.guard(reading.page), methods=["GET"]),
    ]
