"""The way to a backend, step by step, with the code that delivery itself uses. No request is made."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, ProxyError

from ...engine.http.connections import Connector, proxy_from_environment, secrets_of
from ...engine.http.trust import Trust
from ...engine.threads import ThreadStart
from ...text import TextFilter
from .configuration import Target
from .findings import Finding, State, good, note, unknown, wrong

NO_WAY = "there is no way to the backend"
WAITS = "Records wait on disk meanwhile."
_SOON_DAYS = 14
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_USUAL_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080


class Way:
    """One look at the way to a target.

    Attributes:
        is_open: False once a step has failed.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._url = target.destination.base_url
        self._timeout = target.settings.timeout
        self._proxy = proxy_from_environment(self._url)
        self._peer = _host_and_port(self._proxy or self._url)
        self._asked_of = "base_url" if self._proxy is None else "the proxy's URL"
        self.is_open = True

    def findings(self) -> Iterator[Finding]:
        """A line for each step; what lies behind a step that failed is not checked."""
        steps = {
            "proxy": self._look_at_proxy,
            "name resolution": self._resolve,
            "connection": self._connect,
            "TLS": self._negotiate,
        }
        for topic, step in steps.items():
            finding = step(topic) if self.is_open else unknown(topic, NO_WAY)
            self.is_open = self.is_open and finding.state is not State.WRONG
            yield finding

    def _look_at_proxy(self, topic: str) -> Finding:
        try:
            self._connector()
        except ValueError as error:
            advice = "Correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY."
            return wrong(topic, self._target.clean(f"can't be used: {error}"), advice)
        if self._proxy is None:
            return good(topic, "none")
        return good(topic, f"{TextFilter(secrets_of(self._proxy))(self._proxy)} ({_source(self._proxy)})")

    def _resolve(self, topic: str) -> Finding:
        host, port = self._peer
        found = _within(self._timeout, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if isinstance(found, list):
            return good(topic, f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}")
        why = f"{host}: {found or f'no answer within {self._timeout:g} s'}"
        return wrong(topic, why, f"Is the host in {self._asked_of} right, and is there a network? {WAITS}")

    def _connect(self, topic: str) -> Finding:
        host, port = self._peer
        began = time.monotonic()
        try:
            socket.create_connection((host, port), self._timeout).close()
        except OSError as error:
            advice = f"Does it run there, and are host and port in {self._asked_of} right? {WAITS}"
            return wrong(topic, f"{host}:{port}: {error.strerror or error}", advice)
        return good(topic, f"{host}:{port} in {(time.monotonic() - began) * 1000:.1f} ms")

    def _negotiate(self, topic: str) -> Finding:
        """TLS with the backend, through the proxy's tunnel if there is one."""
        parts = urlsplit(self._url)
        if parts.scheme != "https":
            return _without_tls(topic, parts.hostname)
        try:
            opened = self._connector().connect(self._timeout)
        except ProxyError as error:
            found = self._target.clean(f"the proxy refuses the way: {error}")
            return wrong(topic, found, "Ask who runs the proxy.")
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            return wrong(topic, self._target.clean(_reason(error)), _advice(str(error)))
        with closing(opened):
            return _certificate(topic, opened.sock)

    def _connector(self) -> Connector:
        settings = self._target.settings
        return Connector(self._url, Trust(settings.ca_bundle, settings.client_cert))


# -- proxies and names ---------------------------------------------------------------------------------------


def _host_and_port(url: str) -> tuple[str, int]:
    """Where a URL leads, with its scheme's usual port. A proxy's URL may come without a scheme."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:  # said when the proxy is looked at
        port = None
    return parts.hostname or "", port or _USUAL_PORTS.get(parts.scheme, _SOCKS_PORT)


def _source(proxy: str) -> str:
    names = [name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value == proxy]
    return f"environment: {names[0]}" if names else "the system's settings"


def _within(seconds: float, ask: Callable[[], object]) -> object:
    """What a call that has no time limit of its own returns; its error; None if it takes longer."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(ask())
        except (OSError, UnicodeError) as error:
            found.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=run, daemon=True)
    with ThreadStart(thread) as start:
        start.make()
    thread.join(seconds)
    return found[0] if found else None


# -- TLS -----------------------------------------------------------------------------------------------------


def _without_tls(topic: str, host: str | None) -> Finding:
    if host in _THIS_MACHINE:
        return good(topic, "not used (http:// on this machine)")
    return note(topic, "not used: keys and records travel readable", "Use an https:// URL.")


def _certificate(topic: str, sock: object) -> Finding:
    version = sock.version() if isinstance(sock, ssl.SSLSocket) else None
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    ends = str((certificate or {}).get("notAfter", ""))
    if not ends:  # TLS within a proxy's TLS, which does not say
        return good(topic, "the certificate is trusted")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    found = f"{version}, the certificate is trusted and valid until {until:%Y-%m-%d}"
    if (until - datetime.now(UTC)).days < _SOON_DAYS:
        return note(topic, found, "It ends soon: has its renewal been seen to?")
    return good(topic, found)


def _reason(error: Exception) -> str:
    """The system's or OpenSSL's own words, without those of the layers above."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return getattr(inner, "verify_message", "") or str(getattr(inner, "strerror", None) or inner)


_ADVICE = {
    ("self-signed", "self signed", "issuer"): (
        "If it is your own authority's, pass ca_bundle='its-certificate.pem' or set REQUESTS_CA_BUNDLE."
    ),
    ("mismatch", "doesn't match"): "The host in base_url must be a name that the certificate is for.",
    ("expired", "not yet valid"): "Have it renewed, and compare this machine's clock.",
    ("wrong_version", "wrong version", "record layer"): "The port does not speak TLS: is it an http:// URL?",
    ("timed out",): "It takes connections and says nothing: is it the right port, and does it speak TLS?",
}


def _advice(problem: str) -> str:
    """What to do about a failure of TLS, by OpenSSL's words."""
    lower = problem.lower()
    fitting = (advice for words, advice in _ADVICE.items() if any(word in lower for word in words))
    return next(fitting, "")
