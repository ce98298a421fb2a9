"""One request and its response on the wire: bytes, and deadlines."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import pytest
from urllib3.connection import HTTPConnection

from banyan_hp.engine.http.connections import Connector
from banyan_hp.engine.http.exchange import Message, exchange
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from tests.support.raw import (
    AUTHORITY,
    OK,
    Peer,
    RawServer,
    answering,
)
from tests.support.timing import assert_in_time
from tests.support.transport import (
    FINE,
    HEADERS,
    MORE_THAN_BUFFERS,
    SENT,
    MakeTransport,
    ask,
    head,
    post,
)


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
    """Nothing is sent, and it is a response, not an exception."""
    with RawServer(answering(OK)) as server:
        response = make(server.url).send(Request(method, server.url + "/", headers), 5)
        assert isinstance(response, NoResponse)
        assert response.reason == "no_connection"
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


# -- deadlines ---------------------------------------------------------------------------------------------


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
def test_a_response_that_drips_is_given_up_at_the_timeout(
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
        response = make(server.url, timeout=0.3).send(post(server.url), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"
    assert "timed out" in response.detail
    assert took > 0.25
    assert_in_time(took, 3.0)


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
        response = make(server.url, timeout=0.4).send(post(server.url, b"x" * MORE_THAN_BUFFERS), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"
    assert took > 0.35
    assert_in_time(took, 3.0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_request_whose_bytes_move_is_no_time_out(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """A slow uplink takes several times the timeout, once, and the response counts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    size = MORE_THAN_BUFFERS

    def scene(peer: Peer) -> None:
        peer.read_head()
        missing = size
        while missing > 0 and not given_up.wait(0.05):
            missing -= slowly(peer, min(missing, size // 30))
            moved.append(time.monotonic())
        peer.send(OK)

    given_up = threading.Event()
    moved: list[float] = []
    with RawServer(scene, tls=tls) as server:
        began = time.monotonic()
        response = make(server.url, timeout=0.7).send(post(server.url, b"x" * size), 20)
        took = time.monotonic() - began
        given_up.set()
    if isinstance(response, NoResponse):  # whose fault is it?
        assert_in_time(max(later - earlier for earlier, later in pairwise([began, *moved])), 0.35)
    assert response == FINE._replace(sent_bytes=size)
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
        response = make(server.url, timeout=0.4).send(post(server.url, b"x" * (2 * MORE_THAN_BUFFERS)), 0.6)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"
    assert_in_time(took, 3.0)


class SlowSocket:
    """A socket whose system took all at once, and sends it slowly."""

    def __init__(self, on_the_way: list[int], response: bytes) -> None:
        self.on_the_way = on_the_way
        self.response = response

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None

    def send(self, content: memoryview) -> int:
        return len(content)

    def recv(self, _count: int) -> bytes:
        if self.on_the_way[0]:
            raise TimeoutError("timed out")
        return self.response


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
    # private: what is still on the way only the kernel says, of real sockets
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
        response = make(server.url, timeout=60).send(post(server.url), 0.2)
        assert_in_time(time.monotonic() - began, 3.0)
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"


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
        response = make(server.url, timeout=60).send(post(server.url), 3.2)
        took = time.perf_counter() - began
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"
    assert 3.0 < given[0] <= 3.2
    assert_in_time(took, 2.0)
