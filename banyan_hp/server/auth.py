"""Who may call: the `X-API-Key` header against the keys the backend was started with."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]


class ApiKeys:
    """The keys that are good here."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode("utf-8", "surrogateescape") for key in keys]

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._keys)} keys)"

    def accepts(self, key: bytes) -> bool:
        """Whether `key` is one of them; takes as long for a near miss as for a wide one."""
        return sum(hmac.compare_digest(key, known) for known in self._keys) > 0  # any() would stop early

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for callers with a good key in `X-API-Key` only; 401 for others."""

        async def guarded(request: Request) -> Response:
            # Headers are latin-1 to Starlette; these are the bytes that were sent.
            key = request.headers.get("x-api-key")
            if key is None:
                raise HTTPException(401, "no API key: send it in the X-API-Key header")
            if not self.accepts(key.encode("latin-1")):
                raise HTTPException(401, "the API key is not one of this backend's")
            return await endpoint(request)

        return guarded
