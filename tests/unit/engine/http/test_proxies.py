"""Proxies: forwarding, tunnels, SOCKS."""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
import traceback
from contextlib import closing

import pytest

from banyan_hp.engine.http.transport import HTTPTransport, NoResponse
from banyan_hp.engine.http.trust import Trust
from banyan_hp.errors import ConfigurationError
from tests.support.raw import (
    AUTHORITY,
    OK,
    Peer,
    RawServer,
    Scene,
    answering,
)
from tests.support.timing import assert_in_time
from tests.support.transport import (
    CHUNKED,
    FINE,
    SENT,
    MakeTransport,
    ask,
    post,
)

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
    """TLS within TLS, for responses of both kinds, on one connection."""
    with (
        RawServer(answering(OK, CHUNKED, OK), tls=True) as origin,
        RawServer(relaying_to(origin.port), tls=True) as server,
    ):
        proxy(monkeypatch, server)
        url = f"https://localhost:{origin.port}"
        through = make(url)
        assert [through.send(post(url), 5) for _ in range(3)][::2] == [FINE, FINE]
        assert (origin.connections, len(origin.heard)) == (1, 3)


@pytest.mark.parametrize("drips_from", ["handshake", "response"])
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
                    elif drips_from == "response" and not origin.heard:
                        peer.send(content)
                    else:
                        for byte in content:
                            peer.send(bytes([byte]))
                            given_up.wait(0.02)

    with RawServer(answering(OK + b"x" * 1000), tls=True) as origin, RawServer(proxying, tls=True) as server:
        proxy(monkeypatch, server)
        url = f"https://localhost:{origin.port}"
        began = time.monotonic()
        response = make(url, timeout=0.5).send(post(url), 5)
        took = time.monotonic() - began
        given_up.set()
    assert isinstance(response, NoResponse)
    assert "timed out" in response.detail
    assert_in_time(took, 3.0)


def test_what_follows_a_response_in_a_tunnel_is_not_the_next_one(
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
    "response",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
        b"HTTP/1.1 200 Connected\r\n\r\n",
    ],
    ids=["407", "garbage", "closed", "then closed"],
)
def test_a_proxy_that_opens_no_tunnel(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, response: bytes
) -> None:
    """It is a bad response, readable."""

    def scene(peer: Peer) -> None:
        peer.read_head()
        peer.send(response)

    with RawServer(scene) as server:
        proxy(monkeypatch, server)
        got = make("https://localhost").send(post("https://localhost"), 5)
        assert isinstance(got, NoResponse)
        assert got.reason == "bad_answer"
        assert got.detail.isprintable()
        assert server.heard == []
    assert ("407" in got.detail) == (b"407" in response)


def test_a_tunnel_whose_opening_drips_is_given_up_at_the_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy's response has a deadline, too."""
    given_up = threading.Event()

    def scene(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 Connected\r\nX: ")
        while not given_up.wait(0.02):
            peer.send(b"y")

    with RawServer(scene) as server:
        proxy(monkeypatch, server)
        began = time.monotonic()
        response = make("https://localhost", timeout=0.3).send(post("https://localhost"), 5)
        assert_in_time(time.monotonic() - began, 3.0)
        given_up.set()
    assert isinstance(response, NoResponse)


def test_a_proxy_that_is_not_there(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as the culprit."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{port}")
    for url in ("http://backend.example", "https://backend.example"):
        response = make(url).send(post(url), 5)
        assert isinstance(response, NoResponse)
        assert response.detail.startswith("ProxyError: ")
        assert " at 0x" not in response.detail


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
