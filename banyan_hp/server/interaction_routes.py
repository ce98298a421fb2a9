"""HTTP for HuggingPlace's interactions: logging one, logging a batch, reading them back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.routing import Route

from banyan_hp.server.auth import BEARER, X_API_KEY, ApiKeys
from banyan_hp.server.intake import Intake
from banyan_hp.server.reading import Reading
from banyan_hp.server.records import Records
from banyan_hp.server.validation import interaction_refusal, text_in

BAD = 400  # what HuggingPlace's clients take for a mistake in the record
STORE = "/v2/chatgpt/store_generated_response"


def interaction_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """HuggingPlace's one endpoint, its batch, and `/api/interactions` to read back what came.

    HuggingPlace's callers have a bearer token; those who read may show the key either way.
    """
    intake = Intake(
        records,
        interaction_refusal,
        lambda _request, body: _session(body),
        new=200,
        bad=BAD,
        thanks={"message": "stored"},
    )
    reading = Reading(records, "interactions", "session_id")
    return [
        Route(STORE, keys.guard(intake.one, BEARER), methods=["POST"]),
        Route(f"{STORE}/batch", keys.guard(intake.batch, BEARER), methods=["POST"]),
        Route("/api/interactions/count", keys.guard(reading.count, BEARER, X_API_KEY), methods=["GET"]),
        Route("/api/interactions", keys.guard(reading.page, BEARER, X_API_KEY), methods=["GET"]),
    ]


def _session(body: Mapping[str, object]) -> str | None:
    """The interaction's session; a number is taken as its text, and what can't be a name is none."""
    session = body.get("session_id")
    if isinstance(session, (int, float)):
        return json.dumps(session)
    return text_in(body, "session_id")
