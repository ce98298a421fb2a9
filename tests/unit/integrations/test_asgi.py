"""`ASGIMiddleware`: streams, tasks, WebSockets, and the lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp import ConfigurationError, PromptStackLogger
from banyan_hp.integrations.asgi import ASGIMiddleware
from banyan_hp.testing import CapturedRecords, capture
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.unit.integrations.web_apps import asgi_async, http_scope, logs


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    with capture() as captured:
        yield captured


def test_fifty_requests_at_once_mix_nothing(records: CapturedRecords) -> None:
    """One loop; each logs in its handler, in a task of its own, in a thread, and after its response."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        number = scope["path"][1:]
        await asyncio.sleep(0)
        logs(number)
        await asyncio.gather(asyncio.create_task(in_a_task(number)), asyncio.to_thread(logs, number))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        await asyncio.sleep(0)
        logs(number)

    async def in_a_task(number: str) -> None:
        await asyncio.sleep(0)
        logs(number)

    middleware = ASGIMiddleware(app, user=lambda scope: scope["path"][1:])

    async def all_at_once() -> None:
        requests = [http_scope(f"/{number}", x_request_id=f"r{number}") for number in range(50)]
        await asyncio.gather(*(asgi_async(middleware, request) for request in requests))

    asyncio.run(all_at_once())
    logs("outside")
    *inside, outside = records
    assert len(inside) == 200
    for record in inside:
        number, metadata = record["input"], record["metadata"]
        said = (metadata["user_id"], metadata["request_id"], metadata["path"])
        assert said == (number, f"r{number}", f"/{number}")
    assert outside["metadata"] == {"own": 1}


def test_what_outlives_the_request_goes_without(records: CapturedRecords) -> None:
    """A task that nobody awaits: what has ended is current nowhere."""
    late: list[asyncio.Task[None]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        late.append(asyncio.create_task(later()))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def later() -> None:
        await over.wait()
        logs()

    over = asyncio.Event()

    async def run() -> None:
        await asgi_async(ASGIMiddleware(app), http_scope())
        over.set()
        await late[0]

    asyncio.run(run())
    assert records[0]["metadata"] == {"own": 1}


def test_a_cancelled_request_ends_its_interaction(records: CapturedRecords) -> None:
    """The visitor has left: that is no error."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(asgi_async(ASGIMiddleware(app, interaction=True), http_scope("/w")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    (record,) = records
    metadata = record["metadata"]
    assert (metadata["ended"], metadata["path"], "error" in metadata) == ("closed early", "/w", False)


def test_a_stream_that_ends_early_ends_its_interaction_so(records: CapturedRecords) -> None:
    """Starlette ends it without an error where the visitor has left. A file may be sent by the server."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    more = {"type": "http.response.body", "body": b"x", "more_body": True}
    last = {"type": "http.response.body", "body": b""}
    sent = {"type": "http.response.pathsend", "path": "/f"}
    for messages in ([start, more], [start, more, last], [start, sent]):

        async def app(_scope: Any, _receive: Any, send: Any, said: Any = messages) -> None:
            for message in said:
                await send(message)

        asyncio.run(asgi_async(ASGIMiddleware(app, interaction=True), http_scope()))
    assert [record["metadata"].get("ended") for record in records] == ["closed early", None, None]


def test_a_websocket_is_covered(records: CapturedRecords) -> None:
    """It has a path and ids, no method, and is no interaction."""
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        logs()
        await send({"type": "websocket.accept"})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "scheme": "wss", "headers": [(b"x-request-id", b"r")]}
    middleware = ASGIMiddleware(app, anonymous_cookie="v", interaction=True, user=lambda _: "u1")
    asyncio.run(middleware(scope, send, send))  # type: ignore[arg-type]
    assert records[0]["metadata"] == {"request_id": "r", "path": "/ws", "user_id": "u1", "own": 1}
    assert sent == [{"type": "websocket.accept"}]
    assert len(records) == 1


async def lifespan(app: Any) -> list[str]:
    """The messages of a server's life."""
    said: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        said.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    return said


async def living(_scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


def test_the_shutdown_is_complete_when_all_is_delivered(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """By the lifespan, before the server learns of it."""
    server.handler = batching()
    logger = make_logger(server.url, flush_interval=60)
    logger.log_prompt("q", "a")
    said = asyncio.run(lifespan(ASGIMiddleware(living, logger=logger)))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert logger.get_stats()["logs_sent"] == 1


class Unflushable(PromptStackLogger):
    """Its flush fails."""

    async def aflush(self, timeout: float = 30) -> Any:
        raise OSError(timeout)


def test_a_flush_that_fails_does_not_hold_up_the_shutdown() -> None:
    """It is counted; and 0 seconds mean no flush."""
    logger = Unflushable("psk_x", "http://127.0.0.1:9", spool=False)
    for seconds, errors in ((0.0, 0), (1.0, 1)):
        said = asyncio.run(lifespan(ASGIMiddleware(living, flush_timeout=seconds, logger=logger)))
        assert said[-1] == "lifespan.shutdown.complete"
        assert logger.get_stats()["tracking_errors"] == errors
    with pytest.raises(ConfigurationError, match="flush_timeout must be a number of seconds"):
        ASGIMiddleware(living, flush_timeout=-1)


def test_several_headers_of_one_name_are_no_trace(records: CapturedRecords) -> None:
    """As W3C Trace Context asks."""
    header = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        logs()

    for headers in ([header], [header, header]):
        asyncio.run(asgi_async(ASGIMiddleware(app), {**http_scope(), "headers": headers}))
    assert [record["metadata"].get("span_id") for record in records] == ["b7ad6b7169203331", None]


class Route:
    """As Starlette's and FastAPI's; a mount has no endpoint."""

    def __init__(self, path: str, *, mount: bool = False) -> None:
        self.path = path
        if not mount:
            self.endpoint = logs


@pytest.mark.parametrize(
    ("path", "route", "root_path", "recorded"),
    [
        ("/users/7", Route("/users/{id}"), "", "/users/{id}"),
        ("/v1/users/7", Route("/users/{id}"), "", "/v1/users/{id}"),
        ("/sub/users/7", Route("/users/{id}"), "/sub", "/sub/users/{id}"),
        ("/sub/files/a/b/c", Route("/files/{name:path}"), "/sub", "/sub/files/{name:path}"),
        ("/static/a.css", Route("/static", mount=True), "/static", "/static"),
        ("/nowhere", None, "", "/nowhere"),
    ],
)
def test_the_path_is_the_route_s(
    records: CapturedRecords, path: str, route: Any, root_path: str, recorded: str
) -> None:
    """With what stands before it; the path itself, where there is no route."""

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        scope.update(route=route, root_path=root_path)
        logs()

    asyncio.run(asgi_async(ASGIMiddleware(app), http_scope(path)))
    assert records[0]["metadata"]["path"] == recorded
