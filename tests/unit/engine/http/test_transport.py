"""What `send` returns: a response like any other, or why there is none."""

from __future__ import annotations

import logging
import re
import socket
from contextlib import closing

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from tests.support.raw import (
    OK,
    RawServer,
    answering,
)
from tests.support.transport import (
    MakeTransport,
    ask,
    head,
    post,
)


def test_a_redirect_is_a_response_like_any_other(make: MakeTransport) -> None:
    """Nobody follows it."""
    with RawServer(answering(OK)) as elsewhere:
        raw = head(f"Location: {elsewhere.url}/", "Content-Length: 0", status="307 Temporary Redirect")
        with RawServer(answering(raw)) as server:
            response = ask(make(server.url), server)
            assert isinstance(response, Response)
            assert (response.status, elsewhere.connections) == (307, 0)


def test_a_line_a_request_is_logged_for_who_wants_to_see_it(
    make: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """At level DEBUG, without the query, which may name users, and without anything else of the request."""
    caplog.set_level(logging.DEBUG)
    with RawServer(answering(OK)) as server:
        make(server.url).send(Request("GET", server.url + "/p?user=me", {"X-API-Key": "secret"}), 5)
    (line,) = [line.getMessage() for line in caplog.records]
    assert re.fullmatch(r"GET /p, 0 bytes: status 200 after \d\.\d{3} s", line)


def test_nobody_there_is_no_connection(make: MakeTransport) -> None:
    """Said with the address that was tried."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    response = make(f"http://127.0.0.1:{port}").send(post(f"http://127.0.0.1:{port}"), 5)
    assert isinstance(response, NoResponse)
    assert response.reason == "no_connection"
    assert response.detail.startswith(f"NewConnectionError: 127.0.0.1:{port}: Failed to establish ")
    assert "refused" in response.detail
    assert " at 0x" not in response.detail


def test_an_unknown_name_is_no_connection(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the resolver says."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    response = make("http://backend.example").send(post("http://backend.example"), 5)
    assert isinstance(response, NoResponse)
    assert response.reason == "no_connection"
    assert response.detail.startswith("NameResolutionError: ")


def test_a_connection_that_is_not_accepted_in_time_is_a_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent."""

    def late(*_: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", late)
    response = make("http://127.0.0.1:1").send(post("http://127.0.0.1:1"), 5)
    assert isinstance(response, NoResponse)
    assert response.reason == "timeout"
