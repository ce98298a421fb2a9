"""The scripted server does each thing it is told: the integration tests rest on it."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import urllib3

from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import (
    BATCH_PATH,
    SINGLE_PATH,
    VALIDATE_PATH,
    CloseAfter,
    Drip,
    Garbage,
    Handler,
    Hang,
    Redirect,
    Reply,
    Reset,
    ResetMidAnswer,
    Truncated,
    batching,
    one_by_one,
)
from tests.support.timing import assert_in_time

DEADLINE = 30.0


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as connection:
        yield connection


def ask(
    client: http.client.HTTPConnection,
    path: str = "/",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """GET, or POST when there is a body."""
    client.request("GET" if body is None else "POST", path, body, headers or {})
    response = client.getresponse()
    return response.status, response.read()


def ask_json(client: http.client.HTTPConnection, path: str, value: Any) -> tuple[int, Any]:
    status, body = ask(client, path, json.dumps(value).encode())
    return status, json.loads(body)


def raw_get(server: ScriptedServer) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while chunk := sock.recv(4096):
        received += chunk
    return received


# What arrived


def test_request_is_kept_as_sent(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Method, path with query, headers whatever their case, body, time and connection are all there."""
    before = time.monotonic()
    ask(client, "/a?b=1", b'{"c": 2}', {"X-API-Key": "psk_x"})
    (request,) = server.requests
    assert (request.method, request.path, request.route) == ("POST", "/a?b=1", "/a")
    assert request.headers["x-api-KEY"] == "psk_x"
    assert request.json() == {"c": 2}
    assert before <= request.at <= time.monotonic()
    assert request.connection == 1


def test_gzip_body_is_decoded(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A compressed body is readable, and still there as sent."""
    packed = gzip.compress(b"[1]")
    ask(client, "/", packed, {"Content-Encoding": "gzip"})
    (request,) = server.requests
    assert (request.body, request.raw_body) == (b"[1]", packed)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 400),
        ({"Content-Encoding": "br"}, 415),
        ({"Transfer-Encoding": "chunked"}, 501),
    ],
)
def test_unreadable_request_is_refused(
    server: ScriptedServer, client: http.client.HTTPConnection, headers: dict[str, str], status: int
) -> None:
    """A body that can't be decoded is refused and not recorded."""
    client.request("POST", "/", b"not it", headers)
    assert client.getresponse().status == status
    assert server.requests == []


def test_keep_alive(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Requests on one connection are served one after the other; each connection has its number."""
    ask(client)
    ask(client)
    with raw_get(server):
        requests = server.wait_for(3, timeout=DEADLINE)
    assert [request.connection for request in requests] == [1, 1, 2]
    assert server.connections == 2


def test_connection_close_is_obeyed(server: ScriptedServer) -> None:
    """A client that says `Connection: close` gets its answer, then the end."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_to_end(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_incomplete_request_is_not_recorded(server: ScriptedServer) -> None:
    """A client that leaves in the middle of its body has sent no request."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    assert server.requests == []


def test_wait_for_a_predicate(server: ScriptedServer) -> None:
    """A waiting test is woken by the request that satisfies it."""
    timer = threading.Timer(0.05, lambda: raw_get(server).close())
    timer.start()
    assert len(server.wait_for(lambda seen: any(r.path == "/" for r in seen), timeout=DEADLINE)) == 1
    timer.join(DEADLINE)


def test_wait_for_shows_what_came(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A wait in vain fails with a list of the requests that did come."""
    ask(client, "/only", b"this")
    with pytest.raises(AssertionError, match=r"2 requests; 1 came:\n  POST /only #1 b'this'"):
        server.wait_for(2, timeout=0.01)


# Answers


def test_reply(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Status, headers and a body of any kind arrive, the type told from the value."""
    server.script(
        [Reply(503, {"error": "x"}, {"Retry-After": "2"}), Reply(body="ü"), Reply(body=b"\0"), Reply(204)]
    )
    client.request("GET", "/")
    first = client.getresponse()
    assert (first.status, first.headers["Retry-After"]) == (503, "2")
    assert first.headers["Content-Type"] == "application/json"
    assert json.loads(first.read()) == {"error": "x"}
    assert [ask(client) for _ in range(3)] == [(200, "ü".encode()), (200, b"\0"), (204, b"")]


def test_delay(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A delayed answer takes at least that long."""
    server.script([Reply(delay=0.05)])
    started = time.monotonic()
    ask(client)
    assert time.monotonic() - started >= 0.05


def test_given_headers_win(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A header of the reply replaces the one made for it, whatever its case."""
    server.script([Reply(502, {"error": "x"}, {"content-type": "text/html"})])
    client.request("GET", "/")
    assert client.getresponse().headers.get_all("Content-Type") == ["text/html"]


def test_script_then_handler(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Scripted answers are used up in order, then the handler is asked."""
    server.handler = lambda request: Reply(418, request.path)
    server.script([Reply(500)])
    server.script([Reply(502)])
    assert [ask(client, "/h")[0] for _ in range(3)] == [500, 502, 418]


def test_reset(server: ScriptedServer) -> None:
    """The client sees its connection reset, and the request was received."""
    server.script([Reset()])
    with raw_get(server) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    server.wait_for(1, timeout=DEADLINE)


def test_reset_mid_answer(server: ScriptedServer) -> None:
    """The answer breaks off by a reset."""
    server.script([ResetMidAnswer(200, b"x" * 100, after_bytes=10)])
    with raw_get(server) as sock, pytest.raises(ConnectionResetError):
        read_to_end(sock)


def test_hang_until_released(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A hanging request is answered when released."""
    server.script([Hang(Reply(202))])
    client.request("GET", "/")
    server.wait_for(1, timeout=DEADLINE)
    server.release()
    assert client.getresponse().status == 202


def test_drip_of_the_body(server: ScriptedServer) -> None:
    """The head comes at once; of the body, each byte on its own."""
    server.script([Drip(b"abc", interval=0.01)])
    with closing(
        urllib3.HTTPConnectionPool("127.0.0.1", server.port, timeout=DEADLINE, retries=False)
    ) as pool:
        response = pool.request("GET", "/", preload_content=False)
        assert [response.read(1) for _ in range(3)] == [b"a", b"b", b"c"]
        response.release_conn()


def test_drip_of_the_headers(server: ScriptedServer) -> None:
    """Even the status line comes byte by byte, so no read timeout of the client ever strikes."""
    server.script([Drip(interval=0.01, in_headers=True)])
    with raw_get(server) as sock:
        assert sock.recv(4096) == b"H"


def test_garbage(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """The client gets bytes that are not HTTP."""
    server.script([Garbage(b"SSH-2.0-x\r\n")])
    with pytest.raises(http.client.BadStatusLine):
        ask(client)


def test_redirect(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A redirect names its place."""
    server.script([Redirect("/there", status=307)])
    client.request("GET", "/")
    response = client.getresponse()
    assert (response.status, response.headers["Location"]) == (307, "/there")


def test_truncated(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """The body ends before its declared length."""
    server.script([Truncated(200, b"half", declared_length=8)])
    with pytest.raises(http.client.IncompleteRead):
        ask(client)


@pytest.mark.parametrize("announce", [True, False])
def test_close_after(server: ScriptedServer, announce: bool) -> None:
    """The answer is complete, then the connection ends, announced or not."""
    server.script([CloseAfter(Reply(200, b"bye"), announce=announce)])
    with raw_get(server) as sock:
        answer = read_to_end(sock)
    assert answer.endswith(b"\r\n\r\nbye")
    assert (b"Connection: close" in answer) is announce


@pytest.mark.parametrize(
    "handler",
    [
        lambda _: Hang(),
        lambda _: Reply(body=b"xx", delay=60),
        lambda _: Drip(b"xx", interval=60),
        one_by_one(latency=60),
        batching(latency=60),
    ],
)
def test_close_ends_every_wait(handler: Handler) -> None:
    """Closing wakes a server thread from whatever it waits for, and cuts the client off."""
    with ScriptedServer(handler) as server, raw_get(server) as sock:
        server.wait_for(1, timeout=DEADLINE)
        started = time.monotonic()
        server.close()
        assert_in_time(time.monotonic() - started, 2)
        assert b"xx" not in read_to_end(sock)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scripted")]


def test_port_can_be_taken_again() -> None:
    """A server can come back where another one was: an outage that ends."""
    with ScriptedServer() as first, raw_get(first):
        first.wait_for(1, timeout=DEADLINE)
    with ScriptedServer(port=first.port) as second, raw_get(second):
        second.wait_for(1, timeout=DEADLINE)


# Handlers


def test_one_by_one(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Single records are taken, a key is valid, a batch is not found."""
    server.handler = one_by_one()
    assert ask(client, SINGLE_PATH, b'{"input": "a"}', {"Idempotency-Key": "k1"}) == (201, b"{}")
    assert ask(client, VALIDATE_PATH)[0] == 200
    assert ask_json(client, BATCH_PATH, {"records": []})[0] == 404
    assert server.records() == [("k1", {"input": "a"})]


def batch(*ids: str) -> dict[str, Any]:
    return {"records": [{"id": i, "ts": "2024-01-01T00:00:00Z", "body": {"input": i}} for i in ids]}


def test_batching(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """An empty batch says what is on offer, a full one is counted; its records and single ones are listed."""
    server.handler = batching()
    assert ask_json(client, BATCH_PATH, batch()) == (200, {"accepted": 0, "gzip": True})
    assert ask_json(client, BATCH_PATH, batch("a", "b")) == (200, {"accepted": 2})
    ask(client, SINGLE_PATH, b"{}", {"Idempotency-Key": "c"})
    assert server.records()[1] == ("b", {"input": "b"})
    assert server.ids() == ["a", "b", "c"]


def test_batching_without_gzip(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """Without compression on offer the empty batch doesn't name it, and a compressed one is refused."""
    server.handler = batching(gzip=False)
    assert ask_json(client, BATCH_PATH, batch()) == (200, {"accepted": 0})
    assert ask(client, BATCH_PATH, gzip.compress(b"{}"), {"Content-Encoding": "gzip"})[0] == 415


def test_batching_with_verdicts(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """One refused record makes the answer name each record's own status."""
    server.handler = batching(verdicts=lambda r: (400, "bad") if r["id"] == "b" else (201, None))
    assert ask_json(client, BATCH_PATH, batch("a")) == (200, {"accepted": 1})
    assert ask_json(client, BATCH_PATH, batch("a", "b")) == (
        200,
        {"results": [{"id": "a", "status": 201}, {"id": "b", "status": 400, "error": "bad"}]},
    )
