"""A response, read from a socket before a deadline.

The usual one is read here: HTTP/1.1, a plain head that arrives in one piece, a body of a stated length. The
standard library parses all others, from the same bytes: being strict here costs time at most.

Requests ask for no encoding. A body that is compressed nevertheless is unpacked here, up to
`MAX_RESPONSE_BYTES`: some versions of urllib3 unpack all of it, and 300 KB can become 600 MiB.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import urllib3
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError, ReadTimeoutError

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
_AT_ONCE = 65536
TLS_RECORD = 16384  # bytes, at the most
_MOST_HEADERS = 64  # http.client refuses 100 and more
_USUAL_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) [ -~]*\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [!-~](?:[ -~]*[!-~])?\r\n)+)"
    rb"\r\n"
)
_ERRORS_FROM = 300
_BODILESS = frozenset({204, 304})
_UNUSUAL = frozenset({"transfer-encoding", "content-encoding"})
_WINDOWS = {  # of zlib, in the order to try: not all servers mean the same by deflate
    "gzip": (16 + zlib.MAX_WBITS,),
    "x-gzip": (16 + zlib.MAX_WBITS,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}
_FOLD = re.compile(r"[ \t]*[\r\n]+[ \t]*")


class Response(NamedTuple):
    """What a server sent back."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})  # in lower case; of a repeated one the last counts
    body: bytes = b""  # of an error (300 and above) it may break off: the status says enough
    sent_bytes: int = 0  # of the request's body, as it travelled
    took_all: bool = True  # the peer read the whole request; else it responded and closed before that

    def __repr__(self) -> str:
        """Without headers and body, which may repeat a key."""
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Received(NamedTuple):
    """A response, and whether it ended clean: the connection stays open, and nothing came after it."""

    response: Response
    ended_clean: bool


def read_response(sock: socket.socket, received: bytes, method: str, deadline: float) -> Received:
    """The response to a request of this method, of which at least one byte was received from the socket.

    Raises:
        TimeoutError: the deadline passed, by `time.monotonic()`.
        http.client.HTTPException, urllib3.exceptions.HTTPError, OSError: it is broken, or breaks off.
    """
    head = _USUAL_HEAD.match(received)
    if head is not None and method != "HEAD":
        headers = _headers(head[2])
        status = int(head[1])
        length = _length(status, headers)
        if length is not None:
            end = head.end() + length
            content = _completed(sock, received, end, deadline, may_break_off=status >= _ERRORS_FROM)
            ended_clean = len(content) == end and "close" not in headers.get("connection", "").lower()
            return Received(Response(status, headers, content[head.end() : end]), ended_clean)
    return _any_response(ResponseReader(sock, received, deadline), method)


def seconds_left(deadline: float) -> float:
    """More than 0.

    Raises:
        TimeoutError: the deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _headers(lines: bytes) -> dict[str, str]:
    """The headers; empty if one is repeated, or there are too many."""
    pairs = [line.split(": ", 1) for line in lines[:-2].decode("ascii").split("\r\n")]
    headers = {name.lower(): value for name, value in pairs}
    return headers if len(headers) == len(pairs) <= _MOST_HEADERS else {}


def _length(status: int, headers: Mapping[str, str]) -> int | None:
    """The length of the body, if it is beyond doubt and not longer than what is read."""
    stated = headers.get("content-length", "")
    if not stated.isdecimal() or len(stated) > len(str(MAX_RESPONSE_BYTES)) or status in _BODILESS:
        return None
    length = int(stated)
    return length if length <= MAX_RESPONSE_BYTES and _UNUSUAL.isdisjoint(headers) else None


def _completed(
    sock: socket.socket, received: bytes, end: int, deadline: float, *, may_break_off: bool
) -> bytes:
    parts = [received]
    missing = end - len(received)
    try:
        while missing > 0:
            sock.settimeout(seconds_left(deadline))
            part = sock.recv(max(TLS_RECORD, min(missing, _AT_ONCE)))
            if not part:
                raise ProtocolError(f"Connection broken: {missing} bytes of the response are missing")
            parts.append(part)
            missing -= len(part)
    except (OSError, ProtocolError):
        if not may_break_off:
            raise
    return received if len(parts) == 1 else b"".join(parts)


def _any_response(reader: ResponseReader, method: str) -> Received:
    parsed = _final(reader, method)
    response = urllib3.HTTPResponse(
        parsed,
        urllib3.HTTPHeaderDict(parsed.headers.items()),
        parsed.status,
        preload_content=False,
        original_response=parsed,
        request_method=method,
    )
    body, more = b"", True
    try:
        packed = response.read(MAX_RESPONSE_BYTES, decode_content=False)
        more = response.length_remaining != 0 and bool(response.read(1, decode_content=False))
        body = _unpacked(packed, response.headers.get("content-encoding", ""))
    except ReadTimeoutError as error:
        if parsed.status < _ERRORS_FROM:
            raise TimeoutError("timed out") from error
    except (HTTPError, OSError):
        if parsed.status < _ERRORS_FROM:
            raise
    # Before `close`, which ends the reader, too. Behind a 101 there is another protocol.
    ended_clean = reader.is_used_up and not more and not parsed.will_close and parsed.status >= 200
    response.close()
    headers = {name.lower(): _FOLD.sub(" ", value) for name, value in response.headers.items()}
    return Received(Response(parsed.status, headers, body), ended_clean)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The beginning of the content; empty if the encoding is unknown: the status still counts."""
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    problem: object = None
    for window in _WINDOWS.get(encoding, ()):
        stream = zlib.decompressobj(window)
        try:
            content = stream.decompress(body, MAX_RESPONSE_BYTES)
            if stream.eof or len(content) == MAX_RESPONSE_BYTES:
                return content
            problem = "it breaks off"
        except zlib.error as error:
            problem = error
    if problem is not None:
        raise DecodeError(f"the response says that it is {encoding}, and is not: {problem}")
    return b""


def _final(reader: ResponseReader, method: str) -> http.client.HTTPResponse:
    """The response after interim ones (102, 103), of which http.client only skips 100."""
    while True:
        parsed = http.client.HTTPResponse(reader.as_socket(), method=method)
        parsed.begin()
        if not 101 < parsed.status < 200:
            return parsed
        parsed.fp = io.BufferedReader(io.BytesIO())  # its end must not be the reader's


class ResponseReader(io.BufferedReader):
    """Bytes received already, then those of a socket, until a deadline.

    Knows at its end how much it read too far. Its buffer holds a whole TLS record, so that no part of one
    stays in the TLS layer, where nobody would see it.
    """

    def __init__(self, sock: socket.socket, received: bytes, deadline: float) -> None:
        self._rest = _Rest(sock, received, deadline)
        self._left_over = 0
        super().__init__(self._rest, TLS_RECORD)

    def as_socket(self) -> socket.socket:
        """As much of a socket as http.client needs to read a response."""
        return cast("socket.socket", self)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self

    @property
    def is_used_up(self) -> bool:
        """Whether it was read to an end, beyond which nothing was received."""
        return self.closed and not self._left_over

    def close(self) -> None:
        if not self.closed:
            self._left_over = self._rest.position - self.tell() + len(self._rest.received)
        super().close()


class _Rest(io.RawIOBase):
    """http.client applies a socket's timeout to each read of a few bytes; a server that drips one byte at a
    time could hold a sender for ever.
    """

    def __init__(self, sock: socket.socket, received: bytes, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self.received = memoryview(received)
        self.position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        if self.received:
            count = min(len(buffer), len(self.received))
            buffer[:count] = self.received[:count]
            self.received = self.received[count:]
        else:
            self._sock.settimeout(seconds_left(self._deadline))
            count = self._sock.recv_into(buffer)
        self.position += count
        return count
