"""One HTTP request, one answer: urllib3 with its own retries and redirects off.

Knows nothing of records. Whatever goes wrong on the way is returned as a `NoAnswer`, not raised.
"""

from __future__ import annotations

import gzip
import http.client
import ipaddress
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests.utils
import urllib3
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util import Timeout

from .pooling import POOL_CLASSES

MAX_ANSWER_BYTES = 4 * 1024 * 1024
_GZIP_LEVEL = 1
_GZIP_FROM = 1024
_SHORTEST_TIMEOUT = 0.05
_STALE_SECONDS = 1.0  # idle for longer, a connection may have been closed by its peer
_TRUSTED_SECONDS = 50.0  # idle for longer, it is not tried: balancers forget it, often without a word


@dataclass(frozen=True, slots=True)
class Request:
    """What a destination wants sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)  # they hold the key
    body: bytes = field(default=b"", repr=False)
    compress: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing that could be understood came back."""

    reason: str  # no_connection, timeout, bad_answer
    detail: str


class Transport(Protocol):
    """What the engine sends through. Thread-safe.

    `send` returns within about its timeout, or within so many seconds if that is less.
    """

    def send(self, request: Request, within: float) -> Response | NoAnswer: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """How a URL is reached: by which proxy, and with which certificates."""

    proxy: str | None
    ca_bundle: str


def route_from_environment(url: str) -> Route:
    """Proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and CA bundle, read as requests reads them."""
    proxies = requests.utils.get_environ_proxies(url)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return Route(requests.utils.select_proxy(url, proxies), bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class HTTPTransport:
    """A pool of connections to one host.

    Args:
        url: any URL of the destination; decides proxy and certificates.
        timeout: seconds for connecting, and again for sending and receiving. The answer's time is a
            deadline for the whole answer, however slowly its bytes drip in.
        connections: how many connections are kept.
    """

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        route = route_from_environment(url)
        options: dict[str, Any] = {"maxsize": connections, "block": False, "retries": False}
        if urlsplit(url).scheme == "https":
            options |= {"cert_reqs": "CERT_REQUIRED", **_ca_option(route.ca_bundle)}
        self._timeout = timeout
        self._pools: urllib3.PoolManager = (
            urllib3.ProxyManager(_proxy_url(route.proxy), **options)
            if route.proxy
            else urllib3.PoolManager(**options)
        )
        self._pools.pool_classes_by_scheme = POOL_CLASSES
        self._url = url
        self._pool: HTTPConnectionPool | None = None
        self._used_at: tuple[float, float] | None = None  # by the monotonic clock, and by the wall clock

    def send(self, request: Request, within: float) -> Response | NoAnswer:
        body, headers = _encoded(request)
        timeout = max(_SHORTEST_TIMEOUT, min(self._timeout, within))
        try:
            return self._exchange_on_a_fresh_connection_if_stale(request, body, headers, timeout)
        except NewConnectionError as error:
            return NoAnswer("no_connection", _sentence(error))
        except (Urllib3Timeout, TimeoutError) as error:
            return NoAnswer("timeout", _sentence(error))
        except (HTTPError, http.client.HTTPException) as error:
            return NoAnswer("bad_answer", _sentence(error))
        except (OSError, ValueError) as error:
            return NoAnswer("no_connection", _sentence(error))

    def _exchange_on_a_fresh_connection_if_stale(
        self, request: Request, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """Connections that nobody used for a while may be gone, which tells nothing of the backend.

        The peer has closed them, or a frozen process was thawed. Such a failure is not told of.
        """
        idle = self._idle_seconds()
        if idle > _TRUSTED_SECONDS:
            self._forget_connections()
        try:
            answer = self._exchange(request, body, headers, timeout)
        except ProtocolError as error:
            if idle < _STALE_SECONDS or not _is_cut_off(error):
                raise
            self._forget_connections()
            answer = self._exchange(request, body, headers, timeout)
        self._used_at = time.monotonic(), time.time()
        return answer

    def _idle_seconds(self) -> float:
        """Since the last answer: by the clock that says more, for one of them may stop in a freeze."""
        if self._used_at is None:
            return 0.0
        monotonic, wall = self._used_at
        return max(time.monotonic() - monotonic, time.time() - wall)

    def _exchange(
        self, request: Request, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Response:
        pool = self._pool
        if pool is None:  # kept: having the manager look it up costs a tenth of a request
            pool = self._pool = self._pools.connection_from_url(self._url)
        answer = pool.urlopen(
            request.method,
            _target(request.url, self._pools),
            body=body or None,
            headers=headers,
            retries=False,
            redirect=False,
            timeout=Timeout(total=timeout),
            preload_content=False,
            decode_content=True,
        )
        try:
            content = answer.read(MAX_ANSWER_BYTES)
            if answer.length_remaining != 0 and answer.read(1):
                answer.close()  # more than we care for: the connection can't be used again
        finally:
            answer.release_conn()
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, names, content, len(body))

    def close(self) -> None:
        # Pools close themselves when collected, but no more at exit once weakref's finalizers have run.
        for key in self._pools.pools.keys():  # noqa: SIM118 - iterating the container itself is refused
            pool = self._pools.pools.get(key)
            if pool is not None:
                pool.close()
        self._forget_connections()

    def _forget_connections(self) -> None:
        self._pool = None
        self._pools.clear()


def _encoded(request: Request) -> tuple[bytes, Mapping[str, str]]:
    if not request.compress or len(request.body) < _GZIP_FROM:
        return request.body, request.headers
    body = gzip.compress(request.body, _GZIP_LEVEL, mtime=0)
    return body, {**request.headers, "Content-Encoding": "gzip"}


def _target(url: str, pools: urllib3.PoolManager) -> str:
    """The path for an origin server; the whole URL for a proxy that forwards plain HTTP."""
    parts = urlsplit(url)
    if pools.proxy is not None and parts.scheme == "http":
        return url
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _proxy_url(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _ca_option(bundle: str) -> dict[str, str]:
    return {"ca_cert_dir": bundle} if Path(bundle).is_dir() else {"ca_certs": bundle}


def _is_cut_off(error: ProtocolError) -> bool:
    """Whether the connection ended instead of an answer's beginning."""
    return any(isinstance(cause, ConnectionError) for cause in error.args)


def _sentence(error: BaseException) -> str:
    """What went wrong, without the addresses of Python objects."""
    text = str(error).split(">: ", 1)[-1] if str(error).startswith("<") else str(error)
    return f"{type(error).__name__}: {text}"[:500]
