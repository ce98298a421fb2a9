"""Requests to middlewares, without a server: what a server passes on, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import banyan_hp as banyan

Headers = list[tuple[str, str]]


@dataclass
class Sent:
    """What came back."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def environ(path: str = "/", method: str = "GET", scheme: str = "http", **headers: str) -> dict[str, Any]:
    """Headers by keyword: `x_request_id="1"`."""
    given = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": scheme,
        **given,
    }


def wsgi(app: Any, request: dict[str, Any]) -> Sent:
    """As a server: to the body's end, then `close()`."""
    sent = Sent()

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> None:
        sent.status, sent.headers = int(status.split()[0]), headers

    body: Iterable[bytes] = app(request, start_response)
    try:
        sent.body = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return sent


def http_scope(path: str = "/", method: str = "GET", scheme: str = "http", **headers: str) -> dict[str, Any]:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = {"type": "http", "method": method, "path": path, "query_string": b""}
    return {**request, "scheme": scheme, "headers": given}


def asgi(app: Any, request: dict[str, Any]) -> Sent:
    return asyncio.run(asgi_async(app, request))


async def asgi_async(app: Any, request: dict[str, Any]) -> Sent:
    sent = Sent()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.status = message["status"]
            sent.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        else:
            sent.body += message.get("body", b"")

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    await app(request, receive, send)
    return sent


def logs(text: str = "q") -> None:
    """What a handler does."""
    banyan.log_prompt(text, "a", metadata={"own": 1})


def wsgi_app(handler: Callable[[], object] = logs, *, headers: Headers | None = None) -> Any:
    """Calls the handler, and sends one part."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        handler()
        start_response("200 OK", headers or [])
        return [b"ok"]

    return app


def asgi_app(handler: Callable[[], object] = logs, *, headers: Headers | None = None) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in headers or []]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        handler()
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def ways() -> list[tuple[str, Any, Any, Any, Any]]:
    """Of both middlewares: its name, class, application, request, and how one is made."""
    from banyan_hp.integrations.asgi import ASGIMiddleware
    from banyan_hp.integrations.wsgi import WSGIMiddleware

    return [
        ("wsgi", WSGIMiddleware, wsgi_app, environ, wsgi),
        ("asgi", ASGIMiddleware, asgi_app, http_scope, asgi),
    ]
