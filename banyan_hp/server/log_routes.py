"""HTTP for usage records: logging one, logging a batch, reading them back."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from banyan_hp.server.answers import Json, refuse
from banyan_hp.server.auth import ApiKeys
from banyan_hp.server.bodies import read_json
from banyan_hp.server.headers import header, project
from banyan_hp.server.records import Record, Records
from banyan_hp.server.validation import (
    ENTRY,
    envelope_refusal,
    record_refusal,
    shown,
    timestamp_refusal,
)

MAX_PAGE = 1000
MAX_CURSOR = 2**63 - 1  # SQLite's largest integer


def log_routes(records: Records, keys: ApiKeys) -> list[Route]:
    """The routes under `/api/logs` that concern records."""
    api = _LogApi(records)
    return [
        Route("/api/logs/prompt-usage", keys.guard(api.log), methods=["POST"]),
        Route("/api/logs/prompt-usage/batch", keys.guard(api.log_batch), methods=["POST"]),
        Route("/api/logs/count", keys.guard(api.count), methods=["GET"]),
        Route("/api/logs", keys.guard(api.page), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _LogApi:
    records: Records

    async def log(self, request: Request) -> Response:
        body: Any = await read_json(request)
        refuse(record_refusal(body))
        record = Record(_idempotency_key(request), _event_time(request), body)
        (is_new,) = self.records.add([record], project(request))
        if is_new:
            return Json({"id": record.id}, 201)
        return Json({"id": record.id, "repeat": True})

    async def log_batch(self, request: Request) -> Response:
        envelope: Any = await read_json(request)
        refuse(envelope_refusal(envelope))
        entries: list[dict[str, Any]] = envelope["records"]
        if not entries:
            return Json({"accepted": 0, "gzip": True})
        refusals = [_entry_refusal(entry) for entry in entries]
        good = [_record(entry) for entry, refusal in zip(entries, refusals, strict=True) if refusal is None]
        stored = iter(self.records.add(good, project(request)))
        if len(good) == len(entries):
            return Json({"accepted": len(good)})
        return Json(
            {
                "results": [
                    _result(entry["id"], refusal, refusal is None and next(stored))
                    for entry, refusal in zip(entries, refusals, strict=True)
                ]
            }
        )

    async def page(self, request: Request) -> Response:
        limit = _whole_number(request, "limit", 100, 1, MAX_PAGE)
        after = _whole_number(request, "after", 0, 0, MAX_CURSOR)
        logs, following = self.records.page(after, limit)
        return Json({"logs": logs, "next": None if following is None else str(following)})

    async def count(self, _request: Request) -> Response:
        distinct, deliveries = self.records.count()
        return Json({"count": distinct, "deliveries": deliveries})


def _entry_refusal(entry: dict[str, Any]) -> str | None:
    return timestamp_refusal("ts", entry["ts"]) or record_refusal(entry["body"])


def _record(entry: dict[str, Any]) -> Record:
    return Record(entry["id"], entry["ts"], entry["body"])


def _result(record_id: str, refusal: str | None, is_new: bool) -> dict[str, object]:
    if refusal is not None:
        return {"id": record_id, "status": 422, "error": refusal}
    return {"id": record_id, "status": 201 if is_new else 200}


def _idempotency_key(request: Request) -> str:
    key = header(request, "idempotency-key")
    if key is None:
        return str(uuid.uuid4())
    refuse(ENTRY["id"].refusal("Idempotency-Key", key))
    return key


def _event_time(request: Request) -> str | None:
    value = header(request, "x-event-time")
    if value is not None:
        refuse(timestamp_refusal("X-Event-Time", value))
    return value


def _whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    # The length first: int() refuses, with an exception, more digits than any number here may have.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
    if not least <= number <= most:
        refuse(f"{name} must be a whole number from {least} to {most}, was {shown(text)}")
    return number
