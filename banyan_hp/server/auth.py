"""Authentication: the key in a request against those that the backend was started with."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .validation import shown

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """A header that a key may come in: how to send it, in words, and how to find the key in a request."""

    usage: str
    find: Callable[[Request], str | None]


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None


X_API_KEY = KeyHeader("in the X-API-Key header", lambda request: request.headers.get("x-api-key"))
BEARER = KeyHeader("as 'Authorization: Bearer <key>'", _bearer)


class ApiKeys:
    """The keys that are good here."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode("utf-8", "surrogateescape") for key in keys]

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._keys)} keys)"

    def accepts(self, key: bytes) -> bool:
        """Whether `key` is one of them; takes as long for a near miss as for a wide one."""
        return sum(hmac.compare_digest(key, known) for known in self._keys) > 0  # any() would stop early

    def guard(self, endpoint: Endpoint, *headers: KeyHeader, query: Collection[str] = ()) -> Endpoint:
        """The endpoint, for callers with a good key in one of `headers` only; 401 for others.

        Args:
            endpoint: what responds.
            headers: by default `X-API-Key`.
            query: the parameters of the query that it knows; any other is a 400.
        """
        allowed = headers or (X_API_KEY,)

        async def guarded(request: Request) -> Response:
            found = [header.find(request) for header in allowed]
            sent = [key for key in found if key is not None]
            if not sent:
                usage = " or ".join(header.usage for header in allowed)
                raise HTTPException(401, f"no API key: send it {usage}")
            # Headers are latin-1 to Starlette; these are the bytes that were sent.
            if not any(self.accepts(key.encode("latin-1")) for key in sent):
                raise HTTPException(401, "the API key is not one of this backend's")
            _refuse_unknown(request, query)
            return await endpoint(request)

        return guarded


def _refuse_unknown(request: Request, known: Collection[str]) -> None:
    """A parameter that would do nothing is a mistake: a misspelt filter would choose every record."""
    for name in request.query_params:
        if name not in known:
            allowed = f"the parameters are {', '.join(known)}" if known else "there are no parameters"
            raise HTTPException(400, f"{shown(name)} is no parameter of {request.url.path}; {allowed}")
