"""`ASGIMiddleware`: the context of each request of an ASGI application, FastAPI and Starlette among them.

app.add_middleware(ASGIMiddleware)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ..checks import seconds
from ..foreign import is_deliberate
from ..tracking.span import CLOSED_EARLY
from .request_scope import RequestScope
from .web import WebSettings, health_answer, is_public

if TYPE_CHECKING:
    from typing import Unpack

    from .web import WebOptions

__all__ = ["ASGIMiddleware"]

Message = MutableMapping[str, Any]
ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]


class ASGIMiddleware:
    """Surrounds each request with a `context()` of its own, until the application is done with it.

    As `WSGIMiddleware`. Streamed responses, background tasks and WebSocket connections are covered to their
    end, as all of it happens inside of the application's call; tasks that outlive the request are not.
    When the server shuts down, the logger is flushed, if the application takes part in the lifespan.

    Args:
        app: the ASGI application.
        flush_timeout: seconds that the flush at shutdown may take; 0 for none.
        options: by keyword, of the connection's scope: `user`, `session`, `request_id_header`,
            `anonymous_cookie`, `anonymous_cookie_max_age`, `health_path`, `interaction`, `logger`; see
            `WebOptions` and the guide's page (`banyan-hp help web`).

    Raises:
        ConfigurationError: an option is wrong; the message names it.
    """

    def __init__(
        self, app: ASGIApp, *, flush_timeout: float = 5.0, **options: Unpack[WebOptions[ASGIScope]]
    ) -> None:
        seconds("flush_timeout", flush_timeout)
        self._app = app
        self._flush_timeout = flush_timeout
        self._settings = settings = WebSettings.from_options(READER, options)
        self._health_path = settings.health_path
        self._waits_for_start = settings.anonymous_cookie is not None or settings.interaction is not False

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Handle a request, a WebSocket connection, or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            if self._health_path is not None and _own_path(scope) == self._health_path:
                await _answer_health(self._settings, scope, send)
                return
        elif kind != "websocket":
            if kind == "lifespan" and self._flush_timeout:
                send = self._flushing(send)
            await self._app(scope, receive, send)
            return
        request = RequestScope(self._settings, scope)
        scope["banyan_hp.interaction"] = request.interaction
        response = None
        if self._waits_for_start and kind == "http":
            send = response = _Response(request, send)
        before = request.resume()
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            request.finish(error)
            raise
        finally:
            request.pause(before)
            request.finish(ended=CLOSED_EARLY if response is not None and not response.is_whole else None)

    def _flushing(self, send: Send) -> Send:
        """`send` of the lifespan, which flushes before the server learns that the shutdown is complete."""

        async def flush_first(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                try:
                    await self._settings.client.aflush(self._flush_timeout)
                except Exception as error:
                    if is_deliberate(error):
                        raise
                    self._settings.failed("the flush at shutdown failed", error)
            await send(message)

        return flush_first


class _Reader:
    """Reads a connection's scope."""

    def header(self, request: ASGIScope, name: str) -> str | None:
        wanted = _raw(name)
        found = [value for key, value in request["headers"] if key == wanted]
        return b",".join(found).decode("latin-1") if found else None

    def method(self, request: ASGIScope) -> str | None:
        method: str | None = request.get("method")
        return method

    def path(self, request: ASGIScope) -> str:
        return str(request.get("path", ""))

    def route(self, request: ASGIScope) -> str | None:
        """That of FastAPI and Starlette, with what stands before it: a mount, or an included router's prefix.

        FastAPI leaves the prefix of an included router out of `route.path` (seen with 0.165).
        """
        route = request.get("route")
        included = request.get("fastapi") or {}
        whole = getattr(included.get("effective_route_context"), "path", None)
        pattern = whole if isinstance(whole, str) and whole else getattr(route, "path", None)
        if not isinstance(pattern, str):
            return None
        mounted = str(request.get("root_path", ""))
        if not hasattr(route, "endpoint"):  # a mount, whose path is in root_path already
            return mounted or pattern
        if ":path}" in pattern:  # stands for any number of segments
            return mounted + pattern
        path = self.path(request)
        before = path.count("/") - pattern.count("/")
        return "/".join(path.split("/")[: before + 1]) + pattern if before > 0 else pattern

    def is_secure(self, request: ASGIScope) -> bool:
        return request.get("scheme") in ("https", "wss")


READER = _Reader()


@cache
def _raw(header: str) -> bytes:
    """A header's name as a scope has it. There are few: those of the options, and our own."""
    return header.lower().encode("latin-1")


def _own_path(scope: ASGIScope) -> str:
    """The path below where the application is mounted."""
    path, mounted = str(scope["path"]), scope.get("root_path") or ""
    return path.removeprefix(mounted) if path.startswith(mounted + "/") else path


class _Response:
    """The `send` of a request: adds the visitor's cookie, and sees whether the response comes to its end.

    Where the visitor leaves, Starlette ends a stream without an error.
    """

    __slots__ = ("_request", "_send", "is_whole")

    def __init__(self, request: RequestScope, send: Send) -> None:
        self._request = request
        self._send = send
        self.is_whole = True

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_whole = False
            message = _with_cookie(message, self._request)
        else:  # a part of the body, or a file's path: trailers and pushes have no `more_body`, either
            self.is_whole = not message.get("more_body", False)
        await self._send(message)


def _with_cookie(message: Message, request: RequestScope) -> Message:
    request.read_in_time()
    headers = list(message.get("headers", ()))
    ident = request.id_for_cookie()
    if ident is None or is_public(_cache_control(headers)):
        return message
    cookie = request.settings.cookie_header(ident, request.request)
    return {**message, "headers": [*headers, (b"set-cookie", cookie.encode())]}


def _cache_control(headers: list[tuple[bytes, bytes]]) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name.lower() == b"cache-control")


async def _answer_health(settings: WebSettings, scope: ASGIScope, send: Send) -> None:
    status, headers, body = health_answer(settings, scope["method"])
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
