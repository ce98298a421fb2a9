"""How a host is reached, and the connections to it: made when needed, kept while idle.

Owns which proxy the environment names, and how urllib3's connection classes are set up. They do the
rest: socket options, TLS, tunnels. No lock is held anywhere: a fork while another thread
holds one would leave it held for ever in the child, where the garbage collector would wait for it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig, port_by_scheme
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    LocationValueError,
    ProxyError,
    ProxySchemeUnknown,
    SSLError,
    URLSchemeUnknown,
)
from urllib3.util import Url, parse_url
from urllib3.util.ssl_match_hostname import CertificateError
from urllib3.util.ssltransport import SSLTransport

from ..policy.retry import chance
from .addresses import InTimeConnection
from .response import ResponseReader, seconds_left
from .trust import Trust, remember_session

_TRUSTED_SECONDS = 50.0  # not used after this long: balancers drop idle connections, often silently


def proxy_from_environment(url: str) -> str | None:
    """The proxy by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, read as requests reads them."""
    return requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))


def proxy_secrets(url: str) -> tuple[str, ...]:
    """The credentials of the proxy that leads to a URL, which no text may repeat."""
    try:
        return secrets_of(proxy_from_environment(url))
    except ValueError:  # not a usable URL
        return ()


def secrets_of(proxy: str | None) -> tuple[str, ...]:
    """The user and password of a proxy's URL, together and apart, quoted, unquoted, and in base64."""
    given = (proxy or "").rpartition("@")[0].rpartition("//")[2]
    user, _, password = map(unquote, given.partition(":"))
    basic = b64encode(f"{user}:{password}".encode("utf-8", "surrogatepass")).decode("ascii")
    secret = given.partition(":")[2]
    return (given, basic, secret or given, password or user) if given else ()


class _Host(NamedTuple):
    """Where a URL leads."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: Url) -> _Host:
        if url.scheme not in port_by_scheme:
            raise URLSchemeUnknown(url.scheme or "")
        if not url.host:
            raise LocationValueError("No host specified.")
        return cls(url.scheme, url.host, url.port or port_by_scheme[url.scheme])

    @property
    def authority(self) -> str:
        address, _, zone = self.host.partition("%")  # a zone means nothing to other machines
        host = f"{address}]" if zone else address
        return host if self.port == port_by_scheme[self.scheme] else f"{host}:{self.port}"


class _TunnelResponse(http.client.HTTPResponse):
    """A proxy's response to CONNECT, read with a deadline for all of it."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        timeout = sock.gettimeout()
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        super().__init__(ResponseReader(sock, b"", deadline).as_socket(), *args, **kwargs)


class _Countdown:
    """A socket whose timeout covers everything that it does until the next `settimeout`.

    urllib3's TLS within TLS reads from the outer connection until it can decrypt something, drip by drip.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        self.settimeout(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._sock.settimeout(seconds)

    def recv(self, most: int) -> bytes:
        self._sock.settimeout(seconds_left(self._deadline))
        return self._sock.recv(most)

    def sendall(self, content: bytes) -> None:
        self._sock.settimeout(seconds_left(self._deadline))
        self._sock.sendall(content)


class _TLSConnection(InTimeConnection, HTTPSConnection):
    response_class = _TunnelResponse


class _TunnelConnection(_TLSConnection):
    @property
    def is_connected(self) -> bool:
        """Bytes that the outer TLS has passed on and the inner one has not are unread, too."""
        unread = isinstance(self.sock, SSLTransport) and self.sock.incoming.pending
        return super().is_connected and not unread

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        outer = super()._connect_tls_proxy(hostname, sock)
        return cast("ssl.SSLSocket", _Countdown(outer, cast("float", self.timeout)))


class Connector:
    """Makes connections to the host of a URL. Thread-safe.

    Raises:
        ValueError: the URL, or that of the proxy to use, is not usable.
    """

    def __init__(self, url: str, trust: Trust = Trust()) -> None:  # noqa: B008 - immutable
        found = proxy_from_environment(url)
        self._host = _Host.of(parse_url(url))
        self._socks = _socks(found) if found and found.lower().startswith("socks") else None
        self._proxy = _proxy(found) if found and self._socks is None else None
        self._tunnels = self._proxy is not None and self._host.scheme == "https"
        self._peer = self._host if self._proxy is None else _Host.of(self._proxy)
        self.secrets = secrets_of(found)
        self._trust = trust

    @property
    def authority(self) -> str:
        """The value of `Host`: an IPv6 address in brackets; the port if it isn't the scheme's default."""
        return self._host.authority

    @property
    def forwarded_with(self) -> Mapping[str, str] | None:
        """Headers for a proxy that forwards our requests; None without such a proxy."""
        return None if self._proxy is None or self._tunnels else _authorization(self._proxy)

    def connect(self, timeout: float) -> HTTPConnection:
        """A new connection, with this many seconds for each of its steps: TCP, a tunnel, TLS.

        Raises:
            urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError: connecting failed.
        """
        with ExitStack() as undo:
            connection = self._unconnected(timeout)
            undo.callback(connection.close)
            try:
                connection.connect()
            except (ssl.SSLError, CertificateError) as error:
                raise self._blamed(SSLError(error), connection) from error
            except (OSError, HTTPError, http.client.HTTPException) as error:
                raise self._blamed(error, connection) from error
            undo.pop_all()
        return connection

    def _unconnected(self, timeout: float) -> HTTPConnection:
        host, port = self._peer.host.strip("[]"), self._peer.port
        options: dict[str, Any] = {"timeout": timeout}
        if self._socks is not None:
            plain, tls = self._socks
            if self._host.scheme == "http":
                return plain(host=host, port=port, **options)
            return tls(host=host, port=port, **options, ssl_context=self._trust.context())
        if self._proxy is not None:
            context = self._trust.context_without_certificate() if self._peer.scheme == "https" else None
            config = ProxyConfig(
                context, use_forwarding_for_https=False, assert_hostname=None, assert_fingerprint=None
            )
            options |= {"proxy": self._proxy, "proxy_config": config}
        if "https" not in (self._host.scheme, self._peer.scheme):
            return InTimeConnection(host, port, **options)
        if not self._tunnels:
            without = self._trust.context_without_certificate
            context = without() if self._proxy is not None else self._trust.context()
            return _TLSConnection(host, port, **options, ssl_context=context)
        connection = _TunnelConnection(host, port, **options, ssl_context=self._trust.context())
        credentials = _authorization(cast("Url", self._proxy))
        connection.set_tunnel(self._host.host, self._host.port, credentials, self._peer.scheme)
        return connection

    def _blamed(self, error: Exception, connection: HTTPConnection) -> Exception:
        """The error; a `ProxyError` if the connection did not get past the proxy."""
        if self._proxy is None or connection.has_connected_to_proxy:
            return error
        return ProxyError("Unable to connect to proxy", error)


def _socks(url: str) -> tuple[Callable[..., HTTPConnection], Callable[..., HTTPConnection]]:
    """What makes a SOCKS proxy's connections: plain ones, and those with TLS.

    Raises:
        ValueError: the package is missing, or the proxy's URL is not valid.
    """
    try:
        from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection, SOCKSProxyManager

        options = SOCKSProxyManager(url).connection_pool_kw["_socks_options"]
    except ImportError:
        raise ValueError(
            "the environment names a SOCKS proxy, which needs the package PySocks: pip install PySocks"
        ) from None
    except LocationParseError:  # its text repeats the URL, with the password
        raise LocationValueError("The SOCKS proxy's URL in the environment is not valid.") from None
    return partial(SOCKSConnection, options), partial(SOCKSHTTPSConnection, options)


def _proxy(given: str) -> Url:
    try:
        proxy = parse_url(given if "://" in given else f"http://{given}")
    except LocationParseError:  # its text repeats the URL, with the password
        raise LocationValueError("The proxy's URL in the environment is not valid.") from None
    if proxy.scheme not in port_by_scheme:
        raise ProxySchemeUnknown(proxy.scheme)
    return proxy


def _authorization(proxy: Url) -> dict[str, str]:
    user, password = requests.utils.get_auth_from_url(proxy.url)
    if not user:
        return {}
    return {"Proxy-Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")}


class Connection:
    """An open connection that knows how long it has been idle and when it is too old."""

    __slots__ = ("_expires_at", "_opened", "_session_is_new", "_used_at", "is_tls", "sock")

    def __init__(self, opened: HTTPConnection, lifetime: float) -> None:
        self._opened = opened
        self._expires_at = time.monotonic() + lifetime
        self.sock: socket.socket = opened.sock
        self.is_tls = self._session_is_new = isinstance(opened, HTTPSConnection)
        self.rest()

    def rest(self) -> None:
        """Note that it was used until now."""
        self._used_at = time.monotonic(), time.time()

    def is_usable(self) -> bool:
        """Whether it is not too old, and has nothing to read: an idle peer only ever sends its end.

        The clock that says more counts: one of them may stop while the machine is suspended.
        """
        now, (monotonic, wall) = time.monotonic(), self._used_at
        idle = max(now - monotonic, time.time() - wall)
        return idle <= _TRUSTED_SECONDS and now < self._expires_at and self._opened.is_connected

    def remember_session(self) -> None:
        """After the first response only, when the tickets are there: looking at a session copies it."""
        if self._session_is_new:
            self._session_is_new = False
            remember_session(self.sock)

    def close(self) -> None:
        self._opened.close()


class Connections:
    """Makes connections, and keeps some of the idle ones, `most` at most. Thread-safe.

    After `max_age` seconds, less up to a fifth by chance, a connection is replaced: a balancer that balances
    connections gets to choose again, and a host name that has moved is resolved again.
    """

    def __init__(self, connector: Connector, most: int, max_age: float) -> None:
        self._connector = connector
        self._most = most
        self._max_age = max_age
        self._idle: deque[Connection] = deque()  # `append` and `pop` are atomic, with or without the GIL

    def __del__(self) -> None:
        self.forget()

    def __repr__(self) -> str:
        return f"<Connections {self._connector.authority}, {len(self._idle)} idle>"

    def take(self) -> Connection | None:
        """The usable one that was used last: it is the least likely to be stale. Closes the unusable ones."""
        while (connection := self._pop()) is not None:
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def connect(self, timeout: float) -> Connection:
        """A new one. See `Connector.connect`."""
        return Connection(self._connector.connect(timeout), self._max_age * (1.0 - 0.2 * chance()))

    def keep(self, connection: Connection) -> None:
        connection.rest()
        connection.remember_session()
        if len(self._idle) >= self._most:  # two threads may pass here together: one more does no harm
            connection.close()
            return
        self._idle.append(connection)
        if not self._most:  # closed in between
            self.forget()

    def forget(self) -> None:
        while (connection := self._pop()) is not None:
            connection.close()

    def close(self) -> None:
        """Close all that are idle, and from now on each one that is handed back."""
        self._most = 0
        self.forget()

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
