"""A request with and without the web middlewares: CPU of the thread that handles it, no server, no network.

The application logs one record, or none. With the middleware the record says which request it is of: six more
values in its metadata, whose freezing is part of the cost.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from banyan_hp import PromptStackLogger
from banyan_hp.integrations.asgi import ASGIMiddleware
from banyan_hp.integrations.wsgi import WSGIMiddleware
from tests.benchmarks.measure import Metrics
from tests.benchmarks.plan import Case, Measurement, Row, Target

_ROUNDS, _REQUESTS = 100, 100
_PATIENT: dict[str, Any] = {
    "spool": False,
    "flush_interval": 3600.0,
    "batch_size": 1_000_000,
    "queue_size": 1_000_000,
}
_ID, _USER = "0af7651916cd43dd8448eb211c80319c", "u-17"
_TRACE = f"00-{_ID}-b7ad6b7169203331-01"
Work = Callable[[], object]


def wsgi(url: str, middleware: bool, logs: bool, seed: int = 0) -> Metrics:
    """The median round of a WSGI application whose body is a generator, as a stream is."""
    logger = PromptStackLogger("psk_bench", url, **_PATIENT)

    def body() -> Iterable[bytes]:
        yield b"ok"

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if logs:
            logger.log_prompt("q", "a")
        start_response("200 OK", [])
        return body()

    served: Any = WSGIMiddleware(app, user=lambda _: _USER, logger=logger) if middleware else app

    def request() -> None:
        environ = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/ask", "wsgi.url_scheme": "http",
            "HTTP_X_REQUEST_ID": _ID, "HTTP_TRACEPARENT": _TRACE,
        }  # fmt: skip
        answered = served(environ, lambda _status, _headers: None)
        for _ in answered:
            pass
        answered.close()

    def work() -> None:
        for _ in range(_REQUESTS):
            request()

    return _measured(work, logger)


def asgi(url: str, middleware: bool, logs: bool, seed: int = 0) -> Metrics:
    """Likewise of an ASGI application."""
    logger = PromptStackLogger("psk_bench", url, **_PATIENT)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        if logs:
            logger.log_prompt("q", "a")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(_message: Any) -> None:
        return

    served: Any = ASGIMiddleware(app, user=lambda _: _USER, logger=logger) if middleware else app

    async def requests() -> None:
        for _ in range(_REQUESTS):
            scope = {
                "type": "http", "method": "GET", "path": "/ask", "scheme": "http",
                "headers": [
                    (b"host", b"h"), (b"accept", b"*/*"), (b"x-request-id", _ID.encode()),
                    (b"traceparent", _TRACE.encode()),
                ],
            }  # fmt: skip
            await served(scope, None, send)

    with asyncio.Runner() as runner:
        return _measured(lambda: runner.run(requests()), logger)


def _measured(work: Work, logger: PromptStackLogger) -> Metrics:
    rounds = []
    for _ in range(_ROUNDS):
        before = time.thread_time_ns()
        work()
        rounds.append((time.thread_time_ns() - before) / _REQUESTS / 1_000)
    logger.shutdown(0)
    return {"request_us": statistics.median(rounds)}


def _case(kind: str, middleware: bool, logs: bool) -> Case:
    name = f"{kind}, {'a record' if logs else 'nothing logged'}{', middleware' if middleware else ''}"
    return Case(name, f"{__name__}:{kind}", {"middleware": middleware, "logs": logs})


def _target(kind: str, logs: bool) -> Target:
    without, with_it = _case(kind, False, logs).name, _case(kind, True, logs).name
    text = f"{with_it}: at most 10 µs more"
    return Target(text, with_it, "request_us", most=10, beyond=without)


_KINDS = [(kind, logs) for kind in ("wsgi", "asgi") for logs in (False, True)]
MEASUREMENT = Measurement(
    "web",
    "a request with and without the web middlewares",
    tuple(_case(kind, middleware, logs) for kind, logs in _KINDS for middleware in (False, True)),
    (Row("request_us", "CPU a request, µs"),),
    tuple(_target(kind, logs) for kind, logs in _KINDS),
)
