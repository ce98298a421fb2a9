"""One request and its response, on an open connection."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from http.client import RemoteDisconnected
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from urllib3.exceptions import ProtocolError

from .response import TLS_RECORD, Received, read_response, seconds_left

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows
    TIOCOUTQ = 0  # type: ignore[misc]

SLOWEST = 4096.0  # bytes a second
MOST_TIMEOUTS = 10
_FIRST_READ = 16384  # an allocation for each response
_SMALL = 16384  # up to here a body is copied, to go out together with its head
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_CHARACTERS = "/?:@!$&'()*+,;="
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
_OURS = frozenset({"host", "accept-encoding", "content-length", "transfer-encoding"})


class Heads:
    """Makes the heads of all requests to one host.

    Refuses whatever would make one request look like two, or end anywhere but where it ends.

    Args:
        authority: the value of `Host`.
        forwarded_with: for a proxy that forwards requests, its headers; the target is then the whole URL.
    """

    def __init__(self, authority: str, forwarded_with: Mapping[str, str] | None = None) -> None:
        self._authority = authority
        self._forwarded = forwarded_with is not None
        self._also = "".join(f"{name}: {value}\r\n" for name, value in (forwarded_with or {}).items())
        self._last: tuple[tuple[str, ...], str] = ((), "")  # the next request mostly begins like the last one

    def head(self, method: str, url: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a request with a body of this many bytes.

        Raises:
            ValueError: a method, header name or value that HTTP can't carry, or a header that is set here.
        """
        shape = (method, url, *headers)
        known, beginning = self._last
        if known != shape:
            beginning = self._beginning(method, url, headers)
            self._last = shape, beginning
        values = "".join(headers.values())
        if "\n" in values or "\r" in values or "\0" in values:
            raise ValueError("a header's value contains a line break or a zero byte")
        framing = f"Content-Length: {length}\r\n" if length or method not in _WITHOUT_BODY else ""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return f"{beginning}{framing}{lines}{self._also}\r\n".encode("latin-1")

    def _beginning(self, method: str, url: str, headers: Mapping[str, str]) -> str:
        for name in (method, *headers):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"not a method or a header's name: {name!r}")
        if not _OURS.isdisjoint(name.lower() for name in headers):
            raise ValueError(f"one of {sorted(headers)} can't be set by the caller")
        line = f"{method} {self._target(url)} HTTP/1.1"
        return f"{line}\r\nHost: {self._authority}\r\nAccept-Encoding: identity\r\n"

    def _target(self, url: str) -> str:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        percent = "" if _STRAY_PERCENT.search(target) else "%"
        quoted = quote(target, safe=_TARGET_CHARACTERS + percent, errors="surrogatepass")
        return f"http://{self._authority}{quoted}" if self._forwarded else quoted


class Message(NamedTuple):
    """A request as it goes out."""

    method: str
    head: bytes
    body: bytes

    def __repr__(self) -> str:
        """Without the head, which holds the key, and without the body."""
        return f"<Message {self.method}, {len(self.head) + len(self.body)} bytes>"


class _Deadline:
    """When to give up a request: `timeout` seconds after the last of its bytes moved.

    A slow uplink needs its time, and a request given up halfway is sent again from the start. So the deadline
    follows the bytes, as long as they move at `SLOWEST` or faster, up to `MOST_TIMEOUTS` in all.
    """

    def __init__(self, timeout: float, at_most: float) -> None:
        self._began = time.monotonic()
        self._timeout = timeout
        self._last = self._began + min(at_most, MOST_TIMEOUTS * timeout)
        self._moved = 0
        self.at = min(self._began + timeout, self._last)
        self.look_again = timeout / 4

    def moved(self, count: int = 0) -> None:
        """The system accepted this many bytes to send, or the peer's system confirmed some."""
        self._moved += count
        slowest = self._began + self._timeout + self._moved / SLOWEST
        self.at = min(time.monotonic() + self._timeout, slowest, self._last)


def exchange(
    sock: socket.socket, message: Message, timeout: float, *, is_tls: bool, at_most: float = float("inf")
) -> Received:
    """Send a request on an open connection, and read the response.

    There are `timeout` seconds for all of it, however slowly a response's bytes drip in; while the request's
    own bytes move, they count from the last movement on, up to `at_most` in all.

    Raises:
        ConnectionError: the connection ended before a response began.
        TimeoutError: the time is up.
        http.client.HTTPException, urllib3.exceptions.HTTPError, OSError: the response is broken off.
    """
    deadline = _Deadline(timeout, at_most)
    sent = _send(sock, message.head, message.body, deadline, is_tls=is_tls)
    received = _first_part(sock, deadline, may_be_on_the_way=sent and len(message.body) > _SMALL)
    if not received:
        raise RemoteDisconnected("Remote end closed connection without response")
    try:
        response, ended_clean = read_response(sock, received, message.method, deadline.at)
    except (ConnectionError, ValueError) as error:  # http.client lets some numbers of bytes be negative
        raise ProtocolError(f"Connection broken: {error}", error) from error
    if not sent and 200 <= response.status < 300:
        raise ProtocolError(f"Status {response.status} for a part of the request: the rest was not taken")
    response = response._replace(sent_bytes=len(message.body), took_all=sent)
    return Received(response, sent and ended_clean)


def _send(sock: socket.socket, head: bytes, body: bytes, deadline: _Deadline, *, is_tls: bool) -> bool:
    """Returns whether all of the request went: a server may refuse it, and close, before it has read it.

    By TLS one record at a time is sent: the timeout starts anew with each.
    """
    small = len(head) + len(body) <= _SMALL
    rest = memoryview(b"" if small else body)
    try:
        sock.settimeout(seconds_left(deadline.at))
        sock.sendall(head + body if small else head)
        while rest:
            sock.settimeout(seconds_left(deadline.at))
            count = min(len(rest), TLS_RECORD)
            if is_tls:
                sock.sendall(rest[:count])
            else:
                count = sock.send(rest)
            deadline.moved(count)
            rest = rest[count:]
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return False
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:  # macOS raises this in the middle of a close
            raise
        return False
    return True


def _first_part(sock: socket.socket, deadline: _Deadline, *, may_be_on_the_way: bool) -> bytes:
    """The beginning of the response. While the system still sends what it took, nothing has timed out."""
    on_the_way = _on_the_way(sock) if may_be_on_the_way else 0
    while on_the_way:
        sock.settimeout(min(deadline.look_again, seconds_left(deadline.at)))
        try:
            return sock.recv(_FIRST_READ)
        except TimeoutError:
            before, on_the_way = on_the_way, _on_the_way(sock)
            if on_the_way < before:
                deadline.moved()
    sock.settimeout(seconds_left(deadline.at))
    return sock.recv(_FIRST_READ)


def _on_the_way(sock: socket.socket) -> int:
    """Bytes that the peer's system has not confirmed, if ours can tell (Linux can); otherwise 0."""
    if not TIOCOUTQ:
        return 0
    try:
        pending = ioctl(sock.fileno(), TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return max(0, int.from_bytes(pending, sys.byteorder, signed=True))
