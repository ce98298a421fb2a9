"""One HTTP request, one answer: no retries, no redirects.

Knows nothing of records. Whatever goes wrong on the way is returned as a `NoAnswer`, not raised.
"""

from __future__ import annotations

import gzip
import http.client
import ipaddress
import logging
import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from ..errors import ConfigurationError
from .connecting import Connector
from .connections import Connection, Connections
from .exchange import Message, exchange
from .head import Heads
from .log import logger, unheard

_GZIP_LEVEL = 1
_GZIP_FROM = 1024
_SHORTEST_TIMEOUT = 0.05
_STALE_SECONDS = 1.0  # idle for longer, a connection may have been closed by its peer
_ADDRESS = re.compile(r"<[^<>]* object at 0x[0-9a-f]+>(: )?")


class Request(NamedTuple):
    """What a destination wants sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    compress: bool = False

    def __repr__(self) -> str:
        """Without the headers, which hold the key, and without the body."""
        return f"<Request {self.method} {self.url}>"


class Response(NamedTuple):
    """What came back. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    sent_bytes: int = 0


class NoAnswer(NamedTuple):
    """Nothing that could be understood came back."""

    reason: str  # no_connection, timeout, bad_answer
    detail: str


class Transport(Protocol):
    """What the engine sends through. Thread-safe.

    `send` returns within about its timeout, or within so many seconds if that is less.
    """

    def send(self, request: Request, within: float) -> Response | NoAnswer: ...

    def close(self) -> None: ...


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class HTTPTransport:
    """Connections to one host, each used for one request at a time.

    Args:
        url: any URL of the destination; decides proxy and certificates.
        timeout: seconds for connecting, and again for sending and receiving, if `send` is given as many for
            all of it. The answer's time is a deadline for the whole answer, however slowly its bytes drip in.
        connections: how many idle connections are kept.

    Raises:
        ConfigurationError: the URL of the destination, or of its proxy, can't be used.
    """

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        try:
            connector = Connector(url)
        except ValueError as error:
            raise ConfigurationError(f"{url} can't be reached: {_sentence(error)}") from error
        self._timeout = timeout
        self._heads = Heads(connector.authority, connector.forwarded_with)
        self._connections = Connections(connector, connections)

    def send(self, request: Request, within: float) -> Response | NoAnswer:
        deadline = time.monotonic() + within
        try:
            body, headers = _encoded(request)
            head = self._heads.head(request.method, request.url, headers, len(body))
            answer = self._on_a_fresh_connection_if_stale(Message(request.method, head, body), deadline)
        except NewConnectionError as error:
            return NoAnswer("no_connection", _sentence(error))
        except (Urllib3Timeout, TimeoutError) as error:
            return NoAnswer("timeout", _sentence(error))
        except (HTTPError, http.client.HTTPException, OSError) as error:
            return NoAnswer("bad_answer", _sentence(error))
        except ValueError as error:
            return NoAnswer("no_connection", _sentence(error))
        if logger.isEnabledFor(logging.DEBUG):
            with unheard():
                logger.debug("%s %s: %d", request.method, urlsplit(request.url).path, answer.status)
        return answer

    def close(self) -> None:
        """Close the connections: those in use when their answer is here."""
        self._connections.close()

    def _on_a_fresh_connection_if_stale(self, message: Message, deadline: float) -> Response:
        """Connections that nobody used for a while may be gone, which tells nothing of the backend.

        The peer has closed them, or a frozen process was thawed. Such a failure is not told of.
        """
        connection = self._connections.take()
        if connection is not None:
            stale = connection.idle_seconds() >= _STALE_SECONDS
            try:
                return self._exchange(connection, message, deadline)
            except ConnectionError:
                if not stale:
                    raise
                self._connections.forget()
        return self._exchange(self._connections.connect(self._seconds(deadline)), message, deadline)

    def _seconds(self, deadline: float) -> float:
        return max(_SHORTEST_TIMEOUT, min(self._timeout, deadline - time.monotonic()))

    def _exchange(self, connection: Connection, message: Message, deadline: float) -> Response:
        reusable = False
        try:
            timeout = self._seconds(deadline)
            answer = exchange(connection.sock, message, timeout, is_tls=connection.is_tls)
            reusable = answer.ended_clean
        finally:
            if reusable:
                self._connections.keep(connection)
            else:
                connection.close()
        return Response(answer.status, answer.headers, answer.body, len(message.body))


def _encoded(request: Request) -> tuple[bytes, Mapping[str, str]]:
    if not request.compress or len(request.body) < _GZIP_FROM:
        return request.body, request.headers
    body = gzip.compress(request.body, _GZIP_LEVEL, mtime=0)
    return body, {**request.headers, "Content-Encoding": "gzip"}


def _sentence(error: BaseException) -> str:
    """What went wrong, in one line, without the addresses of Python objects."""
    text = _ADDRESS.sub("", str(error)[:1000])
    printable = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return f"{type(error).__name__}: {printable}"[:500]
