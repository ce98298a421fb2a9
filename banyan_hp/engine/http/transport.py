"""One HTTP request, one response: no retries, no redirects. This module is the door of the room.

Knows nothing of records. Whatever goes wrong on the way is returned as a `NoResponse`, not raised.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, ParamSpec, Protocol
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from ...errors import ConfigurationError
from ...logs import debug, debugging
from ...settings import Settings
from ...text import TextFilter
from ..policy.compression import compressed, is_worth_it
from .connections import Connection, Connections, Connector, proxy_secrets
from .exchange import Heads, Message, exchange
from .response import Response as Response
from .trust import Trust

P = ParamSpec("P")
MAX_AGE_SECONDS = 300.0
_SHORTEST_TIMEOUT = 0.05
_SENTENCE_LENGTH = 500
_OPEN_HEADERS = frozenset(
    {"accept", "content-encoding", "content-type", "user-agent"}
    | {"idempotency-key", "x-event-time", "x-project-id"}
)
"""All other headers may hold credentials."""
_ADDRESS = re.compile(r"<[^<>]* object at 0x[0-9a-f]+>(: )?")
_CONNECTION = re.compile(r"\w*Connection\(host='([^']*)', port=(\d+)\)")  # as urllib3 2 names one


class Request(NamedTuple):
    """What a destination wants sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    compress: bool = False

    @property
    def goes_compressed(self) -> bool:
        """Whether it travels compressed: a short body goes as it is."""
        return self.compress and is_worth_it(len(self.body))

    def __repr__(self) -> str:
        """Without the headers, which hold the key, and without the body."""
        return f"<Request {self.method} {self.url}>"


class NoResponse(NamedTuple):
    """No response came back, or none that could be understood."""

    reason: str  # no_connection, timeout, bad_answer
    detail: str


class Transport(Protocol):
    """What the engine sends through. Thread-safe.

    `send` returns within about its timeout, or `within` this many seconds if that is less.
    """

    def send(self, request: Request, within: float) -> Response | NoResponse: ...

    def close(self) -> None: ...


class HTTPTransport:
    """Connections to one host, each used for one request at a time.

    Args:
        url: any URL of the destination; decides proxy and certificates.
        timeout: seconds for connecting, and again for sending and receiving, as far as `within` allows. It
            is a deadline for the whole response; a request whose bytes move gets up to ten times this.
        connections: how many idle connections are kept.
        max_age: seconds after which a connection is not used again.
        trust: which certificates count.

    Raises:
        ConfigurationError: the URL of the destination, or of its proxy, can't be used.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        connections: int,
        *,
        max_age: float = MAX_AGE_SECONDS,
        trust: Trust = Trust(),  # noqa: B008 - immutable
    ) -> None:
        try:
            connector = Connector(url, trust)
        except ValueError as error:
            raise ConfigurationError(
                f"{url} can't be reached: {_sentence(error, proxy_secrets(url))}"
            ) from error
        self._timeout = timeout
        self._proxy_secrets = connector.secrets
        self._heads = Heads(connector.authority, connector.forwarded_with)
        self._connections = Connections(connector, connections, max_age)

    def send(self, request: Request, within: float) -> Response | NoResponse:
        began = time.monotonic()
        response = self._sent(request, began + within)
        if debugging():
            came = f"status {response.status}" if isinstance(response, Response) else response.reason
            path, size = urlsplit(request.url).path, len(request.body)
            debug(
                "%s %s, %d bytes: %s after %.3f s", request.method, path, size, came, time.monotonic() - began
            )
        return response

    def _sent(self, request: Request, deadline: float) -> Response | NoResponse:
        try:
            body, headers = request.body, request.headers
            if request.goes_compressed:
                body, headers = compressed(body), {**headers, "Content-Encoding": "gzip"}
            head = self._heads.head(request.method, request.url, headers, len(body))
            return self._on_a_fresh_connection_if_gone(Message(request.method, head, body), deadline)
        except NewConnectionError as error:
            return self._no_response("no_connection", error, request)
        except (Urllib3Timeout, TimeoutError) as error:
            return self._no_response("timeout", error, request)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            return self._no_response("bad_answer", error, request)
        except ValueError as error:
            return self._no_response("no_connection", error, request)

    def _no_response(self, reason: str, error: Exception, request: Request) -> NoResponse:
        """A peer can only repeat what it was sent: the request's credentials, or the proxy's."""
        return NoResponse(reason, _sentence(error, (*_secrets_in(request.headers), *self._proxy_secrets)))

    def close(self) -> None:
        """Close the connections: those in use once their response has arrived."""
        self._connections.close()

    def _on_a_fresh_connection_if_gone(self, message: Message, deadline: float) -> Response:
        """A kept connection that ends without a byte of a response says nothing about the backend.

        The peer closed it while it was idle, be it a moment ago: servers recycle workers and limit the
        requests of a connection. The backend recognises a record that did arrive by its id.
        """
        connection = self._connections.take()
        if connection is not None:
            try:
                return self._exchange(connection, message, deadline)
            except ConnectionError:
                self._connections.forget()
        return self._exchange(self._connections.connect(self._seconds(deadline)), message, deadline)

    def _seconds(self, deadline: float) -> float:
        return max(_SHORTEST_TIMEOUT, min(self._timeout, deadline - time.monotonic()))

    def _exchange(self, connection: Connection, message: Message, deadline: float) -> Response:
        reusable = False
        try:
            timeout = self._seconds(deadline)
            at_most = max(timeout, deadline - time.monotonic())
            response, ended_clean = exchange(
                connection.sock, message, timeout, is_tls=connection.is_tls, at_most=at_most
            )
            reusable = ended_clean and not _speaks_against_its_host(response)
        finally:
            if reusable:
                self._connections.keep(connection)
            else:
                connection.close()
        return response


class Unreachable(NamedTuple):
    """Stands in for a transport that can't be made now: it sends nothing and raises nothing."""

    why: str

    def send(self, _request: Request, _within: float) -> NoResponse:
        return NoResponse("no_connection", self.why)

    def close(self) -> None:
        """There is nothing to close."""


class ByHost:
    """Sends each request through the transport of its URL's host.

    Args:
        transports: by one URL of each host.
    """

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        self._by_host = {_host_of(url): transport for url, transport in transports.items()}

    def send(self, request: Request, within: float) -> Response | NoResponse:
        return self._by_host[_host_of(request.url)].send(request, within)

    def close(self) -> None:
        for transport in self._by_host.values():
            transport.close()


def _host_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def never_raising(make: Callable[P, Transport]) -> Callable[P, Transport]:
    """For transports that are made within a call: the environment may have changed since construction.

    A proxy that can't be used is an error when a client is constructed; a later call must not raise for it.
    """

    def made(*args: P.args, **kwargs: P.kwargs) -> Transport:
        try:
            return make(*args, **kwargs)
        except ConfigurationError as error:
            return Unreachable(str(error))

    return made


def connecting_as(settings: Settings) -> Callable[[str, float, int], HTTPTransport]:
    """Makes transports of a URL, a timeout and a number of connections; the settings decide the rest."""
    trust = Trust(settings.ca_bundle, settings.client_cert)
    return partial(HTTPTransport, max_age=settings.connection_max_age, trust=trust)


def _speaks_against_its_host(response: Response) -> bool:
    """Whether the host that sent it is unhealthy: the next connection may reach another one.

    Balancers balance connections. A 429 with a Retry-After speaks for the whole service.
    """
    if response.status == 429:
        return "retry-after" not in response.headers
    return response.status >= 500 or response.status == 408


def text_filter(url: str, headers: Mapping[str, str]) -> TextFilter:
    """The filter for all texts about requests to a URL: it strikes out their credentials and the proxy's.

    A backend may repeat the key that it refuses, and a proxy's responses look like the backend's.
    """
    return TextFilter((*_secrets_in(headers), *proxy_secrets(url)))


def _secrets_in(headers: Mapping[str, str]) -> Iterator[str]:
    """The values of the headers that hold credentials, and the same without their scheme."""
    for name, value in headers.items():
        if name.lower() not in _OPEN_HEADERS:
            yield value
        if name.lower() == "authorization":
            yield value.partition(" ")[2]


def _sentence(error: BaseException, secrets: Iterable[str]) -> str:
    """What went wrong, in one line, without secrets and Python's names of objects."""
    text = _CONNECTION.sub(r"\1:\2", f"{type(error).__name__}: {error}")
    return TextFilter(secrets)(_ADDRESS.sub("", text), _SENTENCE_LENGTH)
