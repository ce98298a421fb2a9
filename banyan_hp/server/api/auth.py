"""Who calls: a key, the project that it opens, and what it may do there."""

from __future__ import annotations

import base64
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPBearer

from ..store.audit import Actor
from ..store.keys import Keys, Role, digest_of
from .requests import Guard, header

CACHE_SECONDS = 5.0  # a revoked key is good for so long at most
_MARGIN_SECONDS = 0.5
_MOST_CACHED = 1000
_BANYAN = APIKeyHeader(name="X-API-Key", auto_error=False, description="the key, as Banyan's clients send it")
_BEARER = HTTPBearer(auto_error=False, description="the key, as HuggingPlace's clients send it")
_HOW_TO_SEND = "send it in the X-API-Key header or as 'Authorization: Bearer <key>'"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and for which project."""

    project: str
    role: Role
    key_id: str

    @property
    def actor(self) -> Actor:
        """The same for the audit."""
        return Actor(self.project, self.key_id)


class Callers:
    """Finds out who has a key: one of those given at the start, or one of the database's.

    The database's answers, good or bad, hold for `CACHE_SECONDS`. Keys are held as SHA-256 only, whatever was
    sent; those that were asked for least recently go first.
    """

    def __init__(self, keys: Keys, given: Mapping[str, Caller]) -> None:
        self._keys = keys
        self._given = {digest_of(secret): caller for secret, caller in given.items()}
        self._lock = threading.Lock()
        self._cached: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Callers({len(self._given)} given)"

    def of(self, secret: str) -> Caller | None:
        """Who has this key; None: nobody."""
        digest = digest_of(secret)
        if (given := self._given.get(digest)) is not None:
            return given
        now = time.monotonic()
        with self._lock:
            until, caller = self._cached.get(digest, (0.0, None))
            if now < until:
                self._cached.move_to_end(digest)
                return caller
        return self._looked_up(digest, now)

    def with_digest(self, digest: bytes) -> Caller | None:
        """Who has the key of this SHA-256: for those who keep no secret. The database is asked each time."""
        given = self._given.get(digest)
        return given if given is not None else self._looked_up(digest, time.monotonic())

    def knows(self, secrets: Sequence[str]) -> bool:
        """Whether it can say who has these keys without a look into the database."""
        digests = [digest_of(secret) for secret in secrets]
        now = time.monotonic() + _MARGIN_SECONDS
        with self._lock:
            return all(each in self._given or now < self._cached.get(each, (0.0,))[0] for each in digests)

    def _looked_up(self, digest: bytes, now: float) -> Caller | None:
        key = self._keys.find(digest)
        caller = Caller(key.project, key.role, key.id) if key is not None else None
        with self._lock:
            self._cached[digest] = (now + CACHE_SECONDS, caller)
            self._cached.move_to_end(digest)
            while len(self._cached) > _MOST_CACHED:
                self._cached.popitem(last=False)
        return caller


def authenticated(request: Request, needed: Role) -> Caller:
    """Who sent a request.

    Raises:
        HTTPException: 401 without a good key; 403 where it is one for less, or for another project.
    """
    return _known(request, _sent(request), needed)


def _known(request: Request, sent: Sequence[str], needed: Role) -> Caller:
    if not sent:
        raise HTTPException(401, f"no API key: {_HOW_TO_SEND}")
    callers: Callers = request.app.state.callers
    caller = next(filter(None, map(callers.of, sent)), None)
    if caller is None:
        raise HTTPException(401, "the API key is not one of this backend's")
    return _allowed(request, caller, needed)


def _allowed(request: Request, caller: Caller, needed: Role) -> Caller:
    refuse_other_project("X-Project-Id", header(request, "x-project-id"), caller)
    if not caller.role.covers(needed):
        raise HTTPException(
            403, f"this needs a key with the role {needed.value}, this one's is {caller.role.value}"
        )
    return caller


def refuse_other_project(where: str, project: str | None, caller: Caller) -> None:
    """Nobody reaches another project by naming it: in a header, a query or a body.

    Raises:
        HTTPException: 403 that names both projects, where one is named and is not the caller's.
    """
    if project and project != caller.project:
        raise HTTPException(403, f"{where} is {project!r}, the API key is for project {caller.project!r}")


def _sent(request: Request) -> list[str]:
    """The keys of a request."""
    sent = (request.headers.get("x-api-key"), _bearer(request))
    return [_as_sent(key) for key in sent if key is not None]


def _as_sent(key: str) -> str:
    """Headers are latin-1 to Starlette; these are the bytes that were sent."""
    return key.encode("latin-1").decode("utf-8", "surrogateescape")


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None


def _of_exporter(request: Request) -> list[str]:
    """Keys in the other headers in which exporters of OpenTelemetry and Langfuse send theirs."""
    sent = (request.headers.get("api_key"), request.headers.get("api-key"), _basic(request))
    return [_as_sent(key) for key in sent if key]


def _basic(request: Request) -> str | None:
    """The key of ``Authorization: Basic``: the password, or the user where there is none.

    What can't be read is left alone: a proxy on the way may have put it beside the sender's own key.
    """
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode("latin-1").partition(":")
    except ValueError:
        return None
    return password or user


class _Needs(Guard):
    """A dependency: the caller, if its key has the role."""

    def __init__(self, needed: Role) -> None:
        self._needed = needed

    async def __call__(
        self,
        request: Request,
        _banyan: Annotated[str | None, Security(_BANYAN)] = None,
        _bearer: Annotated[object, Security(_BEARER)] = None,
    ) -> Caller:
        return await self.admit(request)

    async def admit(self, request: Request) -> Caller:
        callers: Callers = request.app.state.callers
        sent = self._sent(request)
        if callers.knows(sent):
            return _known(request, sent, self._needed)
        return await run_in_threadpool(_known, request, sent, self._needed)  # the database is asked

    def _sent(self, request: Request) -> list[str]:
        return _sent(request)


class _Exports(_Needs):
    """The same, with a key in any of the headers in which exporters send theirs."""

    def _sent(self, request: Request) -> list[str]:
        sent = [*filter(None, _sent(request)), *_of_exporter(request)]
        if not sent and request.headers.get("authorization", "").lower().startswith("basic"):
            raise HTTPException(401, "Authorization: Basic must be the base64 of user:key")
        return sent


Ingesting = Annotated[Caller, Depends(_Needs(Role.INGEST))]
Exporting = Annotated[Caller, Depends(_Exports(Role.INGEST))]
Reading = Annotated[Caller, Depends(_Needs(Role.READ))]
Administering = Annotated[Caller, Depends(_Needs(Role.ADMIN))]
