"""The way to the backend, step by step, with the code that delivery itself uses.

No request carries a record: the key is checked by the call that the backend has for it, batches by an empty
one.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, ProxyError

from ...destinations.banyan import USER_AGENT
from ...engine.http.connections import Connector, proxy_from_environment, secrets_of
from ...engine.http.response import Response
from ...engine.http.transport import HTTPTransport, NoResponse, Request
from ...engine.http.trust import Trust
from ...engine.records.outcome import Outcome
from ...errors import ConfigurationError
from ...text import TextFilter
from .configuration import Target, host_and_port, without_secrets
from .findings import Finding, State, good, note, unknown, wrong

_CLOCK_TOLERANCE = 5.0  # seconds; a Date header has whole ones
_SOON_DAYS = 14
_WAITS = "Records wait on disk meanwhile."


class Network:
    """One look at the way to a backend.

    Args:
        target: where to.
        wall: the time of this machine, in seconds.
    """

    def __init__(self, target: Target, wall: Callable[[], float] = time.time) -> None:
        self._target = target
        self._url = target.destination.base_url
        self._timeout = target.settings.timeout
        self._trust = Trust(target.settings.ca_bundle, target.settings.client_cert)
        self._wall = wall
        self._key_is_good = False
        self._asked = False
        self._clock_offset: float | None = None

    def findings(self) -> Iterator[Finding]:
        """A line for each step; what lies behind a step that failed is not checked."""
        steps = {
            "proxy": self._proxy,
            "name resolution": self._names,
            "connection": self._connection,
            "TLS": self._tls,
        }
        blocked = False
        for topic, step in steps.items():
            finding = unknown(topic, "there is no way to the backend") if blocked else step(topic)
            blocked = blocked or finding.state is State.WRONG
            yield finding
        for topic, step in {"key": self._key, "batches": self._batches, "clock": self._clock}.items():
            yield unknown(topic, "there is no way to the backend") if blocked else step(topic)

    # -- the way ---------------------------------------------------------------------------------------------

    def _proxy(self, topic: str) -> Finding:
        try:
            self._found_proxy = proxy_from_environment(self._url)
            self._connector = Connector(self._url, self._trust)
            self._transport = HTTPTransport(self._url, self._timeout, 1, trust=self._trust)
        except (ConfigurationError, ValueError) as error:
            advice = "Correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY."
            return wrong(topic, self._clean(f"can't be used: {error}"), advice)
        if self._found_proxy is None:
            return good(topic, "none")
        return good(topic, f"{_without_credentials(self._found_proxy)} ({_source(self._found_proxy)})")

    @property
    def _peer(self) -> tuple[str, int]:
        """What is connected to first: the proxy, else the backend."""
        proxy = self._found_proxy
        if proxy is None:
            return host_and_port(self._url)
        return host_and_port(proxy if "://" in proxy else f"http://{proxy}")

    def _names(self, topic: str) -> Finding:
        host, port = self._peer
        found = _within(self._timeout, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if isinstance(found, list):
            return good(topic, f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}")
        why = f"{host}: {found or f'no answer within {self._timeout:g} s'}"
        return wrong(topic, why, f"Is the host in {self._whose()} right, and is there a network? {_WAITS}")

    def _connection(self, topic: str) -> Finding:
        host, port = self._peer
        began = time.monotonic()
        try:
            socket.create_connection((host, port), self._timeout).close()
        except OSError as error:
            advice = f"Does it run there, and are host and port in {self._whose()} right? {_WAITS}"
            return wrong(topic, f"{host}:{port}: {error.strerror or error}", advice)
        return good(topic, f"{host}:{port} in {(time.monotonic() - began) * 1000:.1f} ms")

    def _whose(self) -> str:
        return "base_url" if self._found_proxy is None else "the proxy's URL"

    def _tls(self, topic: str) -> Finding:
        if urlsplit(self._url).scheme != "https":
            return self._no_tls(topic)
        try:
            opened = self._connector.connect(self._timeout)
        except ProxyError as error:
            return wrong(topic, self._clean(f"the proxy refuses the way: {error}"), "Ask who runs the proxy.")
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            return wrong(topic, self._clean(_reason(error)), _tls_advice(str(error)))
        with closing(opened):
            return self._certificate(topic, opened.sock)

    def _no_tls(self, topic: str) -> Finding:
        host, _ = host_and_port(self._url)
        if host in ("localhost", "127.0.0.1", "::1"):
            return good(topic, "not used (http:// on this machine)")
        return note(topic, "not used: keys and records travel readable", "Use an https:// URL.")

    def _certificate(self, topic: str, sock: object) -> Finding:
        version = sock.version() if isinstance(sock, ssl.SSLSocket) else None
        certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        ends = str((certificate or {}).get("notAfter", ""))
        if not ends:
            return good(topic, f"{version or 'the certificate'} is trusted")
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
        found = f"{version}, the certificate is trusted and valid until {until:%Y-%m-%d}"
        if (until - datetime.now(UTC)).days < _SOON_DAYS:
            return note(topic, found, "It ends soon: has its renewal been seen to?")
        return good(topic, found)

    # -- the backend -----------------------------------------------------------------------------------------

    def _key(self, topic: str) -> Finding:
        destination = self._target.destination
        request = destination.key_check()
        if request is not None:
            return self._judged(topic, request)
        if not destination.may_batch:
            return unknown(topic, "this service has no call that checks a key without writing a record")
        finding = self._judged(topic, destination.batch([], compress=False))
        if self._verdict in (Outcome.HOLD_CONFIG, Outcome.REFUSED):  # it has no batches: that is all it says
            return unknown(topic, "this backend has no call that checks a key without writing a record")
        return finding

    def _judged(self, topic: str, request: Request) -> Finding:
        """What the response to a request says about the key."""
        response = self._send(request)
        target = f"{request.method} {request.url}"
        self._verdict = None
        if isinstance(response, NoResponse):
            return wrong(topic, self._clean(f"{target}: {response.detail}"), _WAITS)
        verdict = self._target.destination.verdict(response, self._wall())
        self._verdict = verdict.outcome
        said = self._clean(f"{target}: {response.status} {verdict.detail}".strip())
        if not self._target.destination.key:
            return unknown(topic, "no key is set")
        if verdict.outcome is Outcome.DELIVERED:
            self._key_is_good = True
            return good(topic, "accepted")
        if verdict.outcome is Outcome.HOLD_AUTH:
            advice = f"{self._target.key_variable} must be a key of the backend at {self._url}. {_WAITS}"
            return wrong(topic, f"refused: {said}", advice)
        if verdict.outcome is Outcome.RETRY:
            return wrong(topic, f"the backend is unwell: {said}", _WAITS)
        advice = "base_url must be the backend's root, without a path of its API; or a proxy is in the way."
        return wrong(topic, f"this is not the API: {said}", advice)

    def _batches(self, topic: str) -> Finding:
        destination = self._target.destination
        if not destination.may_batch:
            return good(topic, "no: this service takes one record a request")
        if not self._key_is_good:
            return unknown(topic, "needs a key that is accepted")
        response = self._send(destination.batch([], compress=False))
        if isinstance(response, NoResponse):
            return wrong(topic, self._clean(response.detail))
        yes, compressed = destination.takes_batches(response)
        if not yes:
            return good(topic, f"no ({response.status}): one record a request")
        return good(topic, f"yes, {'compressed' if compressed else 'not compressed'}")

    def _clock(self, topic: str) -> Finding:
        if not self._asked:  # ask for a page, without a key
            self._send(Request("HEAD", f"{self._url}/", {"User-Agent": USER_AGENT}))
        offset = self._clock_offset
        if offset is None:
            return unknown(topic, "the backend's responses have no Date")
        if abs(offset) <= _CLOCK_TOLERANCE:
            return good(topic, f"within {_CLOCK_TOLERANCE:g} s of the backend's")
        way = "ahead of" if offset > 0 else "behind"
        found = f"this machine's clock is {abs(offset):.0f} s {way} the backend's"
        return wrong(topic, found, "Records carry wrong times: have it set by NTP.")

    def _send(self, request: Request) -> Response | NoResponse:
        self._asked = True
        began = self._wall()
        response = self._transport.send(request, self._timeout)
        if isinstance(response, Response):
            self._note_time(response, (began + self._wall()) / 2)
        return response

    def _note_time(self, response: Response, ours: float) -> None:
        with suppress(ValueError, TypeError, OverflowError):
            date = parsedate_to_datetime(response.headers.get("date", ""))
            theirs = date.replace(tzinfo=date.tzinfo or UTC).timestamp() + 0.5  # it has no fractions
            self._clock_offset = ours - theirs

    def _clean(self, text: str) -> str:
        return without_secrets(self._target, text)


def _without_credentials(proxy: str) -> str:
    return TextFilter(secrets_of(proxy))(proxy)


def _source(proxy: str) -> str:
    names = [name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value == proxy]
    return f"environment: {names[0]}" if names else "the system's settings"


def _reason(error: Exception) -> str:
    """The system's or OpenSSL's own words, without those of the layers above."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return getattr(inner, "verify_message", "") or str(getattr(inner, "strerror", None) or inner)


def _tls_advice(text: str) -> str:
    lower = text.lower()
    if "self-signed" in lower or "self signed" in lower or "issuer" in lower:
        return (
            "If it is your own authority's, pass ca_bundle='its-certificate.pem' or set REQUESTS_CA_BUNDLE."
        )
    if "mismatch" in lower or "doesn't match" in lower:
        return "The host in base_url must be a name that the certificate is for."
    if "expired" in lower or "not yet valid" in lower:
        return "Have it renewed, and compare this machine's clock."
    if "wrong_version" in lower or "wrong version" in lower or "record layer" in lower:
        return "The port does not speak TLS: is it an http:// URL?"
    if "timed out" in lower:
        return "It takes connections and says nothing: is it the right port, and does it speak TLS?"
    return ""


def _within(seconds: float, ask: Callable[[], object]) -> object:
    """What a call that can't be given a deadline returns; its error; or None if it takes longer."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(ask())
        except (OSError, UnicodeError) as error:
            found.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
