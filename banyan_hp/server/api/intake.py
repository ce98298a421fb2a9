"""Calls on their way in: Banyan's usage records and HuggingPlace's interactions, one a request or batches."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, NamedTuple, cast

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..nesting import MAX_DEPTH, is_shallow
from ..prices import Prices
from ..store.calls import Call, Stored
from .auth import Ingesting
from .committer import Committer, Verdict
from .models import Amount, AnyText, Filled, Strict, is_storable, named, shown
from .models import Json as JsonObject
from .plain import MAX_ID, Entry, entries_of, is_interaction, is_usage, plain_entries, storable
from .requests import DirectRoute, header, off_the_loop, value_of
from .response_models import Accepted, Logged, Outcomes
from .responses import BAD, Json
from .scores import score_refusal
from .shapes import call_of_banyan, call_of_huggingplace
from .values import Body

HUGGINGPLACE_BAD = 400  # the status that HuggingPlace's clients take for a mistake in the record
STORE = "/v2/chatgpt/store_generated_response"
USAGE = "/api/logs/prompt-usage"
MOST_RECORDS = 10_000  # of a batch
REPEATED = 200
CONFLICT = {"error": "this id belongs to a record with another content", "code": "id_conflict"}
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)


class Usage(Strict):
    """A usage record, as Banyan's clients send it."""

    input: AnyText
    output: AnyText
    metadata: JsonObject
    prompt_id: AnyText = None
    prompt_name: AnyText = None
    version: AnyText = None
    branch_name: AnyText = None
    model: AnyText = None
    duration_ms: Amount = None
    experiment_id: AnyText = None
    experiment_version_id: AnyText = None
    sticky_key: AnyText = None
    sticky_value: AnyText = None


class Interaction(Strict):
    """An interaction, as HuggingPlace's clients send it: what more its caller puts in is welcome."""

    model_config = ConfigDict(extra="allow", strict=True)

    user_prompt: Filled
    response: Filled
    org_id: Annotated[str, Field(description="a string that isn't empty", min_length=1)]
    mode: Annotated[str, Field(description="prod or dev", pattern="^(prod|dev)$")]
    token_count: Amount = None
    response_time: Amount = None


class BatchRecord(Strict):
    """One record of a batch."""

    called: ClassVar[str] = "record"

    id: Annotated[
        str, Field(description=f"a string of 1 to {MAX_ID} characters", min_length=1, max_length=MAX_ID)
    ]
    ts: Annotated[str, Field(description="an ISO-8601 string")]
    body: Annotated[Any, Field(description="present")]


class Envelope(Strict):
    """A batch."""

    records: Annotated[
        list[BatchRecord], Field(description="a list", json_schema_extra={"maxItems": MOST_RECORDS})
    ]


_envelope = TypeAdapter(Envelope)


@dataclass(frozen=True, slots=True)
class Kind:
    """What sets one client's records apart from the other's while they come in."""

    path: str
    model: type[Strict]
    call: Callable[[str, str, datetime | None, Body, Prices, str | None], Call]
    new: int
    """The status of a record that is new; that of a repeat is 200."""
    bad: int
    """The status of what is refused."""
    thanks: Mapping[str, object]
    """The first fields of the response to a single good record."""
    plain: Callable[[object], bool]
    """Whether a body is certainly good."""

    def refusal(self, body: object) -> str | None:
        """Why a body is not a record of this kind, or None."""
        if self.plain(body):
            return score_refusal(cast("Body", body))
        try:
            self.model.model_validate(body)
        except ValidationError as error:
            return str(error.errors()[0]["msg"])
        deep = [name for name, value in body.items() if not is_shallow(value)] if type(body) is dict else []
        if deep:
            return f"{named(deep[0])} must be nested at most {MAX_DEPTH} deep"
        return score_refusal(body) if isinstance(body, dict) else None


BANYAN = Kind(USAGE, Usage, call_of_banyan, new=201, bad=BAD, thanks={}, plain=is_usage)
HUGGINGPLACE = Kind(
    STORE,
    Interaction,
    call_of_huggingplace,
    new=200,
    bad=HUGGINGPLACE_BAD,
    thanks={"message": "stored"},
    plain=is_interaction,
)


def intake_router(committer: Committer, prices: Prices) -> APIRouter:
    """The routes of both clients."""
    router = APIRouter(route_class=DirectRoute, tags=["logging"])
    for kind in (BANYAN, HUGGINGPLACE):
        _add(router, _Intake(kind, committer, prices))
    return router


def _add(router: APIRouter, intake: _Intake) -> None:
    kind = intake.kind
    one = documented(kind.model)
    many = documented(Envelope)
    responses: dict[int | str, Any] = {409: {"description": CONFLICT["error"]}}
    if kind.new != REPEATED:
        responses[REPEATED] = {"description": "it was stored before", "model": Logged}
    router.add_api_route(
        kind.path,
        intake.one,
        methods=["POST"],
        status_code=kind.new,
        response_model=Logged,
        responses=responses,
        openapi_extra=one,
    )
    router.add_api_route(
        f"{kind.path}/batch",
        intake.batch,
        methods=["POST"],
        response_model=Accepted | Outcomes,
        openapi_extra=many,
    )


def documented(model: type[Strict]) -> dict[str, Any]:
    """The body of a route that reads it itself, for the API's document."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class _Batch(NamedTuple):
    """A batch's records, why each is refused if it is, and what becomes of the others, if there are any."""

    entries: Sequence[Entry]
    refusals: list[str | None]
    stored: Future[list[Verdict]] | None


class _Intake:
    def __init__(self, kind: Kind, committer: Committer, prices: Prices) -> None:
        self.kind = kind
        self._prices = prices
        self._committer = committer

    async def one(self, request: Request, caller: Ingesting) -> Response:
        """Log one call. `Idempotency-Key` is its id, `X-Event-Time` when it happened."""
        content = await request.body()
        call_id, stored = await off_the_loop(len(content), self._taken, content, request, caller.project)
        (verdict,) = await asyncio.wrap_future(stored)
        return Json(*self._response(call_id, verdict))

    def _taken(self, content: bytes, request: Request, project: str) -> tuple[str, Future[list[Verdict]]]:
        body = value_of(content)
        _refuse(self.kind.refusal(body), self.kind.bad)
        call_id, time = self._named(request)
        text = storable(content.decode("utf-8"))
        call = self.kind.call(project, call_id, time, body, self._prices, text)
        return call_id, self._committer.store([call], len(content))

    def _response(self, call_id: str, verdict: Verdict) -> tuple[dict[str, object], int]:
        if verdict is Stored.CONFLICT:
            return {"id": call_id, **CONFLICT}, 409
        if verdict is Stored.REPEAT:
            return {**self.kind.thanks, "id": call_id, "repeat": True}, REPEATED
        if verdict is Stored.NEW:
            return {**self.kind.thanks, "id": call_id}, self.kind.new
        return {"id": call_id, "error": unstorable(verdict)}, self.kind.bad

    async def batch(self, request: Request, caller: Ingesting) -> Response:
        """Log a batch. Its response has each record's outcome, or is short if all are good."""
        content = await request.body()
        with self._committer.coming():
            entries, refusals, stored = await off_the_loop(
                len(content), self._batch_of, content, caller.project
            )
        if not entries:
            return Json({"accepted": 0, "gzip": True})
        verdicts = await asyncio.wrap_future(stored) if stored is not None else []
        if len(verdicts) == len(refusals) and set(verdicts) <= {Stored.NEW, Stored.REPEAT}:
            return Json({"accepted": len(verdicts)})
        left = iter(verdicts)
        results = [
            self._result(entry.id, refusal or next(left))
            for entry, refusal in zip(entries, refusals, strict=True)
        ]
        return Json({"results": results})

    def _batch_of(self, body: bytes, project: str) -> _Batch:
        entries = entries_of(body)
        if entries is None:
            entries = self._opened(value_of(body))
        if len(entries) > MOST_RECORDS:
            raise HTTPException(413, f"records must be at most {MOST_RECORDS}, were {len(entries)}")
        calls: list[Call] = []
        refusals = [self._take(entry, project, calls) for entry in entries]
        return _Batch(entries, refusals, self._committer.store(calls, len(body)) if calls else None)

    def _opened(self, value: object) -> list[Entry]:
        if (plain := plain_entries(value)) is not None:
            return plain
        try:
            return [Entry(each.id, each.ts, each.body) for each in _envelope.validate_python(value).records]
        except ValidationError as error:
            raise HTTPException(self.kind.bad, error.errors()[0]["msg"]) from None

    def _take(self, entry: Entry, project: str, calls: list[Call]) -> str | None:
        """Add its call to the others, or say why not."""
        call_id, ts, body, text = entry
        if refusal := _id_refusal("id", call_id):
            return refusal
        if (time := time_of(ts)) is None:
            return time_refusal("ts", ts)
        if refusal := self.kind.refusal(body):
            return refusal
        calls.append(self.kind.call(project, call_id, time, body, self._prices, text))
        return None

    def _result(self, call_id: str, verdict: Verdict | str) -> dict[str, object]:
        if isinstance(verdict, str):
            return {"id": call_id, "status": self.kind.bad, "error": verdict}
        if verdict is Stored.CONFLICT:
            return {"id": call_id, "status": 409, **CONFLICT}
        if not isinstance(verdict, Stored):
            return {"id": call_id, "status": self.kind.bad, "error": unstorable(verdict)}
        return {"id": call_id, "status": self.kind.new if verdict is Stored.NEW else REPEATED}

    def _named(self, request: Request) -> tuple[str, datetime | None]:
        key, time = header(request, "idempotency-key"), header(request, "x-event-time")
        if key is not None:
            _refuse(_id_refusal("Idempotency-Key", key), self.kind.bad)
        if time is not None:
            _refuse(time_refusal("X-Event-Time", time), self.kind.bad)
        return key or str(uuid.uuid4()), time_of(time) if time is not None else None


def _id_refusal(name: str, value: str) -> str | None:
    if 1 <= len(value) <= MAX_ID and is_storable(value):
        return None
    return f"{name} must be a string of 1 to {MAX_ID} characters, was {shown(value)}"


def time_refusal(name: str, value: str) -> str | None:
    valid = time_of(value) is not None
    return None if valid else f"{name} must be an ISO-8601 date and time, was {shown(value)}"


def time_of(text: str) -> datetime | None:
    """The UTC time of a text; one without a zone is UTC. None: it is no time with a day.

    Python takes more shapes, weeks among them.
    """
    if _TIMESTAMP.fullmatch(text) is None:
        return None
    try:
        time = datetime.fromisoformat(text.upper())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # a zone may move it off the calendar's edge
        return None


def _refuse(reason: str | None, status: int) -> None:
    if reason is not None:
        raise HTTPException(status, reason)


def unstorable(error: object) -> str:
    """Why the database refuses a record, for its sender."""
    return f"the database can't store this record: {str(getattr(error, 'orig', error)).partition(chr(10))[0]}"
