"""Responses: JSON, what clients and caches may keep of it, and what becomes of exceptions. None is HTML."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..store.calls import UnusableCursorError
from ..store.database import BusyError, SlowQueryError
from ..store.prompts import MissingError, TakenError

logger = logging.getLogger(__name__)

BAD = 422  # the status of a body that is refused
BAD_QUERY = 400
RETRY_SECONDS = 1
_OPAQUE_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110, 8.8.3; without the W/ of a weak one
_CACHE_CONTROL = "private, no-cache"
_VARY = "Authorization, X-API-Key, X-Project-Id"


class Json(Response):
    """A JSON response. ASCII, since a stored body may hold lone surrogates, which UTF-8 can't."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The bytes."""
        return json.dumps(content, allow_nan=False).encode("ascii")


class Failure(Json):
    """A response that says what is wrong: its `reason`."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({"error": reason}, status, headers)
        self.reason = reason


def failure(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Failure:
    """A response that says what is wrong."""
    return Failure(status, reason, headers)


class UnfitError(Exception):
    """A body that is good in itself does not fit what is stored; the message says what and where."""


def tagged(request: Request, content: object) -> Response:
    """`content` with a strong ETag over the whole body, or 304 when the caller's `If-None-Match` has it."""
    response = Json(content)
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    if _has(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _has(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, by the weak comparison of RFC 9110, 13.1.2."""
    condition = ",".join(request.headers.getlist("if-none-match"))
    return condition.strip() == "*" or tag in _OPAQUE_TAG.findall(condition)


class PrivateResponses:
    """Middleware that has shared caches on the way keep no response, errors included, without asking.

    A response depends on the key and the project, which travel in headers that caches do not look at by
    default; and a 404 may be a prompt a second later. A client may keep it and ask whether it still holds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and mark its response."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", _CACHE_CONTROL)
                headers.add_vary_header(_VARY)
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


# -- exceptions ----------------------------------------------------------------------------------------------


def _http(request: Request, error: StarletteHTTPException) -> Failure:
    reason = error.detail
    if error.status_code == 405 or (error.status_code == 404 and reason == "Not Found"):
        reason = f"{reason}: {request.method} {request.url.path}"
    return failure(error.status_code, reason, error.headers)


def _invalid(_request: Request, error: RequestValidationError) -> Failure:
    first = error.errors()[0]
    where, *path = first["loc"]
    reason = first["msg"]
    if first["type"] == "missing" and not path:
        reason = f"{where} must be a JSON object, was missing"
    elif first["type"] != "refused":
        reason = f"{'.'.join(map(str, path)) or where} {reason}"
    return failure(BAD if where == "body" else BAD_QUERY, reason)


def _unfit(_request: Request, error: Exception) -> Failure:
    return failure(BAD, str(error))


def _missing(_request: Request, error: Exception) -> Failure:
    return failure(404, str(error))


def _taken(_request: Request, error: Exception) -> Failure:
    return failure(409, str(error))


def _unusable_cursor(_request: Request, error: Exception) -> Failure:
    return failure(BAD_QUERY, str(error))


def told_of(error: BusyError) -> str:
    """What a caller is told of it; the log has the reason in full."""
    logger.error("the database can't be used now: %s", error)
    return f"the database can't be used now: {error.to_callers}"


def _busy(_request: Request, error: BusyError) -> Failure:
    # Trouble that may pass, so the status has the client try again.
    return failure(503, told_of(error), {"Retry-After": str(RETRY_SECONDS)})


def _database(request: Request, error: OperationalError) -> Failure:
    busy = BusyError(str(error.orig).partition("\n")[0])
    busy.__cause__ = error
    return _busy(request, busy)


def _slow(_request: Request, error: Exception) -> Failure:
    return failure(503, f"{error}; ask for less, by a filter or a shorter time")


def _gone(_request: Request, _error: Exception) -> Failure:
    return failure(400, "the request was broken off")


def _unexpected(_request: Request, _error: Exception) -> Failure:
    # The traceback is logged by the server, to which Starlette hands the exception on after this response.
    return failure(500, "internal error; the backend's log has the traceback")


EXCEPTION_HANDLERS: dict[Any, Any] = {
    HTTPException: _http,
    StarletteHTTPException: _http,
    RequestValidationError: _invalid,
    UnfitError: _unfit,
    TakenError: _taken,
    MissingError: _missing,
    UnusableCursorError: _unusable_cursor,
    BusyError: _busy,
    OperationalError: _database,
    SlowQueryError: _slow,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}


def failure_of(request: Request, error: Exception) -> Failure | None:
    """What an exception is to whoever sent the request; None: a mistake of ours."""
    known = (EXCEPTION_HANDLERS.get(each) for each in type(error).__mro__ if each is not Exception)
    handler = next(filter(None, known), None)
    failed: Failure | None = handler(request, error) if handler is not None else None
    return failed
