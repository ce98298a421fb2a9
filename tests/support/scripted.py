"""A scripted HTTP/1.1 server on a loopback socket: what a client meets on a bad day, exactly as scripted.

Owned here: the socket, the parsing of requests, and the record of what arrived. The answers, good and broken,
are in `scripted_answers`; tests import all of it from here.
Left out: TLS, chunked request bodies (answered with 501), pipelining by several threads.

    with ScriptedServer() as server:
        server.script([Reply(503), Reset(), Redirect("/elsewhere")])   # one each for the first three requests
        server.handler = batching()                                    # for all requests after them
        ...
        server.wait_for(4, timeout=5)
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.patience import PATIENCE
from tests.support.scripted_answers import (
    BATCH_PATH,
    HUGGINGPLACE_PATH,
    SINGLE_PATH,
    VALIDATE_PATH,
    Answer,
    Body,
    CloseAfter,
    Drip,
    Exchange,
    Garbage,
    Handler,
    Hang,
    Headers,
    Redirect,
    Reply,
    Request,
    Reset,
    ResetMidAnswer,
    Truncated,
    Verdicts,
    batching,
    head_of,
    one_by_one,
    records_in,
)

__all__ = [
    "BATCH_PATH",
    "HUGGINGPLACE_PATH",
    "SINGLE_PATH",
    "VALIDATE_PATH",
    "Answer",
    "Body",
    "CloseAfter",
    "Drip",
    "Exchange",
    "Garbage",
    "Handler",
    "Hang",
    "Headers",
    "Redirect",
    "Reply",
    "Request",
    "Reset",
    "ResetMidAnswer",
    "ScriptedServer",
    "Truncated",
    "Verdicts",
    "batching",
    "one_by_one",
    "records_in",
]


Want = int | Callable[[list[Request]], bool]


class ScriptedServer:
    """Listens from construction on (`port` 0: a free one) and does to each request what is scripted.

    Requests are recorded before they are answered. Safe for use by several threads.
    """

    def __init__(self, handler: Handler | None = None, *, port: int = 0) -> None:
        self.handler: Handler = handler or (lambda _: Reply(200, {}))
        self._changed = threading.Condition()
        # Guarded by _changed's lock, which no thread holds while it sends, receives or runs a handler.
        self._requests: list[Request] = []
        self._script: deque[Answer] = deque()
        self._connections = 0
        self._open: dict[_Connection, threading.Thread] = {}
        self._released = False
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="scripted-accept", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        with self._changed:
            state = "closed" if self._closed else f"{len(self._open)} open"
            return f"<ScriptedServer {self.url} {state}, {len(self._requests)} requests>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """All complete requests so far, in the order of their arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        with self._changed:
            return self._connections

    def script(self, answers: Iterable[Answer]) -> None:
        """Append answers: each serves one request, whatever it asks; after the last the handler is back."""
        with self._changed:
            self._script.extend(answers)

    def release(self) -> None:
        """Let all hanging requests go, those to come included."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_for(self, want: Want, timeout: float = PATIENCE) -> list[Request]:
        """Block until `want` requests are here, or until `want(requests)` is true, and return all of them.

        Raises AssertionError, listing what came, after `timeout` seconds.
        """

        def satisfied() -> bool:
            return len(self._requests) >= want if isinstance(want, int) else want(list(self._requests))

        with self._changed:
            if self._changed.wait_for(satisfied, timeout):
                return list(self._requests)
            raise AssertionError(self._shortfall(want, timeout))

    def records(self) -> list[tuple[str, Any]]:
        """`(id, body)` of all records received, accepted or not; a single one's id is its Idempotency-Key."""
        return [record for request in self.requests for record in records_in(request)]

    def ids(self) -> list[str]:
        """The ids of `records()`, repeats included."""
        return [record_id for record_id, _ in self.records()]

    def close(self) -> None:
        """Stop listening, cut connections, end every wait, join the threads; RuntimeError if one stays."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            threads = [self._acceptor, *self._open.values()]
            for connection in self._open:
                connection.interrupt()
        self._stop_listening()
        deadline = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            raise RuntimeError(f"threads outlived close(): {[t.name for t in threads if t.is_alive()]}")

    # For the threads of this module

    def received(self, request: Request) -> Answer:
        """Record a request and choose its answer."""
        with self._changed:
            self._requests.append(request)
            scripted = self._script.popleft() if self._script else None
            self._changed.notify_all()
        return scripted or self.handler(request)

    def wait(self, seconds: float) -> bool:
        """Wait, and say whether the server was closed meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds) if seconds > 0 else self._closed

    def wait_for_release(self) -> bool:
        """Wait for `release()` (True) or `close()` (False)."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._released)
            return not self._closed

    def forget(self, connection: _Connection) -> None:
        """Close a connection, under the lock so that `close()` never interrupts a reused descriptor."""
        with self._changed:
            connection.interrupt()  # close() alone sends nothing while a forked child has the socket, too
            connection.sock.close()
            self._open.pop(connection, None)

    def reset(self, connection: _Connection) -> None:
        """Close a connection's socket with an RST in place of a FIN."""
        with self._changed:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if not self._serve(sock):
                return

    def _serve(self, sock: socket.socket) -> bool:
        with self._changed:
            if self._closed:
                sock.close()
                return False
            with suppress(OSError):  # a client that has gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections += 1
            connection = _Connection(self, sock, self._connections)
            name = f"scripted-{self._connections}"
            thread = threading.Thread(target=connection.run, name=name, daemon=True)
            self._open[connection] = thread
            thread.start()
        return True

    def _stop_listening(self) -> None:
        # On Linux shutdown() wakes accept(), even where a forked child holds the listener, too; elsewhere a
        # connection does.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        self._acceptor.join(PATIENCE)
        self._listener.close()

    def _shortfall(self, want: Want, timeout: float) -> str:
        wanted = f"{want} requests" if isinstance(want, int) else "the condition"
        lines = [f"waited {timeout:g} s for {wanted}; {len(self._requests)} came:"]
        lines += [f"  {r.method} {r.path} #{r.connection} {r.body[:120]!r}" for r in self._requests]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Exchange:
    """One request and the means to answer it."""

    request: Request
    server: ScriptedServer
    connection: _Connection

    def send(self, content: bytes) -> None:
        self.connection.sock.sendall(content)

    def wait(self, seconds: float) -> bool:
        """Wait, and say whether the server was closed meanwhile."""
        return self.server.wait(seconds)

    def wait_for_release(self) -> bool:
        return self.server.wait_for_release()

    def reset(self) -> None:
        self.server.reset(self.connection)


class _BadRequest(Exception):
    """What arrived can't be taken; carries the status to say so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Connection:
    """One accepted connection and the loop of its thread."""

    def __init__(self, server: ScriptedServer, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self._server = server
        self._number = number
        self._buffer = bytearray()

    def run(self) -> None:
        try:
            while self._one_exchange():
                pass
        finally:
            self._server.forget(self)

    def interrupt(self) -> None:
        """Wake the thread from any send or receive."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _one_exchange(self) -> bool:
        """Serve one request; a client that goes away ends the connection, what a handler raises is shown."""
        request = self._next_request()
        if request is None:
            return False
        answer = self._server.received(request)
        try:
            reusable = answer.play(_Exchange(request, self._server, self))
        except OSError:
            return False
        return reusable and request.headers.get("Connection", "").lower() != "close"

    def _next_request(self) -> Request | None:
        with suppress(OSError):
            try:
                return self._read_request()
            except _BadRequest as refusal:
                self._refuse(refusal)
        return None

    def _refuse(self, refusal: _BadRequest) -> None:
        self.sock.sendall(head_of(refusal.status, {"Connection": "close", "Content-Length": "0"}))
        self.sock.shutdown(socket.SHUT_WR)
        while self._receive():  # closing over an unread body would reset the connection and lose the answer
            self._buffer.clear()

    def _read_request(self) -> Request | None:
        head = self._takehead_of()
        if head is None:
            return None
        method, path, headers = _parsehead_of(head)
        raw_body = self._take(_body_length(headers))
        if raw_body is None:
            return None
        body = _decoded(raw_body, headers)
        return Request(method, path, headers, body, raw_body, time.monotonic(), self._number)

    def _takehead_of(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._receive():
                return None
        return self._take(end + 4)

    def _take(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            if not self._receive():
                return None
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _receive(self) -> bool:
        chunk = self.sock.recv(65_536)
        self._buffer += chunk
        return bool(chunk)


def _parsehead_of(head: bytes) -> tuple[str, str, Headers]:
    request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1" or not all(":" in line for line in lines):
        raise _BadRequest(400, f"not an HTTP/1.1 request: {request_line!r}")
    pairs = (line.split(":", 1) for line in lines)
    return words[0], words[1], Headers((name, value.strip()) for name, value in pairs)


def _body_length(headers: Headers) -> int:
    if "Transfer-Encoding" in headers:
        raise _BadRequest(501, "bodies need a Content-Length here")
    declared = headers.get("Content-Length", "0")
    if not declared.isdecimal():
        raise _BadRequest(400, f"Content-Length: {declared}")
    return int(declared)


def _decoded(raw_body: bytes, headers: Headers) -> bytes:
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return raw_body
    if encoding != "gzip":
        raise _BadRequest(415, f"Content-Encoding: {encoding}")
    try:
        return zlib.decompress(raw_body, wbits=31)
    except zlib.error as error:
        raise _BadRequest(400, f"not gzip: {error}") from error
