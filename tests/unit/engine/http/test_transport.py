"""One request and its answer, over real sockets: bytes, deadlines, and what becomes of connections."""

from __future__ import annotations

import gc
import gzip
import logging
import os
import resource
import select
import shutil
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.util import wait_for_read

from banyan_hp.engine.http.connections import Connector
from banyan_hp.engine.http.exchange import Message, exchange
from banyan_hp.engine.http.response import MAX_RESPONSE_BYTES
from banyan_hp.engine.http.transport import HTTPTransport, NoResponse, Request, Response
from banyan_hp.engine.http.trust import Trust
from banyan_hp.errors import ConfigurationError
from tests.support.raw import (
    AUTHORITY,
    AUTHORITY_HASH,
    OK,
    TLS_FILES,
    Peer,
    RawServer,
    Scene,
    answering,
    server_context,
)

HEADERS = {"X-API-Key": "k", "Content-Type": "application/json", "User-Agent": "u"}
SENT = b"X-API-Key: k\r\nContent-Type: application/json\r\nUser-Agent: u\r\n"
FINE = Response(200, {"content-length": "2"}, b"ok", 2)
MORE_THAN_BUFFERS = 32 * 1024 * 1024
MakeTransport = Callable[..., HTTPTransport]


@pytest.fixture
def make() -> Iterator[MakeTransport]:
    made: list[HTTPTransport] = []

    def make(url: str, timeout: float = 5.0, connections: int = 2, **options: Any) -> HTTPTransport:
        made.append(HTTPTransport(url, timeout, connections, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def post(url: str, body: bytes = b"{}") -> Request:
    return Request("POST", url + "/p", HEADERS, body)


def ask(through: HTTPTransport, server: RawServer, body: bytes = b"{}") -> Response | NoResponse:
    return through.send(post(server.url, body), 5.0)


def idle_socket(through: HTTPTransport) -> socket.socket:
    """The one that the next request goes by."""
    return through._connections._idle[-1].sock


# -- what goes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "line", "framing"),
    [
        ("POST", "/p?q=1", b"{}", b"POST /p?q=1 HTTP/1.1", b"Content-Length: 2\r\n"),
        ("POST", "/p", b"", b"POST /p HTTP/1.1", b"Content-Length: 0\r\n"),
        ("GET", "/p", b"", b"GET /p HTTP/1.1", b""),
        ("GET", "", b"", b"GET / HTTP/1.1", b""),
        ("GET", "?a=b", b"", b"GET /?a=b HTTP/1.1", b""),
        ("GET", "/a b/é/%2F/..#part", b"", b"GET /a%20b/%C3%A9/%2F/.. HTTP/1.1", b""),
        ("GET", '/100%/<">?y=ü&z=[|]', b"", b"GET /100%25/%3C%22%3E?y=%C3%BC&z=%5B%7C%5D HTTP/1.1", b""),
        ("DELETE", "/p", b"x", b"DELETE /p HTTP/1.1", b"Content-Length: 1\r\n"),
    ],
)
def test_a_request_to_the_byte(
    make: MakeTransport, method: str, path: str, body: bytes, line: bytes, framing: bytes
) -> None:
    """Host, Accept-Encoding and Content-Length are ours, then come the headers given, in their order."""
    with RawServer(answering(OK)) as server:
        assert isinstance(
            make(server.url).send(Request(method, server.url + path, HEADERS, body), 5), Response
        )
        host = b"Host: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n" % server.port
        assert server.heard == [line + b"\r\n" + host + framing + SENT + b"\r\n" + body]


def test_the_next_request_has_its_own_values(make: MakeTransport) -> None:
    """What is kept of a head is what does not change."""
    with RawServer(answering(OK, OK, OK)) as server:
        through = make(server.url)
        for key, path in (("1", "/a"), ("2", "/a"), ("3", "/b")):
            assert isinstance(through.send(Request("GET", server.url + path, {"Key": key}), 5), Response)
        assert [(head.split()[1], head.split()[-1]) for head in server.heard] == [
            (b"/a", b"1"),
            (b"/a", b"2"),
            (b"/b", b"3"),
        ]


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://example.com", "example.com"),
        ("http://Example.com:80/x", "example.com"),
        ("http://example.com:443", "example.com:443"),
        ("https://example.com:443", "example.com"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[fe80::1%25eth0]:8080", "[fe80::1]:8080"),
        ("http://bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_the_host_header_names_the_port_if_it_is_not_the_usual_one(url: str, authority: str) -> None:
    """IPv6 addresses are in brackets, and without the zone, which means nothing to the peer."""
    assert Connector(url).authority == authority


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_ipv6_address_is_reached(make: MakeTransport) -> None:
    """And named in brackets."""
    try:
        server = RawServer(answering(OK), host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback")
    with server:
        assert ask(make(server.url), server) == FINE
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.heard[0]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"A": "b\r\nEvil: yes"}),
        ("GET", {"A": "b\nEvil: yes"}),
        ("GET", {"A": "b\rEvil: yes"}),
        ("GET", {"A": "b\r\n folded"}),
        ("GET", {"A": "b\0"}),
        ("GET", {"A\r\nEvil": "yes"}),
        ("GET", {"A:": "b"}),
        ("GET", {"A B": "b"}),
        ("GET", {"": "b"}),
        ("GET", {"A": "日本"}),
        ("GET /evil HTTP/1.1\r\n", {}),
        ("", {}),
        ("GET", {"Host": "elsewhere"}),
        ("POST", {"content-length": "100"}),
        ("POST", {"Transfer-Encoding": "chunked"}),
    ],
)
def test_a_request_within_a_request_is_refused(
    make: MakeTransport, method: str, headers: dict[str, str]
) -> None:
    """Nothing is sent, and it is an answer, not an exception."""
    with RawServer(answering(OK)) as server:
        answer = make(server.url).send(Request(method, server.url + "/", headers), 5)
        assert isinstance(answer, NoResponse)
        assert answer.reason == "no_connection"
        assert (server.connections, server.heard) == (0, [])


def test_line_breaks_in_a_target_stay_in_it(make: MakeTransport) -> None:
    """They are left out, or encoded."""
    with RawServer(answering(OK)) as server:
        make(server.url).send(Request("GET", server.url + "/a\r\nEvil: yes\x00", {}), 5)
        assert server.heard[0].split(b"\r\n")[0] == b"GET /aEvil:%20yes%00 HTTP/1.1"


def test_large_bodies_arrive_whole(make: MakeTransport) -> None:
    """Whatever the parts in which they go out."""
    body = os.urandom(3 * 1024 * 1024 + 17)
    with RawServer(answering(OK)) as server:
        assert ask(make(server.url), server, body) == Response(200, {"content-length": "2"}, b"ok", len(body))
        assert server.heard[0].partition(b"\r\n\r\n")[2] == body


# -- what comes back -----------------------------------------------------------------------------------------


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


CHUNKED = head("Transfer-Encoding: chunked") + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"


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
def test_an_answer_leaves_the_connection_open(
    make: MakeTransport, raw: bytes, status: int, body: bytes
) -> None:
    """Usual or not: the next request goes by the same one."""
    if b"gzip" in raw:
        packed = gzip.compress(b"ok")
        raw += b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    with RawServer(answering(raw, OK)) as server:
        through = make(server.url)
        answer = ask(through, server)
        assert isinstance(answer, Response)
        assert (answer.status, answer.body) == (status, body)
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
def test_an_answer_after_which_the_connection_is_not_used_again(
    make: MakeTransport, raw: bytes, status: int, body: bytes
) -> None:
    """It says so, or there is more than the answer, which would be taken for the next one."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)
        peer.wait_for_end()

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        answer = ask(through, server)
        assert isinstance(answer, Response)
        assert (answer.status, answer.body) == (status, body)
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
        answer = ask(through, server)
        assert isinstance(answer, Response)
        assert answer.status == 400
        assert ask(through, server) == FINE
        assert server.connections == 2


def test_an_answer_until_the_end_of_the_connection(make: MakeTransport) -> None:
    """It states no length."""
    with RawServer(answering(head("X: y") + b"all of it")) as server:
        answer = ask(make(server.url), server)
        assert answer == Response(200, {"x": "y"}, b"all of it", 2)


def test_header_names_are_lower_case_and_the_last_of_a_name_counts(make: MakeTransport) -> None:
    """Folded values come in one line."""
    raw = head("Content-Length: 2", "ETag: a", "ETAG: b", "X: y", "\t z") + b"ok"
    with RawServer(answering(raw)) as server:
        answer = ask(make(server.url), server)
        assert isinstance(answer, Response)
        assert answer.headers == {"content-length": "2", "etag": "b", "x": "y z"}


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
def test_what_is_no_answer(make: MakeTransport, raw: bytes) -> None:
    """It is said in one readable line, and the connection is closed."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.wait_for_end()

    with RawServer(scene) as server:
        answer = ask(make(server.url), server)
        assert isinstance(answer, NoResponse)
        assert answer.reason == "bad_answer"
        assert answer.detail.isprintable()
        assert len(answer.detail) <= 500
        assert " at 0x" not in answer.detail
        server.wait_for(lambda server: server.ended == 1)


@pytest.mark.parametrize("stated", [True, False])
def test_of_a_huge_answer_the_beginning_is_read(make: MakeTransport, *, stated: bool) -> None:
    """The rest is cut off with the connection."""
    lines = [f"Content-Length: {MORE_THAN_BUFFERS}"] if stated else []

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(head(*lines))
        peer.send(b"x" * MORE_THAN_BUFFERS)

    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        answer = ask(through, server)
        assert isinstance(answer, Response)
        assert answer.body == b"x" * MAX_RESPONSE_BYTES
        server.wait_for(lambda server: server.ended == 1)
        assert ask(through, server) == FINE


def test_an_answer_of_just_the_most_bytes_is_whole(make: MakeTransport) -> None:
    """And the connection stays."""
    raw = head(f"Content-Length: {MAX_RESPONSE_BYTES}") + b"x" * MAX_RESPONSE_BYTES
    with RawServer(answering(raw, OK)) as server:
        through = make(server.url)
        answer = ask(through, server)
        assert isinstance(answer, Response)
        assert len(answer.body) == MAX_RESPONSE_BYTES
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
        answer = ask(through, server, b"x" * MORE_THAN_BUFFERS)
        assert isinstance(answer, Response)
        assert (answer.status, answer.body, answer.took_all) == (413, b"no", not resets)
        assert ask(through, server) == FINE


def test_a_redirect_is_an_answer_like_any_other(make: MakeTransport) -> None:
    """Nobody follows it."""
    with RawServer(answering(OK)) as elsewhere:
        raw = head(f"Location: {elsewhere.url}/", "Content-Length: 0", status="307 Temporary Redirect")
        with RawServer(answering(raw)) as server:
            answer = ask(make(server.url), server)
            assert isinstance(answer, Response)
            assert (answer.status, elsewhere.connections) == (307, 0)


def test_a_line_a_request_is_logged_for_who_wants_to_see_it(
    make: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """At level DEBUG, without the query, which may name users, and without anything else of the request."""
    caplog.set_level(logging.DEBUG)
    with RawServer(answering(OK)) as server:
        make(server.url).send(Request("GET", server.url + "/p?user=me", {"X-API-Key": "secret"}), 5)
    assert [line.getMessage() for line in caplog.records] == ["GET /p: 200"]


# -- deadlines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        head("Content-Length: 100000"),
        head("X: y"),
        head("Transfer-Encoding: chunked") + b"fffff\r\n",
    ],
    ids=["head", "stated length", "until the end", "chunks"],
)
def test_an_answer_that_drips_is_given_up_at_the_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, beginning: bytes, *, tls: bool
) -> None:
    """However often a byte comes."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    given_up = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(beginning)
        while not given_up.wait(0.02):
            peer.send(b"0")

    with RawServer(scene, tls=tls) as server:
        began = time.monotonic()
        answer = make(server.url, timeout=0.3).send(post(server.url), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"
    assert "timed out" in answer.detail
    assert 0.25 < took < 3.0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("sips", [False, True], ids=["not at all", "slowly"])
def test_a_peer_that_does_not_read_is_given_up_at_the_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, sips: bool, tls: bool
) -> None:
    """Sending has the same deadline as receiving, if hardly any of it goes."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    given_up = threading.Event()

    def scene(peer: Peer) -> None:
        while not given_up.wait(0.02):
            if sips:
                peer.sock.recv(16)

    with RawServer(scene, tls=tls) as server:
        began = time.monotonic()
        answer = make(server.url, timeout=0.4).send(post(server.url, b"x" * MORE_THAN_BUFFERS), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"
    assert 0.35 < took < 3.0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_request_whose_bytes_move_is_no_time_out(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """A slow uplink takes several times the timeout, once, and the answer counts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    size = MORE_THAN_BUFFERS

    def scene(peer: Peer) -> None:
        peer.read_head()
        missing = size
        while missing > 0 and not given_up.wait(0.05):
            missing -= slowly(peer, min(missing, size // 30))
        peer.send(OK)

    given_up = threading.Event()
    with RawServer(scene, tls=tls) as server:
        began = time.monotonic()
        answer = make(server.url, timeout=0.7).send(post(server.url, b"x" * size), 20)
        took = time.monotonic() - began
        given_up.set()
    assert answer == FINE._replace(sent_bytes=size)
    assert took > 0.8
    assert server.connections == 1


def slowly(peer: Peer, count: int) -> int:
    """Reads as many bytes as that."""
    left = count
    while left and (part := peer.sock.recv(left)):
        left -= len(part)
    return count - left


def test_a_request_that_moves_ends_with_the_caller_s_time(make: MakeTransport) -> None:
    """Whoever must be done by then does not wait for a slow uplink."""
    given_up = threading.Event()

    def scene(peer: Peer) -> None:
        while not given_up.wait(0.01):
            peer.sock.recv(65536)

    with RawServer(scene) as server:
        began = time.monotonic()
        answer = make(server.url, timeout=0.4).send(post(server.url, b"x" * (2 * MORE_THAN_BUFFERS)), 0.6)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"
    assert took < 3.0


class SlowSocket:
    """A socket whose system took all at once, and sends it slowly."""

    def __init__(self, on_the_way: list[int], answer: bytes) -> None:
        self.on_the_way = on_the_way
        self.answer = answer

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None

    def send(self, content: memoryview) -> int:
        return len(content)

    def recv(self, _count: int) -> bytes:
        if self.on_the_way[0]:
            raise TimeoutError("timed out")
        return self.answer


@pytest.mark.parametrize(
    ("on_the_way", "arrives"), [([9, 6, 4, 1, 0, 0], True), ([9, 5, 5, 5, 5, 5, 5, 5], False)]
)
def test_what_the_system_still_sends_moves_the_deadline(
    monkeypatch: pytest.MonkeyPatch, on_the_way: list[int], *, arrives: bool
) -> None:
    """A body may be in its buffers long before it is with the peer."""
    now = [100.0]
    sock = SlowSocket(on_the_way, OK)

    def look(_sock: object) -> int:
        now[0] += 0.9
        return sock.on_the_way.pop(0)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("banyan_hp.engine.http.exchange._on_the_way", look)
    message = Message("POST", b"head", b"x" * 100_000)
    if arrives:
        assert exchange(cast("socket.socket", sock), message, 1.0, is_tls=False).response.body == b"ok"
    else:
        with pytest.raises(TimeoutError):
            exchange(cast("socket.socket", sock), message, 1.0, is_tls=False)


def test_the_shorter_of_both_times_counts(make: MakeTransport) -> None:
    """The transport's timeout, and what the caller has left."""
    with RawServer(Peer.wait_for_end) as server:
        began = time.monotonic()
        answer = make(server.url, timeout=60).send(post(server.url), 0.2)
        assert time.monotonic() - began < 3.0
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"


def test_connecting_and_asking_share_what_the_caller_has_left(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who must be done by then can't wait for each of them."""
    given = []

    def connect(connector: Connector, timeout: float) -> HTTPConnection:
        given.append(timeout)
        opened = real_connect(connector, timeout)
        now = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: now() + 3.0)
        return opened

    real_connect = Connector.connect
    monkeypatch.setattr(Connector, "connect", connect)
    with RawServer(Peer.wait_for_end) as server:
        began = time.perf_counter()
        answer = make(server.url, timeout=60).send(post(server.url), 3.2)
        assert time.perf_counter() - began < 2.0
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"
    assert 3.0 < given[0] <= 3.2


# -- connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["silent", "408"])
def test_a_connection_closed_while_idle_is_found_out_before_it_is_used(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, last_words: bytes, *, tls: bool
) -> None:
    """The request goes by another one, once, whatever the server said at the end."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    close = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        close.wait(5)
        peer.send(last_words)

    with RawServer(scene, answering(OK), tls=tls) as server:
        through = make(server.url)
        assert ask(through, server) == FINE
        close.set()
        assert wait_for_read(idle_socket(through), 5)
        assert ask(through, server) == FINE
        assert (server.connections, len(server.heard)) == (2, 2)


def test_descriptors_may_have_high_numbers(make: MakeTransport) -> None:
    """Beyond what select() can watch."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("no such descriptors are to be had")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with Path(os.devnull).open("rb") as null, RawServer(answering(OK, OK, OK)) as server:
        through = make(server.url)
        lower = [os.dup(null.fileno()) for _ in range(1100)]
        try:
            assert [ask(through, server) for _ in range(3)] == [FINE] * 3
            assert idle_socket(through).fileno() > 1024
            assert server.connections == 1
        finally:
            through.close()
            for descriptor in lower:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def reset_at_the_second(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    peer.read_request()
    peer.reset()


def reset_at_the_first(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def gone_at_the_second(peer: Peer) -> None:
    answering(OK)(peer)
    peer.read_request()


@pytest.mark.parametrize("scene", [reset_at_the_second, gone_at_the_second])
def test_a_kept_connection_that_ends_without_an_answer_is_replaced_once(
    make: MakeTransport, scene: Scene
) -> None:
    """However short it was idle; what comes of its replacement is the result, whatever it is."""
    with RawServer(scene, answering(OK)) as server:
        through = make(server.url)
        assert (ask(through, server), ask(through, server)) == (FINE, FINE)
        assert (server.connections, len(server.heard)) == (2, 3)
    with RawServer(scene, reset_at_the_first) as server:
        through = make(server.url)
        assert ask(through, server) == FINE
        answer = ask(through, server)
        assert isinstance(answer, NoResponse)
        assert (answer.reason, server.connections) == ("bad_answer", 2)


@pytest.mark.parametrize("part", [OK[:5], OK[:-1], CHUNKED[:-8]], ids=["head", "body", "chunks"])
def test_an_answer_that_breaks_off_is_not_asked_for_again(make: MakeTransport, part: bytes) -> None:
    """The backend has seen the request."""
    with RawServer(answering(OK, part), answering(OK)) as server:
        through = make(server.url)
        assert ask(through, server) == FINE
        answer = ask(through, server)
        assert isinstance(answer, NoResponse)
        assert (answer.reason, server.connections) == ("bad_answer", 1)


@pytest.mark.parametrize(
    ("status", "headers", "kept"),
    [
        ("500 Oops", (), False),
        ("503 Unavailable", ("Retry-After: 1",), False),
        ("408 Request Timeout", (), False),
        ("429 Too Many Requests", (), False),
        ("429 Too Many Requests", ("Retry-After: 1",), True),
        ("401 Unauthorized", (), True),
        ("400 Bad Request", (), True),
    ],
)
def test_a_connection_whose_host_is_unwell_is_not_used_again(
    make: MakeTransport, status: str, headers: tuple[str, ...], *, kept: bool
) -> None:
    """Behind a balancer that balances connections, the next one may reach a node that is well."""
    is_open = head("Content-Length: 0", *headers, status=status)
    with RawServer(answering(is_open, OK), answering(OK)) as server:
        through = make(server.url)
        assert isinstance(ask(through, server), Response)
        assert ask(through, server) == FINE
        assert server.connections == (1 if kept else 2)


def test_a_connection_in_steady_use_is_replaced_after_its_maximum_age(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never idle, it would stay for ever with a host that its name has left."""
    now = time.monotonic
    with RawServer(answering(*[OK] * 9)) as server:
        through = make(server.url, max_age=300.0)
        for seconds in range(0, 240, 40):
            monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: now() + seconds)
            assert ask(through, server) == FINE
        assert server.connections == 1
        for seconds in range(240, 301, 30):
            monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: now() + seconds)
            assert ask(through, server) == FINE
        assert server.connections == 2


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_a_connection_that_nobody_used_for_long_is_not_tried(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """By either clock, each connection by itself; 49 seconds are not long."""
    now = getattr(time, clock)
    with RawServer(answering(OK, OK, OK)) as server:
        through = make(server.url)
        assert ask(through, server) == FINE
        monkeypatch.setattr(time, clock, lambda: now() + 49)
        assert (ask(through, server), server.connections) == (FINE, 1)
        monkeypatch.setattr(time, clock, lambda: now() + 49 + 51)
        assert (ask(through, server), server.connections) == (FINE, 2)


def at_once(count: int) -> Scene:
    """Answers when so many requests are here, each by a connection of its own; then whatever comes."""
    together = threading.Barrier(count)

    def scene(peer: Peer) -> None:
        peer.read_request()
        together.wait(5)
        peer.send(OK)
        answering(OK, OK)(peer)

    return scene


def ask_at_once(through: HTTPTransport, server: RawServer, count: int) -> list[Response | NoResponse]:
    answers: list[Response | NoResponse] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(through, server)), daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return answers


def test_no_more_idle_connections_are_kept_than_wanted(make: MakeTransport) -> None:
    """Those beyond are closed when their answer is here."""
    with RawServer(at_once(4)) as server:
        through = make(server.url, connections=2)
        assert ask_at_once(through, server, 4) == [FINE] * 4
        server.wait_for(lambda server: server.ended == 2)
        assert (repr(through._connections), server.connections) == (
            f"<Connections 127.0.0.1:{server.port}, 2 idle>",
            4,
        )


def test_the_connection_used_last_is_used_next(make: MakeTransport) -> None:
    """It is the least likely to be stale."""
    with RawServer(at_once(2)) as server:
        through = make(server.url)
        assert ask_at_once(through, server, 2) == [FINE] * 2
        used = idle_socket(through)
        assert ask(through, server) == FINE
        assert idle_socket(through) is used


def test_closing_closes_what_is_idle_at_once_and_the_rest_when_it_is_handed_back(make: MakeTransport) -> None:
    """A request under way gets its answer."""
    go = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_request()
        go.wait(5)
        peer.send(OK)
        peer.wait_for_end()

    def idle(peer: Peer) -> None:
        answering(OK)(peer)
        peer.wait_for_end()

    with RawServer(idle, scene) as server:
        busy = make(server.url)
        assert ask(busy, server) == FINE
        first = busy._connections._pop()
        assert first is not None
        answers: list[Response | NoResponse] = []
        thread = threading.Thread(target=lambda: answers.append(ask(busy, server)), daemon=True)
        thread.start()
        server.wait_for(lambda server: len(server.heard) == 2)
        busy._connections.keep(first)
        busy.close()
        server.wait_for(lambda server: server.ended == 1)
        go.set()
        thread.join(5)
        server.wait_for(lambda server: server.ended == 2)
        assert answers == [FINE]


def test_a_transport_that_nobody_holds_any_more_closes_its_connections() -> None:
    """Without a word on stderr."""

    def scene(peer: Peer) -> None:
        answering(OK)(peer)
        peer.wait_for_end()

    with RawServer(scene) as server:
        through = HTTPTransport(server.url, 5.0, 2)
        assert ask(through, server) == FINE
        del through
        gc.collect()
        server.wait_for(lambda server: server.ended == 1)


def test_nobody_there_is_no_connection(make: MakeTransport) -> None:
    """Said with the address that was tried."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    answer = make(f"http://127.0.0.1:{port}").send(post(f"http://127.0.0.1:{port}"), 5)
    assert isinstance(answer, NoResponse)
    assert answer.reason == "no_connection"
    assert answer.detail.startswith("NewConnectionError: ")
    assert "refused" in answer.detail
    assert " at 0x" not in answer.detail


def test_an_unknown_name_is_no_connection(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the resolver says."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = make("http://backend.example").send(post("http://backend.example"), 5)
    assert isinstance(answer, NoResponse)
    assert answer.reason == "no_connection"
    assert answer.detail.startswith("NameResolutionError: ")


def test_a_connection_that_is_not_accepted_in_time_is_a_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent."""

    def late(*_: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", late)
    answer = make("http://127.0.0.1:1").send(post("http://127.0.0.1:1"), 5)
    assert isinstance(answer, NoResponse)
    assert answer.reason == "timeout"


# -- certificates --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_bundle_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_the_certificates_in_the_environment_are_trusted(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, *, directory: bool
) -> None:
    """A file, or a directory as OpenSSL wants it; and the connection is kept."""
    shutil.copy(AUTHORITY, tmp_path / f"{AUTHORITY_HASH}.0")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path if directory else AUTHORITY))
    with RawServer(answering(OK, CHUNKED, OK), tls=True) as server:
        url = f"https://{host}:{server.port}"
        through = make(url)
        assert [through.send(post(url), 5) for _ in range(3)][::2] == [FINE, FINE]
        assert (server.connections, len(server.heard)) == (1, 3)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_wrong_certificate_is_not_sent_anything(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    """One of an unknown authority, or of another host."""
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    with RawServer(answering(OK), tls=True, host="127.0.0.2" if trusted else "127.0.0.1") as server:
        answer = ask(make(server.url), server)
        assert isinstance(answer, NoResponse)
        assert answer.reason == "bad_answer"
        assert answer.detail.startswith("SSLError: ")
        assert "CERTIFICATE_VERIFY_FAILED" in answer.detail
        assert server.heard == []


def test_tls_to_a_server_without_it(make: MakeTransport) -> None:
    """It is said, and nothing is sent."""
    with RawServer(answering(OK)) as server:
        url = f"https://127.0.0.1:{server.port}"
        answer = make(url, timeout=1).send(post(url), 5)
        assert isinstance(answer, NoResponse)


def test_a_missing_ca_bundle(make: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is said at each request: the file may come yet."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with RawServer(answering(OK), tls=True) as server:
        answer = ask(make(server.url), server)
        assert isinstance(answer, NoResponse)
        assert answer.reason == "bad_answer"
        assert str(tmp_path / "missing.pem") in answer.detail


def test_the_setting_wins_over_the_environment(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ca_bundle` is what the code says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with RawServer(answering(OK), tls=True) as server:
        assert ask(make(server.url, trust=Trust(ca_bundle=AUTHORITY)), server) == FINE


def test_the_system_s_trust_store_is_used_by_default(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the standard library finds it, which looks at SSL_CERT_FILE first."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    with RawServer(answering(OK), tls=True) as server:
        assert ask(make(server.url), server) == FINE


def test_without_a_system_s_store_requests_bundle_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slim container has no certificates of its own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(requests.utils, "DEFAULT_CA_BUNDLE_PATH", str(AUTHORITY))
    (trusted,) = Trust().context().get_ca_certs()
    assert trusted["issuer"]


@pytest.mark.parametrize("pair", [False, True], ids=["one file", "two files"])
def test_a_client_certificate_is_shown(make: MakeTransport, *, pair: bool) -> None:
    """To a backend that accepts nobody without one."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(TLS_FILES / "client.pem")

    def scene(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        answering(OK)(peer)

    certificate = TLS_FILES / "client.pem"
    shown = (certificate, certificate) if pair else certificate
    with RawServer(scene) as server:
        url = server.url.replace("http:", "https:")
        refused = make(url, trust=Trust(ca_bundle=AUTHORITY)).send(post(url), 5)
        assert isinstance(refused, NoResponse)
        assert make(url, trust=Trust(AUTHORITY, shown)).send(post(url), 5) == FINE


def test_a_client_certificate_that_can_t_be_read_is_named(make: MakeTransport, tmp_path: Path) -> None:
    """By its path, in the error of each request."""
    (tmp_path / "broken.pem").write_text("not a certificate")
    with RawServer(answering(OK), tls=True) as server:
        answer = ask(make(server.url, trust=Trust(AUTHORITY, tmp_path / "broken.pem")), server)
        assert isinstance(answer, NoResponse)
        assert "broken.pem" in answer.detail


def test_the_trust_store_is_loaded_once(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading it for each connection costs more than the request."""
    loaded: list[Trust] = []
    load = Trust.context

    def loading(trust: Trust) -> ssl.SSLContext:
        loaded.append(trust)
        return load(trust)

    monkeypatch.setattr(Trust, "context", loading)
    with RawServer(answering(OK), tls=True) as server:
        through = make(server.url, trust=Trust(AUTHORITY))
        assert [ask(through, server) for _ in range(3)] == [FINE] * 3
        assert (server.connections, len(loaded)) == (3, 1)


# -- proxies -------------------------------------------------------------------------------------------------

AUTHORIZED = b"Basic dXMgZXI6cGE6c3M="  # "us er:pa:ss"


def proxy(monkeypatch: pytest.MonkeyPatch, server: RawServer) -> None:
    scheme, _, address = server.url.partition("://")
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://us%20er:pa:ss@{address}")
    monkeypatch.setenv("HTTP_PROXY", f"{scheme}://us%20er:pa:ss@{address}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))


@pytest.mark.parametrize("tls", [False, True], ids=["http proxy", "https proxy"])
def test_plain_http_through_a_proxy(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """The target is the whole URL, and each request says who we are."""
    with RawServer(answering(OK, OK), tls=tls) as server:
        proxy(monkeypatch, server)
        through = make("http://backend.example:8080")
        for _ in range(2):
            assert through.send(post("http://backend.example:8080"), 5) == FINE
        assert server.connections == 1
        ours = b"Accept-Encoding: identity\r\nContent-Length: 2\r\n"
        host = b"backend.example:8080"
        request = b"POST http://%b/p HTTP/1.1\r\nHost: %b\r\n%b" % (host, host, ours + SENT)
        assert server.heard == [request + b"Proxy-Authorization: " + AUTHORIZED + b"\r\n\r\n{}"] * 2


def test_https_through_a_proxy(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel, opened once for many requests; the proxy sees neither them nor the key."""
    asked: list[bytes] = []

    def scene(peer: Peer) -> None:
        asked.append(peer.read_head())
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        peer.start_tls()
        answering(OK, OK)(peer)

    with RawServer(scene) as server:
        proxy(monkeypatch, server)
        through = make("https://localhost")
        for _ in range(2):
            assert through.send(post("https://localhost"), 5) == FINE
        (connect,) = asked
        assert connect.startswith(b"CONNECT localhost:443 HTTP/1.")
        assert b"\r\nProxy-Authorization: " + AUTHORIZED + b"\r\n" in connect
        assert b"X-API-Key" not in connect
        assert [request.split(b"\r\n")[:2] for request in server.heard] == [
            [b"POST /p HTTP/1.1", b"Host: localhost"]
        ] * 2
        assert b"Proxy-Authorization" not in server.heard[0]


def relaying_to(port: int) -> Scene:
    """A proxy that opens a tunnel and passes on what goes through it."""

    def scene(peer: Peer) -> None:
        peer.read_head()
        with closing(socket.create_connection(("127.0.0.1", port))) as origin:
            peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            relay(peer, origin)

    return scene


def relay(peer: Peer, origin: socket.socket) -> None:
    """Until one of them closes."""
    while True:
        for source in select.select([peer.sock, origin], [], [], 10)[0]:
            content = source.recv(65536)
            if not content:
                return
            (origin if source is peer.sock else peer.sock).sendall(content)


def test_https_through_an_https_proxy(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS within TLS, for answers of both kinds, on one connection."""
    with (
        RawServer(answering(OK, CHUNKED, OK), tls=True) as origin,
        RawServer(relaying_to(origin.port), tls=True) as server,
    ):
        proxy(monkeypatch, server)
        url = f"https://localhost:{origin.port}"
        through = make(url)
        assert [through.send(post(url), 5) for _ in range(3)][::2] == [FINE, FINE]
        assert (origin.connections, len(origin.heard)) == (1, 3)


@pytest.mark.parametrize("drips_from", ["handshake", "answer"])
def test_a_tunnel_that_drips_is_given_up_at_the_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, drips_from: str
) -> None:
    """TLS within TLS has one deadline for all the bytes of a record, too."""
    given_up = threading.Event()

    def proxying(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        with closing(socket.create_connection(("127.0.0.1", origin.port))) as onward:
            while not given_up.is_set():
                for source in select.select([peer.sock, onward], [], [], 10)[0]:
                    content = source.recv(65536)
                    if source is peer.sock:
                        onward.sendall(content)
                    elif drips_from == "answer" and not origin.heard:
                        peer.send(content)
                    else:
                        for byte in content:
                            peer.send(bytes([byte]))
                            given_up.wait(0.02)

    with RawServer(answering(OK + b"x" * 1000), tls=True) as origin, RawServer(proxying, tls=True) as server:
        proxy(monkeypatch, server)
        url = f"https://localhost:{origin.port}"
        began = time.monotonic()
        answer = make(url, timeout=0.5).send(post(url), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(answer, NoResponse)
    assert "timed out" in answer.detail
    assert took < 3.0


def test_what_follows_an_answer_in_a_tunnel_is_not_the_next_one(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outer TLS may hand over both at once, where no socket tells of the second."""
    both_said = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        peer.send(OK.replace(b"ok", b"no"))
        both_said.set()
        peer.wait_for_end()

    def proxying(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        with closing(socket.create_connection(("127.0.0.1", origin.port))) as onward:
            while True:
                for source in select.select([peer.sock, onward], [], [], 10)[0]:
                    if source is onward and origin.heard:
                        both_said.wait(5)
                    content = source.recv(65536)
                    if not content:
                        return
                    (onward if source is peer.sock else peer.sock).sendall(content)

    with RawServer(scene, answering(OK), tls=True) as origin, RawServer(proxying, tls=True) as server:
        proxy(monkeypatch, server)
        url = f"https://localhost:{origin.port}"
        through = make(url)
        assert [through.send(post(url), 5) for _ in range(2)] == [FINE, FINE]
        assert origin.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
        b"HTTP/1.1 200 Connected\r\n\r\n",
    ],
    ids=["407", "garbage", "closed", "then closed"],
)
def test_a_proxy_that_opens_no_tunnel(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """It is a bad answer, readable."""

    def scene(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer)

    with RawServer(scene) as server:
        proxy(monkeypatch, server)
        got = make("https://localhost").send(post("https://localhost"), 5)
        assert isinstance(got, NoResponse)
        assert got.reason == "bad_answer"
        assert got.detail.isprintable()
        assert server.heard == []
    assert ("407" in got.detail) == (b"407" in answer)


def test_a_tunnel_whose_opening_drips_is_given_up_at_the_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy's answer has a deadline, too."""
    given_up = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 Connected\r\nX: ")
        while not given_up.wait(0.02):
            peer.send(b"y")

    with RawServer(scene) as server:
        proxy(monkeypatch, server)
        began = time.monotonic()
        answer = make("https://localhost", timeout=0.3).send(post("https://localhost"), 5)
        assert time.monotonic() - began < 3.0
        given_up.set()
    assert isinstance(answer, NoResponse)


def test_a_proxy_that_is_not_there(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as the culprit."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{port}")
    for url in ("http://backend.example", "https://backend.example"):
        answer = make(url).send(post(url), 5)
        assert isinstance(answer, NoResponse)
        assert answer.detail.startswith("ProxyError: ")
        assert " at 0x" not in answer.detail


def test_hosts_that_need_no_proxy_are_reached_without(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NO_PROXY says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with RawServer(answering(OK)) as server:
        assert ask(make(server.url), server) == FINE


def socks_relaying_to(port: int, asked: list[bytes]) -> Scene:
    """A SOCKS5 proxy (RFC 1928) without authentication that leads to one port, whatever it is asked for."""

    def scene(peer: Peer) -> None:
        peer.sock.recv(3)
        peer.send(b"\x05\x00")
        asked.append(peer.sock.recv(262))
        peer.send(b"\x05\x00\x00\x01" + bytes(6))
        with closing(socket.create_connection(("127.0.0.1", port))) as origin:
            relay(peer, origin)

    return scene


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_socks_proxy_is_used(make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, tls: bool) -> None:
    """With socks5h it resolves the name; the connection is kept."""
    asked: list[bytes] = []
    with (
        RawServer(answering(OK, OK), tls=tls) as origin,
        RawServer(socks_relaying_to(origin.port, asked)) as server,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{server.port}")
        url = f"{'https' if tls else 'http'}://localhost:{origin.port}"
        through = make(url, trust=Trust(AUTHORITY))
        assert [through.send(post(url), 5) for _ in range(2)] == [FINE] * 2
        assert origin.connections == 1
    assert b"localhost" in asked[0]


def test_a_socks_proxy_without_pysocks_is_refused_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; records would never arrive."""
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(ConfigurationError, match="pip install PySocks"):
        HTTPTransport("https://backend.example", 5.0, 1)


def test_a_proxy_of_another_kind_is_refused_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records would never arrive."""
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:1")
    with pytest.raises(ValueError, match="Proxy URL had unsupported scheme"):
        HTTPTransport("https://backend.example", 5.0, 1)


def test_a_proxy_that_cannot_be_parsed_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors end up in logs."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy.example:99999")
    with pytest.raises(ConfigurationError, match="proxy") as caught:
        HTTPTransport("https://backend.example", 5.0, 1)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
