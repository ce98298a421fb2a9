"""HTTP for records on their way in, whatever their kind: one in a request, or a batch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .records import Record, Records, Stored
from .requests import header, read_json
from .responses import Json, refuse
from .validation import ENTRY, envelope_refusal, timestamp_refusal

CONFLICT = {"error": "this id belongs to a record with another content", "code": "id_conflict"}


@dataclass(frozen=True, slots=True)
class Intake:
    """What sets one kind of record apart from another while it comes in."""

    records: Records
    refusal: Callable[[object], str | None]
    """Why a body is not a record of this kind, or None."""
    group: Callable[[Request, dict[str, Any]], str | None]
    """The group of a good body."""
    new: int
    """The status of a record that is new; that of a repeat is 200."""
    bad: int
    """The status of what is refused."""
    thanks: Mapping[str, object]
    """The first fields of the response to a single good record."""

    async def one(self, request: Request) -> Response:
        """Store the request's record."""
        body: Any = await read_json(request)
        refuse(self.refusal(body), self.bad)
        record = Record(
            self._idempotency_key(request), self._event_time(request), self.group(request, body), body
        )
        (stored,) = self.records.add([record])
        if stored is Stored.CONFLICT:
            return Json({"id": record.id, **CONFLICT}, 409)
        if stored is Stored.REPEAT:
            return Json({**self.thanks, "id": record.id, "repeat": True}, 200)
        return Json({**self.thanks, "id": record.id}, self.new)

    async def batch(self, request: Request) -> Response:
        """Store a batch's good records; the response has each one's outcome, or is short if all are good."""
        envelope: Any = await read_json(request)
        refuse(envelope_refusal(envelope), self.bad)
        entries: list[dict[str, Any]] = envelope["records"]
        if not entries:
            return Json({"accepted": 0, "gzip": True})
        refusals = [self._entry_refusal(entry) for entry in entries]
        good = [
            Record(entry["id"], entry["ts"], self.group(request, entry["body"]), entry["body"])
            for entry, refusal in zip(entries, refusals, strict=True)
            if refusal is None
        ]
        stored = self.records.add(good)
        if len(good) == len(entries) and Stored.CONFLICT not in stored:
            return Json({"accepted": len(good)})
        verdicts = iter(stored)
        results = [
            self._refused(entry["id"], refusal) if refusal else self._result(entry["id"], next(verdicts))
            for entry, refusal in zip(entries, refusals, strict=True)
        ]
        return Json({"results": results})

    def _entry_refusal(self, entry: dict[str, Any]) -> str | None:
        return timestamp_refusal("ts", entry["ts"]) or self.refusal(entry["body"])

    def _refused(self, record_id: str, refusal: str) -> dict[str, object]:
        return {"id": record_id, "status": self.bad, "error": refusal}

    def _result(self, record_id: str, stored: Stored) -> dict[str, object]:
        if stored is Stored.CONFLICT:
            return {"id": record_id, "status": 409, **CONFLICT}
        return {"id": record_id, "status": self.new if stored is Stored.NEW else 200}

    def _idempotency_key(self, request: Request) -> str:
        key = header(request, "idempotency-key")
        if key is None:
            return str(uuid.uuid4())
        refuse(ENTRY["id"].refusal("Idempotency-Key", key), self.bad)
        return key

    def _event_time(self, request: Request) -> str | None:
        value = header(request, "x-event-time")
        if value is not None:
            refuse(timestamp_refusal("X-Event-Time", value), self.bad)
        return value
