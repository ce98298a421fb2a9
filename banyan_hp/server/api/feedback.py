"""Scores from those who have no key: `POST /api/feedback` takes a signed token, and nothing else does.

A token is for one record, some names and a time (`banyan_hp/feedback_tokens.py`). It may be used
`MOST_SUBMISSIONS` times, by whatever number of processes: the ids of its submissions are made of the token
and a number, and one that is taken already is a conflict in the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ... import feedback_tokens
from ...feedback_tokens import Permission
from ..prices import Prices
from ..store.calls import Stored
from ..store.keys import Keys
from .committer import Committer, Verdict
from .intake import BANYAN, documented, unstorable
from .limits import RateLimit
from .models import Strict, checked, is_storable, shown
from .requests import JsonRequest, JsonRoute
from .response_models import TakenFeedback
from .responses import BAD, Json
from .state import Backend

PATH = "/api/feedback"
MAX_FEEDBACK = 8 * 1024  # bytes of a body
MOST_SUBMISSIONS = 20  # of one token
BURST = 60  # requests of one address at once,
PER_SECOND = 1.0  # and then
PREFLIGHT_SECONDS = 600
MOST_NAME = 100
MOST_TEXT = 200
MOST_COMMENT = 2_000
MAX_NUMBER = 1e15
RATER = "user"
_INVALID = "the token is not valid: it is damaged, or its key is not one of this backend's, or is revoked"


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return 1 <= len(value) <= MOST_TEXT and is_storable(value)
    if isinstance(value, bool):
        return True
    return isinstance(value, (int, float)) and abs(value) <= MAX_NUMBER


_VALUE = f"true, false, a number from -1e15 to 1e15, or a string of 1 to {MOST_TEXT} characters"


class Feedback(Strict):
    """A score by a token."""

    token: Annotated[str, Field(description="a string: what feedback_token() returned", min_length=1)]
    name: Annotated[
        str, Field(description=f"a string of 1 to {MOST_NAME} characters", min_length=1, max_length=MOST_NAME)
    ]
    value: Annotated[
        Any,
        Field(description=_VALUE),
        checked(_is_value),
    ]
    comment: Annotated[
        str | None,
        Field(description=f"a string of at most {MOST_COMMENT} characters", max_length=MOST_COMMENT),
        checked(lambda text: text is None or is_storable(text)),
    ] = None


class _Request(JsonRequest):
    most_bytes: ClassVar[int] = MAX_FEEDBACK


class _Route(JsonRoute):
    request_type: ClassVar[type[JsonRequest]] = _Request


_RESPONSES: Any = {
    403: {"description": "the token is not valid, has expired, or was used too often"},
    429: {"description": "too many requests from this address; with Retry-After"},
}


def new_limit() -> RateLimit:
    """What an application finds as `feedback_limit` in its state."""
    return RateLimit(BURST, PER_SECOND)


def _limited(request: Request) -> None:
    limit: RateLimit = request.app.state.feedback_limit
    wait = limit.wait_of(request.client.host if request.client is not None else "")
    if wait:
        reason = f"too many requests from this address; try again in {wait} s"
        raise HTTPException(429, reason, {"Retry-After": str(wait)})


def feedback_router(committer: Committer, prices: Prices) -> APIRouter:
    """The route."""

    async def submit(request: Request, backend: Backend, _: Annotated[None, Depends(_limited)]) -> Response:
        """Score one record, by the token that its application has made; without a key."""
        feedback = _opened(await request.json())
        project, permission = await run_in_threadpool(permitted, backend.keys, feedback.token)
        if feedback.name not in permission.names:
            allowed = ", ".join(permission.names)
            raise HTTPException(BAD, f"name must be one of {allowed}, was {shown(feedback.name)}")
        await _stored(committer, prices, project, permission, feedback)
        return Json({"stored": True}, 201)

    router = APIRouter(route_class=_Route, tags=["logging"])
    router.add_api_route(
        PATH,
        submit,
        methods=["POST"],
        status_code=201,
        response_model=TakenFeedback,
        responses=_RESPONSES,
        openapi_extra=documented(Feedback),
    )
    return router


def _opened(value: object) -> Feedback:
    try:
        return Feedback.model_validate(value)
    except ValidationError as error:
        raise HTTPException(BAD, error.errors()[0]["msg"]) from None


def permitted(keys: Keys, token: str) -> tuple[str, Permission]:
    """The project and the permission of a good token.

    Raises:
        HTTPException: 403, it is none. Whether its key is known makes no difference, in words or in time.
    """
    permission = feedback_tokens.read(token)
    found = keys.signing(permission.key_id) if permission is not None else None
    good = feedback_tokens.is_signed(token, found.digest if found is not None else None)
    if permission is None or found is None or not good:
        raise HTTPException(403, _INVALID)
    if permission.expires <= time.time():
        raise HTTPException(403, "the token has expired")
    return found.project, permission


async def _stored(
    committer: Committer, prices: Prices, project: str, permission: Permission, feedback: Feedback
) -> None:
    """Store it under the first of the token's ids that is free."""
    body, size = _body(permission, feedback), len(feedback.token)
    if (refusal := BANYAN.refusal(body)) is not None:
        raise HTTPException(BAD, refusal)
    name = hashlib.sha256(permission.signed.encode("ascii")).hexdigest()[:32]
    for number in range(MOST_SUBMISSIONS):
        # Without a time of its sender's its id is good for one record ever, not for one a day.
        call = BANYAN.call(project, f"feedback-{name}-{number}", None, body, prices, None)
        verdict: Verdict = (await asyncio.wrap_future(committer.store([call], size)))[0]
        if verdict is Stored.CONFLICT:
            continue
        if not isinstance(verdict, Stored):
            raise HTTPException(BAD, unstorable(verdict))
        return
    raise HTTPException(403, f"the token was used {MOST_SUBMISSIONS} times, and is used up")


def _body(permission: Permission, feedback: Feedback) -> dict[str, Any]:
    """A score as the application would send it. The time sets it apart from the same one, sent before."""
    score = {
        "kind": "score",
        "v": 1,
        "name": feedback.name,
        "value": feedback.value,
        "record_id": permission.record_id,
        "rater": RATER,
    }
    if feedback.comment:
        score["comment"] = feedback.comment
    submitted = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"input": "", "output": "", "metadata": {"banyan_hp": score, "submitted_at": submitted}}


class FeedbackOrigins:
    """Middleware that lets pages of some origins send feedback from other hosts than the backend's (CORS)."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; mark the response to a request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        origin = request.headers.get("origin")
        allowed = {"Access-Control-Allow-Origin": origin} if origin in self._origins else {}
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in request.headers:
            await Response(status_code=204, headers={**allowed, **_PREFLIGHT})(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = {**allowed, "Vary": "Origin"}
                pairs = [(name.lower().encode(), str(value).encode()) for name, value in more.items()]
                message = {**message, "headers": [*message["headers"], *pairs]}
            await send(message)

        await self._app(scope, receive, marked)


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    "Vary": "Origin",
}
