"""What becomes of connections: reused, replaced, closed."""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
from pathlib import Path

import pytest
from urllib3.util import wait_for_read

from banyan_hp.engine.http.connections import Connections
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import HTTPTransport, NoResponse
from tests.support.parts import part_of
from tests.support.raw import (
    AUTHORITY,
    OK,
    Peer,
    RawServer,
    Scene,
    answering,
)
from tests.support.transport import (
    CHUNKED,
    FINE,
    MakeTransport,
    ask,
    head,
    idle_socket,
)


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
def test_a_kept_connection_that_ends_without_a_response_is_replaced_once(
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
        response = ask(through, server)
        assert isinstance(response, NoResponse)
        assert (response.reason, server.connections) == ("bad_answer", 2)


@pytest.mark.parametrize("part", [OK[:5], OK[:-1], CHUNKED[:-8]], ids=["head", "body", "chunks"])
def test_a_response_that_breaks_off_is_not_asked_for_again(make: MakeTransport, part: bytes) -> None:
    """The backend has seen the request."""
    with RawServer(answering(OK, part), answering(OK)) as server:
        through = make(server.url)
        assert ask(through, server) == FINE
        response = ask(through, server)
        assert isinstance(response, NoResponse)
        assert (response.reason, server.connections) == ("bad_answer", 1)


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
    """Responses when so many requests are here, each by a connection of its own; then whatever comes."""
    together = threading.Barrier(count)

    def scene(peer: Peer) -> None:
        peer.read_request()
        together.wait(5)
        peer.send(OK)
        answering(OK, OK)(peer)

    return scene


def ask_at_once(through: HTTPTransport, server: RawServer, count: int) -> list[Response | NoResponse]:
    responses: list[Response | NoResponse] = []
    threads = [
        threading.Thread(target=lambda: responses.append(ask(through, server)), daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return responses


def test_no_more_idle_connections_are_kept_than_wanted(make: MakeTransport) -> None:
    """Those beyond are closed when their response is here."""
    with RawServer(at_once(4)) as server:
        through = make(server.url, connections=2)
        assert ask_at_once(through, server, 4) == [FINE] * 4
        server.wait_for(lambda server: server.ended == 2)
        assert (repr(part_of(through, Connections)), server.connections) == (
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
    """A request under way gets its response."""
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
        connections = part_of(busy, Connections)
        first = connections._pop()  # private: as a request does that is under way
        assert first is not None
        responses: list[Response | NoResponse] = []
        thread = threading.Thread(target=lambda: responses.append(ask(busy, server)), daemon=True)
        thread.start()
        server.wait_for(lambda server: len(server.heard) == 2)
        connections.keep(first)
        busy.close()
        server.wait_for(lambda server: server.ended == 1)
        go.set()
        thread.join(5)
        server.wait_for(lambda server: server.ended == 2)
        assert responses == [FINE]


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
