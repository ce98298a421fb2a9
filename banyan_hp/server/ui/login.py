"""Logging in: with a key, or once by the link that `serve` prints; and logging out.

A link is redeemed by a POST: programs that look at links in advance don't use it up.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Query as FromQuery

from ..store.keys import Role, digest_of
from .rendering import PageRoute, is_local, page, redirect
from .visitors import (
    LoginFields,
    Posting,
    callers_of,
    enter,
    give_login_form,
    leave,
    login_form,
    logins_of,
    new_login_form,
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_NAME = 100
_WRONG_KEY = "This is not a key of this backend, or it has been revoked."
_ONLY_LOGS = "This key may only log. The pages need a key with the role read or admin."
_USED_LINK = "This link has been used or is older than an hour. Log in with a key, or start the server again."


@router.get("/login")
def ask(request: Request, wanted: Annotated[str, FromQuery(alias="next")] = "/", token: str = "") -> Response:
    """The page to log in at."""
    return _asked(request, wanted, token)


@router.post("/login")
def log_in(request: Request, fields: LoginFields) -> Response:
    """Begin a session, and go where the visitor wanted to."""
    wanted = fields.get("next", "/")
    if token := fields.get("token"):
        digest = logins_of(request).redeem(token, datetime.now(UTC))
        flaw = _USED_LINK
    else:
        digest = digest_of(fields.get("key", "").strip())
        flaw = _WRONG_KEY
    caller = callers_of(request).with_digest(digest) if digest is not None else None
    if digest is None or caller is None:
        return _asked(request, wanted, flaw=flaw)
    if not caller.role.covers(Role.READ):
        return _asked(request, wanted, flaw=_ONLY_LOGS)
    response = redirect(wanted if is_local(wanted) else "/")
    enter(request, response, digest, fields.get("name", "").strip()[:_MOST_NAME] or None)
    return response


@router.post("/logout")
def log_out(request: Request, _post: Posting) -> Response:
    """End the session."""
    response = redirect("/login")
    leave(request, response)
    return response


def _asked(request: Request, wanted: str, token: str = "", flaw: str = "") -> Response:
    status = 403 if flaw else 200
    form = login_form(request) or new_login_form()
    response = page(request, "login", None, status, next=wanted, token=token, flaw=flaw, form=form)
    give_login_form(request, response, form)
    return response
