"""One request and its answer, on an open connection."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import time
from http.client import RemoteDisconnected
from typing import NamedTuple

from urllib3.exceptions import ProtocolError

from .response import TLS_RECORD, Answer, read_answer, seconds_left

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows
    TIOCOUTQ = 0  # type: ignore[misc]

SLOWEST = 4096.0  # bytes a second
MOST_TIMEOUTS = 10
_FIRST_READ = 16384  # an allocation for each answer
_SMALL = 16384  # is copied to go with its head


class Message(NamedTuple):
    """A request as it goes out."""

    method: str
    head: bytes
    body: bytes

    def __repr__(self) -> str:
        """Without the head, which holds the key, and without the body."""
        return f"<Message {self.method}, {len(self.head) + len(self.body)} bytes>"


class _Deadline:
    """When a request is given up: `timeout` seconds after the last of its bytes moved.

    A slow uplink needs its time, and what is given up halfway is sent again from the start. So the deadline
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
        """The system took this many bytes to send, or the peer's system confirmed some of them."""
        self._moved += count
        slowest = self._began + self._timeout + self._moved / SLOWEST
        self.at = min(time.monotonic() + self._timeout, slowest, self._last)

    def seconds_left(self) -> float:
        return seconds_left(self.at)


def exchange(
    sock: socket.socket, message: Message, timeout: float, *, is_tls: bool, at_most: float = float("inf")
) -> Answer:
    """Send a request and read the answer.

    Args:
        sock: an open connection.
        message: the request.
        is_tls: whether the connection is.
        timeout: seconds for all of it, however slowly an answer's bytes drip in; from the last movement on,
            while the request's own bytes move.
        at_most: seconds, even then.

    Raises:
        ConnectionError: the connection ended before an answer began.
        TimeoutError: the time is up.
        http.client.HTTPException, urllib3.exceptions.HTTPError, OSError: the answer is broken, or breaks off.
    """
    deadline = _Deadline(timeout, at_most)
    sent = _send(sock, message.head, message.body, deadline, is_tls=is_tls)
    received = _first_part(sock, deadline, may_be_on_the_way=sent and len(message.body) > _SMALL)
    if not received:
        raise RemoteDisconnected("Remote end closed connection without response")
    try:
        answer = read_answer(sock, received, message.method, deadline.at)
    except (ConnectionError, ValueError) as error:  # http.client lets some numbers of bytes be negative
        raise ProtocolError(f"Connection broken: {error}", error) from error
    if sent:
        return answer
    if 200 <= answer.status < 300:
        raise ProtocolError(f"Answered {answer.status} to a part of the request: the rest was not taken")
    return answer._replace(ended_clean=False, took_all=False)


def _send(sock: socket.socket, head: bytes, body: bytes, deadline: _Deadline, *, is_tls: bool) -> bool:
    """Whether all of it went. A server may refuse it, and close, before it has read all of it."""
    small = len(head) + len(body) <= _SMALL
    rest = memoryview(b"" if small else body)
    try:
        sock.settimeout(deadline.seconds_left())
        sock.sendall(head + body if small else head)
        while rest:
            sock.settimeout(deadline.seconds_left())
            count = _send_some(sock, rest, is_tls=is_tls)
            deadline.moved(count)
            rest = rest[count:]
    except OSError as error:
        if not _is_closed_by_peer(error):
            raise
        return False
    return True


def _send_some(sock: socket.socket, rest: memoryview, *, is_tls: bool) -> int:
    """TLS goes record by record: it counts its timeout anew for each."""
    if not is_tls:
        return sock.send(rest)
    sock.sendall(rest[:TLS_RECORD])
    return min(len(rest), TLS_RECORD)


def _first_part(sock: socket.socket, deadline: _Deadline, *, may_be_on_the_way: bool) -> bytes:
    """The beginning of the answer. The system may still be sending what it took, and that is no time-out."""
    on_the_way = _on_the_way(sock) if may_be_on_the_way else 0
    while on_the_way:
        sock.settimeout(min(deadline.look_again, deadline.seconds_left()))
        try:
            return sock.recv(_FIRST_READ)
        except TimeoutError:
            before, on_the_way = on_the_way, _on_the_way(sock)
            if on_the_way < before:
                deadline.moved()
    sock.settimeout(deadline.seconds_left())
    return sock.recv(_FIRST_READ)


def _on_the_way(sock: socket.socket) -> int:
    """Bytes that the peer's system has not confirmed, where ours tells (Linux does); else 0."""
    if not TIOCOUTQ:
        return 0
    try:
        answer = ioctl(sock.fileno(), TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return max(0, int.from_bytes(answer, sys.byteorder, signed=True))


def _is_closed_by_peer(error: OSError) -> bool:
    if isinstance(error, (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError)):
        return True
    return error.errno == errno.EPROTOTYPE  # macOS says so in the middle of a close
