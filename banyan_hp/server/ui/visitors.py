"""Who looks at the pages: a browser that has logged in with a key, and may do what the key may.

A cookie holds the session's secret, and the session ends with its key. What changes something is a POST,
which must come from a page of ours: its `Origin` names our host, and it carries a token that only such a page
has. The form of the login, which belongs to no session yet, is known by a cookie of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar, cast
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..api.auth import Caller, Callers
from ..api.requests import JsonRequest
from ..store.keys import Role
from ..store.logins import IDLE, Logins

CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
LOGIN_FIELD = "form"
_MOST_FIELDS = 1_000  # of a form
_CSRF_LABEL = b"banyan_hp csrf"
_OURS = ("same-origin", "none")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class LoginNeededError(Exception):
    """Nobody is logged in, or no longer."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks: what its key opens, and what its forms carry.

    Attributes:
        csrf: the token that a change has to carry.
        name: who rates: the name given at the login, or the key's id.
    """

    caller: Caller
    csrf: str
    name: str

    @property
    def may_change(self) -> bool:
        """Whether forms that change something are shown."""
        return self.caller.role.covers(Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Post:
    """What a form has sent, and who has."""

    visitor: Visitor
    fields: Mapping[str, str]


def logins_of(request: Request) -> Logins:
    """The sessions."""
    return cast("Logins", request.app.state.logins)


def callers_of(request: Request) -> Callers:
    """The keys."""
    return cast("Callers", request.app.state.callers)


def current(request: Request) -> Visitor:
    """Who looks.

    Raises:
        LoginNeededError: nobody is logged in.
        HTTPException: 403, the key may only log.
    """
    secret = request.cookies.get(_cookie(request))
    login = logins_of(request).find(secret, datetime.now(UTC)) if secret else None
    caller = callers_of(request).with_digest(login.key_sha256) if login is not None else None
    if secret is None or login is None or caller is None:
        raise LoginNeededError
    if not caller.role.covers(Role.READ):
        raise HTTPException(403, "this key may only log; the pages need one with the role read or admin")
    visitor = Visitor(caller, _csrf(secret), login.name or caller.key_id)
    request.state.visitor = visitor  # for the page that says what went wrong
    return visitor


class _LoginForm(JsonRequest):
    """Anybody may send one, so there is little to read."""

    most_bytes: ClassVar[int] = 16 * 1024


class _Form(JsonRequest):
    """It may have a prompt inside, each character of which takes up to nine bytes on its way."""

    most_bytes: ClassVar[int] = 8 * 1024 * 1024


async def login_fields(request: Request) -> dict[str, str]:
    """The fields of the login's form.

    Raises:
        HTTPException: 403, it comes from a page of another site; 413, it is too large.
    """
    refuse_other_sites(request)
    fields = _fields(await _LoginForm(request.scope, request.receive).body())
    sent = fields.get(LOGIN_FIELD, "")
    if _names_no_site(request) and not (
        sent and hmac.compare_digest(sent.encode(), login_form(request).encode())
    ):
        raise HTTPException(403, "this form is not of this browser; load the login page again")
    return fields


def _fields(body: bytes) -> dict[str, str]:
    """The fields of a form, the last one of a name."""
    text = body.decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise HTTPException(400, f"a form must have at most {_MOST_FIELDS} fields") from None


async def _post(request: Request) -> Post:
    """Who is not logged in can't have us read a large form."""
    refuse_other_sites(request)
    visitor = await run_in_threadpool(current, request)
    fields = _fields(await _Form(request.scope, request.receive).body())
    sent = request.headers.get(CSRF_HEADER) or fields.pop(CSRF_FIELD, "")
    if not hmac.compare_digest(sent.encode(), visitor.csrf.encode()):
        raise HTTPException(403, "this form is not of this session; load the page again")
    return Post(visitor, fields)


def _change(post: Annotated[Post, Depends(_post)]) -> Post:
    role = post.visitor.caller.role
    if not role.covers(Role.ADMIN):
        raise HTTPException(403, f"this needs a key with the role admin, this session's is {role.value}")
    return post


LoginFields = Annotated[dict[str, str], Depends(login_fields)]
Looking = Annotated[Visitor, Depends(current)]
Posting = Annotated[Post, Depends(_post)]
Changing = Annotated[Post, Depends(_change)]


def refuse_other_sites(request: Request) -> None:
    """A form of another site must not act for whoever is logged in here.

    Our pages send no referrer, and so browsers name their origin ``null``: which site it is, `Sec-Fetch-Site`
    says. Browsers leave that out where they don't trust the connection (HTTP to another machine).

    Raises:
        HTTPException: 403.
    """
    origin = request.headers.get("origin", "null")
    foreign = origin != "null" and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or request.headers.get("sec-fetch-site", "none") not in _OURS:
        raise HTTPException(403, "this form was sent from another site's page")


def _names_no_site(request: Request) -> bool:
    """Whether nothing says of which site's page a browser's form is."""
    return request.headers.get("origin") == "null" and "sec-fetch-site" not in request.headers


# -- coming and going ----------------------------------------------------------------------------------------


def enter(request: Request, response: Response, key_sha256: bytes, name: str | None = None) -> None:
    """Log in: a new session."""
    secret = logins_of(request).begin(key_sha256, datetime.now(UTC), name)
    response.set_cookie(
        _cookie(request),
        secret,
        max_age=int(IDLE.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def login_form(request: Request) -> str:
    """What this browser's form of the login carries; empty: it was never given one."""
    return request.cookies.get(_login_cookie(request), "")


def give_login_form(request: Request, response: Response, value: str) -> None:
    """Have the browser keep it. No page of another site has the form send this cookie."""
    response.set_cookie(
        _login_cookie(request),
        value,
        path="/login",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def new_login_form() -> str:
    """A value that nobody can guess."""
    return secrets.token_urlsafe(24)


def leave(request: Request, response: Response) -> None:
    """Log out."""
    if secret := request.cookies.get(_cookie(request)):
        logins_of(request).end(secret)
    response.delete_cookie(_cookie(request))


def _cookie(request: Request) -> str:
    """Cookies don't know ports, and several backends may run on one machine."""
    return f"banyan_hp_{request.url.port or _DEFAULT_PORTS.get(request.url.scheme, 0)}"


def _login_cookie(request: Request) -> str:
    return f"{_cookie(request)}_login"


def _csrf(secret: str) -> str:
    return hmac.new(secret.encode(), _CSRF_LABEL, hashlib.sha256).hexdigest()
