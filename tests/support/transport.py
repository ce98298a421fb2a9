"""What the tests of HTTP share: a usual request, and the response to it."""

from __future__ import annotations

import socket
from collections.abc import Callable

from banyan_hp.engine.http.connections import Connection
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import HTTPTransport, NoResponse, Request
from tests.support.parts import part_of
from tests.support.raw import (
    RawServer,
)

HEADERS = {"X-API-Key": "k", "Content-Type": "application/json", "User-Agent": "u"}
SENT = b"X-API-Key: k\r\nContent-Type: application/json\r\nUser-Agent: u\r\n"
FINE = Response(200, {"content-length": "2"}, b"ok", 2)
MORE_THAN_BUFFERS = 32 * 1024 * 1024
MakeTransport = Callable[..., HTTPTransport]


def post(url: str, body: bytes = b"{}") -> Request:
    return Request("POST", url + "/p", HEADERS, body)


def ask(through: HTTPTransport, server: RawServer, body: bytes = b"{}") -> Response | NoResponse:
    return through.send(post(server.url, body), 5.0)


def idle_socket(through: HTTPTransport) -> socket.socket:
    """The one that the next request goes by."""
    return part_of(through, Connection).sock


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


CHUNKED = head("Transfer-Encoding: chunked") + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
