"""Names and addresses share one time-out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from banyan_hp.engine.http import addresses
from banyan_hp.engine.http.addresses import MOST_HANGING, open_socket, resolve
from banyan_hp.engine.http.transport import NoResponse
from tests.support.raw import OK, RawServer, answering
from tests.support.timing import assert_in_time
from tests.support.transport import FINE, MakeTransport, ask, post

NAME = "backend.example"


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that answers no name before the event."""
    answer = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *options: int) -> object:
        if host == NAME:
            answer.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real(host, port, *options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answer
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "banyan_hp-lookup":
            thread.join(10)


def test_a_resolver_that_hangs_costs_no_more_than_the_timeout(hanging: threading.Event) -> None:
    """The system's own deadline is half a minute."""
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=f"the name {NAME} was not resolved within 0.05 s"):
        resolve(NAME, 80, 0.05)
    assert_in_time(time.monotonic() - began, 5)
    assert not hanging.is_set()


def test_look_ups_that_hang_don_t_pile_up(hanging: threading.Event) -> None:
    """A process that can't resolve names for hours keeps a few threads, not thousands."""
    for _ in range(MOST_HANGING):
        with pytest.raises(TimeoutError, match="not resolved"):
            resolve(NAME, 80, 0.01)
    with pytest.raises(TimeoutError, match=f"{MOST_HANGING} look-ups of names hang"):
        resolve(NAME, 80, 0.01)
    hanging.set()


@pytest.mark.usefixtures("hanging")
def test_a_transport_says_that_the_time_was_up(make: MakeTransport) -> None:
    """The record stays, and is tried again."""
    url = f"http://{NAME}"
    response = make(url, timeout=0.05).send(post(url), 0.05)
    assert isinstance(response, NoResponse)
    assert "timed out" in response.detail


def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names have to be asked for."""
    monkeypatch.setattr(addresses, "start", None)
    assert resolve("127.0.0.1", 80, 1)[0][4] == ("127.0.0.1", 80)
    assert resolve("::1", 80, 1)[0][4][:2] == ("::1", 80)


def test_without_a_thread_the_caller_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the interpreter's end there are none."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(addresses, "start", refuse)
    assert resolve("localhost", 80, 1)


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".example"])
def test_a_name_that_can_t_be_one_is_an_error_of_resolving(name: str) -> None:
    """Python raises UnicodeError for it."""
    with pytest.raises(socket.gaierror):
        resolve(name, 80, 5)


def test_a_silent_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses the first does not answer."""
    with RawServer(answering(OK)) as server, closing(socket.socket()) as silent, ExitStack() as queued:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        _fill(silent, queued)
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", each)
            for each in (silent.getsockname(), ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        with closing(open_socket("two.example", 80, 0.4)) as opened:
            assert opened.getpeername()[1] == server.port
            assert opened.gettimeout() == 0.4


def _fill(listener: socket.socket, queued: ExitStack) -> None:
    """Connect until nobody else gets in: the system then drops what arrives."""
    for _ in range(8):
        waiting = queued.enter_context(closing(socket.socket()))
        waiting.settimeout(0)
        waiting.connect_ex(listener.getsockname())


def test_the_last_address_error_is_told() -> None:
    """Where none takes the connection."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            open_socket("127.0.0.1", unused.getsockname()[1], 1)


def test_a_name_reaches_its_server(make: MakeTransport) -> None:
    """By a thread that asks the resolver."""
    with RawServer(answering(OK)) as server:
        url = f"http://localhost:{server.port}"
        assert make(url).send(post(url), 5) == FINE
        assert isinstance(ask(make(server.url), server), type(FINE))
