"""What shared caches on the way may keep of our answers: nothing without asking.

An answer depends on the key and the project, which travel in headers that caches do not look at by default;
and a 404 may be a prompt a second later. A client may keep an answer and ask whether it still holds.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CACHE_CONTROL = "private, no-cache"
_VARY = "Authorization, X-API-Key, X-Project-Id"


class PrivateAnswers:
    """Marks every answer so, errors included."""

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
