"""Responses: JSON, what clients and caches may keep of it, and what becomes of exceptions. None is HTML."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .experiment_bodies import UnfitError
from .prompts import TakenError

logger = logging.getLogger(__name__)

_OPAQUE_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110, 8.8.3; without the W/ of a weak one
_CACHE_CONTROL = "private, no-cache"
_VARY = "Authorization, X-API-Key, X-Project-Id"

BAD = 422  # the status of Banyan's response to an invalid request


class Json(Response):
    """A JSON response. ASCII, since a stored record may hold lone surrogates, which UTF-8 can't."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return json.dumps(content, allow_nan=False).encode("ascii")


def failure(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Json:
    """A response that says what is wrong."""
    return Json({"error": reason}, status, headers)


def refuse(reason: str | None, status: int = BAD) -> None:
    """Refuse the request with `reason`, if there is one."""
    if reason is not None:
        raise HTTPException(status, reason)


# -- what clients and caches may keep ------------------------------------------------------------------------


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
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", _CACHE_CONTROL)
                headers.add_vary_header(_VARY)
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


# -- exceptions ----------------------------------------------------------------------------------------------


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    reason = error.detail
    if error.status_code == 405 or (error.status_code == 404 and reason == "Not Found"):
        reason = f"{reason}: {request.method} {request.url.path}"
    return failure(error.status_code, reason, error.headers)


def _unfit(_request: Request, error: Exception) -> Response:
    return failure(BAD, str(error))


def _taken(_request: Request, error: Exception) -> Response:
    return failure(409, str(error))


def _database(_request: Request, error: Exception) -> Response:
    # Locked by another program, disk full: trouble that may pass, so the status has the client try again.
    logger.error("the database can't be used", exc_info=error)
    return failure(503, f"the database can't be used now: {error}")


def _gone(_request: Request, _error: Exception) -> Response:
    return failure(400, "the request was broken off")


def _unexpected(_request: Request, _error: Exception) -> Response:
    # The traceback is logged by the server, to which Starlette hands the exception on after this response.
    return failure(500, "internal error; the backend's log has the traceback")


EXCEPTION_HANDLERS: Mapping[Any, Any] = {
    HTTPException: _http,
    UnfitError: _unfit,
    TakenError: _taken,
    sqlite3.OperationalError: _database,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
