"""One request and its answer, on an open connection."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from http.client import RemoteDisconnected
from typing import NamedTuple

from urllib3.exceptions import ProtocolError

from .answer import TLS_RECORD, Answer, read_answer, seconds_left

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


def exchange(sock: socket.socket, message: Message, timeout: float, *, is_tls: bool) -> Answer:
    """Send a request, read the answer, all within so many seconds, however slowly bytes move.

    Raises:
        ConnectionError: the connection ended before an answer began.
        TimeoutError: the time is up.
        http.client.HTTPException, urllib3.exceptions.HTTPError, OSError: the answer is broken, or breaks off.
    """
    deadline = time.monotonic() + timeout
    sent = _send(sock, message.head, message.body, deadline, is_tls=is_tls)
    sock.settimeout(seconds_left(deadline))
    received = sock.recv(_FIRST_READ)
    if not received:
        raise RemoteDisconnected("Remote end closed connection without response")
    try:
        answer = read_answer(sock, received, message.method, deadline)
    except (ConnectionError, ValueError) as error:  # http.client lets some numbers of bytes be negative
        raise ProtocolError(f"Connection broken: {error}", error) from error
    if sent:
        return answer
    if 200 <= answer.status < 300:
        raise ProtocolError(f"Answered {answer.status} to a part of the request: the rest was not taken")
    return answer._replace(ended_clean=False)


def _send(sock: socket.socket, head: bytes, body: bytes, deadline: float, *, is_tls: bool) -> bool:
    """Whether all of it went. A server may refuse it, and close, before it has read all of it."""
    small = len(head) + len(body) <= _SMALL
    rest = memoryview(b"" if small else body)
    at_once = TLS_RECORD if is_tls else len(rest)  # TLS counts its timeout anew for each record
    try:
        sock.settimeout(seconds_left(deadline))
        sock.sendall(head + body if small else head)
        while rest:
            sock.settimeout(seconds_left(deadline))
            sock.sendall(rest[:at_once])
            rest = rest[at_once:]
    except OSError as error:
        if not _is_closed_by_peer(error):
            raise
        return False
    return True


def _is_closed_by_peer(error: OSError) -> bool:
    if isinstance(error, (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError)):
        return True
    return error.errno == errno.EPROTOTYPE  # macOS says so in the middle of a close
