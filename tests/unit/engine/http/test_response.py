"""Which responses are understood, and which connections they leave open."""

from __future__ import annotations

import gzip
import socket

import pytest

from banyan_hp.engine.http.response import MAX_RESPONSE_BYTES, Response
from banyan_hp.engine.http.transport import NoResponse
from tests.support.raw import (
    OK,
    Peer,
    RawServer,
    answering,
)
from tests.support.transport import (
    CHUNKED,
    FINE,
    MORE_THAN_BUFFERS,
    MakeTransport,
    ask,
    head,
)


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (OK, 200, b"ok"),
        (head("content-LENGTH:2") + b"ok", 200, b"ok"),
        (head("Content-Length: 2", "Content-Length: 2") + b"ok", 200, b"ok"),
        (head("Content-Length: 2", "Set-Cookie: a", "Set-Cookie: b") + b"ok", 200, b"ok"),
        (head("Content-Length: 0"), 200, b""),
        (head("Content-Length: 2", status="201") + b"ok", 201, b"ok"),
        (head("Location: /x", "Content-Length: 0", status="302 Found"), 302, b""),
        (head(status="204 No Content"), 204, b""),
        (head("ETag: x", "Content-Length: 5", status="304 Not Modified"), 304, b""),
        (head(status="100 Continue") + OK, 200, b"ok"),
        (head(status="102 Processing") + head("Link: </x>", status="103 Early Hints") + OK, 200, b"ok"),
        (CHUNKED, 200, b"ok"),
        (head("Content-Encoding: gzip", "Transfer-Encoding: chunked"), 200, b"ok"),
    ],
    ids=lambda value: None if isinstance(value, (int, bytes)) and len(str(value)) < 12 else "",
)
def test_a_response_leaves_the_connection_open(
    make: MakeTransport, raw: bytes, status: int, body: bytes
) -> None:
    """Usual or not: the next request goes by the same one."""
    if b"gzip" in raw:
        packed = gzip.compress(b"ok")
        raw += b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    with RawServer(answering(raw, OK)) as server:
        through = make(server.url)
        response = ask(through, server)
        assert isinstance(response, Response)
        assert (response.status, response.body) == (status, body)
        assert ask(through, server) == FINE
        assert server.connections == 1


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (head("Content-Length: 2", "Connection: close") + b"ok", 200, b"ok"),
        (head("Content-Length: 2", "Connection: Keep-Alive, Close") + b"ok", 200, b"ok"),
        (head("Content-Length: 2", version="HTTP/1.0") + b"ok", 200, b"ok"),
        (OK + b"HTTP/1.1 500 ", 200, b"ok"),
        (CHUNKED + b"x", 200, b"ok"),
        (head(status="204 No Content") + b"x", 204, b""),
    ],
    ids=["close", "close, too", "1.0", "more", "more chunks", "a body of none"],
)
def test_a_response_after_which_the_connection_is_not_used_again(
    make: MakeTransport, raw: bytes, status: int, body: bytes
) -> None:
    """It says so, or there is more than the response, which would be taken for the next one."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)
        peer.wait_for_end()

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        response = ask(through, server)
        assert isinstance(response, Response)
        assert (response.status, response.body) == (status, body)
        server.wait_for(lambda server: server.ended == 1)
        assert ask(through, server) == FINE
        assert server.connections == 2


@pytest.mark.parametrize(
    "raw",
    [
        head("Content-Length: 100", status="400 Bad Request") + b"too large",
        head("Transfer-Encoding: chunked", status="400 Bad Request") + b"9\r\ntoo large",
        head("X: y", status="400 Bad Request") + b"too large",
    ],
    ids=["stated", "chunked", "until the end"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_the_head_of_an_error_counts_though_its_body_breaks_off(
    make: MakeTransport, raw: bytes, *, reset: bool
) -> None:
    """Servers refuse a body that is too large, and hang up on the rest of it."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)
        if reset:
            peer.reset()

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        response = ask(through, server)
        assert isinstance(response, Response)
        assert response.status == 400
        assert ask(through, server) == FINE
        assert server.connections == 2


def test_a_response_until_the_end_of_the_connection(make: MakeTransport) -> None:
    """It states no length."""
    with RawServer(answering(head("X: y") + b"all of it")) as server:
        response = ask(make(server.url), server)
        assert response == Response(200, {"x": "y"}, b"all of it", 2)


def test_header_names_are_lower_case_and_the_last_of_a_name_counts(make: MakeTransport) -> None:
    """Folded values come in one line."""
    raw = head("Content-Length: 2", "ETag: a", "ETAG: b", "X: y", "\t z") + b"ok"
    with RawServer(answering(raw)) as server:
        response = ask(make(server.url), server)
        assert isinstance(response, Response)
        assert response.headers == {"content-length": "2", "etag": "b", "x": "y z"}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01 not http\r\n\r\n",
        b"\xff" * 100,
        head(version="HTTP/2"),
        head("Content-Length: 3", "Content-Length: 2") + b"ok",
        head("Content-Length: 3") + b"ok",
        head("Content-Length: 100000") + b"ok" * 10_000,
        head("Transfer-Encoding: chunked") + b"5\r\nok",
        head("Transfer-Encoding: chunked") + b"zz\r\nok\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"-5\r\nok\r\n0\r\n\r\n",
        head("Content-Encoding: gzip", "Content-Length: 2") + b"ok",
        head(*["X: y"] * 101, "Content-Length: 2") + b"ok",
        head("X: " + "y" * 70_000, "Content-Length: 2") + b"ok",
        b"",
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_no_response(make: MakeTransport, raw: bytes) -> None:
    """It is said in one readable line, and the connection is closed."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.wait_for_end()

    with RawServer(scene) as server:
        response = ask(make(server.url), server)
        assert isinstance(response, NoResponse)
        assert response.reason == "bad_answer"
        assert response.detail.isprintable()
        assert len(response.detail) <= 500
        assert " at 0x" not in response.detail
        server.wait_for(lambda server: server.ended == 1)


@pytest.mark.parametrize("stated", [True, False])
def test_of_a_huge_response_the_beginning_is_read(make: MakeTransport, *, stated: bool) -> None:
    """The rest is cut off with the connection."""
    lines = [f"Content-Length: {MORE_THAN_BUFFERS}"] if stated else []

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(head(*lines))
        peer.send(b"x" * MORE_THAN_BUFFERS)

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        response = ask(through, server)
        assert isinstance(response, Response)
        assert response.body == b"x" * MAX_RESPONSE_BYTES
        server.wait_for(lambda server: server.ended == 1)
        assert ask(through, server) == FINE


def test_a_response_of_just_the_most_bytes_is_whole(make: MakeTransport) -> None:
    """And the connection stays."""
    raw = head(f"Content-Length: {MAX_RESPONSE_BYTES}") + b"x" * MAX_RESPONSE_BYTES
    with RawServer(answering(raw, OK)) as server:
        through = make(server.url)
        response = ask(through, server)
        assert isinstance(response, Response)
        assert len(response.body) == MAX_RESPONSE_BYTES
        assert (ask(through, server), server.connections) == (FINE, 1)


@pytest.mark.parametrize("resets", [False, True])
def test_a_server_that_refuses_before_it_has_read_all_is_understood(
    make: MakeTransport, *, resets: bool
) -> None:
    """It says 413 and closes; the client is still sending."""

    def scene(peer: Peer) -> None:
        peer.read_head()
        peer.send(head("Content-Length: 2", status="413 Too Large") + b"no")
        if not resets:
            peer.sock.shutdown(socket.SHUT_WR)
            peer.wait_for_end()

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        response = ask(through, server, b"x" * MORE_THAN_BUFFERS)
        assert isinstance(response, Response)
        assert (response.status, response.body, response.took_all) == (413, b"no", not resets)
        assert ask(through, server) == FINE
