"""JSON answers, and what becomes of exceptions: every answer is made here, and none is HTML."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from banyan_hp.server.experiment_bodies import UnfitError
from banyan_hp.server.prompts import TakenError

logger = logging.getLogger(__name__)

BAD = 422  # what Banyan answers to a request that is not as it should be


class Json(Response):
    """A JSON answer. ASCII, since a stored record may hold lone surrogates, which UTF-8 can't."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return json.dumps(content, allow_nan=False).encode("ascii")


def failure(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Json:
    """An answer that says what is wrong."""
    return Json({"error": reason}, status, headers)


def refuse(reason: str | None, status: int = BAD) -> None:
    """Answer the request with `reason`, if there is one."""
    if reason is not None:
        raise HTTPException(status, reason)


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
    # Locked by another program, disk full: trouble that may pass, so the client is told to try again.
    logger.error("the database can't be used", exc_info=error)
    return failure(503, f"the database can't be used now: {error}")


def _gone(_request: Request, _error: Exception) -> Response:
    return failure(400, "the request was broken off")


def _unexpected(_request: Request, _error: Exception) -> Response:
    # The traceback is logged by the server, to which Starlette hands the exception on after this answer.
    return failure(500, "internal error; the backend's log has the traceback")


EXCEPTION_HANDLERS: Mapping[Any, Any] = {
    HTTPException: _http,
    UnfitError: _unfit,
    TakenError: _taken,
    sqlite3.OperationalError: _database,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
