"""The fake backend's sockets: HTTP/1.1 with keep-alive on loopback, one thread for each connection.

`stop` refuses new connections and cuts those that are open; `start` listens on the same port again, which is
kept meanwhile. What a request means is decided elsewhere.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

JOIN_SECONDS = 10.0
IDLE_SECONDS = 300.0  # until a connection without requests is closed
HOST = "127.0.0.1"


class Request(NamedTuple):
    """One complete request. `target` is the path with the query, as sent; names of headers are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """A status, and what goes out as JSON; without `content` the body is empty."""

    status: int
    content: object = None
    headers: Mapping[str, str] = {}


class RefusedError(Exception):
    """Ends a request with an error's response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.response = Response(status, {"error": reason})


Respond = Callable[[Request], Response | None]


class Server:
    """Listens from `start` to `stop`.

    Args:
        respond: gives each request its response, on the connection's thread; None cuts the connection.
        port: 0 for a free one.
    """

    def __init__(self, respond: Respond, port: int = 0) -> None:
        self.respond = respond
        self._lock = threading.Lock()  # guards the four below
        self._listener: socket.socket | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._acceptor: threading.Thread | None = None
        self._closed = False
        self._holder = _bound(port)  # bound and never listening: nobody else gets the port while we are down
        self.port: int = self._holder.getsockname()[1]

    def start(self) -> None:
        """Listen; does nothing if it listens already."""
        with self._lock:
            if self._listener is not None or self._closed:
                return
            if not _SHARED_PORTS:
                self._holder.close()
            self._listener = listener = _bound(self.port)
            listener.listen(128)
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener,), name="banyan_hp-fake-accept", daemon=True
            )
            self._acceptor.start()

    def stop(self) -> None:
        """Refuse connections, cut the open ones, and wait until no request is under way."""
        with self._lock:
            listener, self._listener = self._listener, None
            acceptor, self._acceptor = self._acceptor, None
            open_now = dict(self._connections)
            for connection in open_now:
                _interrupt(connection)
        threads = list(open_now.values())
        if listener is not None and acceptor is not None:
            _wake_accept(listener, self.port)
            threads.insert(0, acceptor)
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Stop for good, and give the port back."""
        with self._lock:
            self._closed = True
        self.stop()
        self._holder.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="banyan_hp-fake", daemon=True
                )
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError, ValueError):  # the client has gone, or `stop` cut the connection
                _Exchanges(connection, self.respond)
        finally:
            with self._lock:  # under the lock, so that `stop` never interrupts a reused descriptor
                _interrupt(connection)
                connection.close()
                self._connections.pop(connection, None)


_SHARED_PORTS = hasattr(socket, "SO_REUSEPORT")


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _SHARED_PORTS:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((HOST, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _interrupt(connection: socket.socket) -> None:
    """Wake its thread from any send or receive. A forked child may have the socket, too: closing won't do."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _wake_accept(listener: socket.socket, port: int) -> None:
    """On Linux a shutdown wakes `accept`; elsewhere a connection does."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        socket.create_connection((HOST, port), timeout=1.0).close()


class _Exchanges(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other, until it ends."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    wbufsize = -1  # head and body leave in one write
    error_content_type = "application/json"
    error_message_format = '{"error": "%(message)s"}'

    def __init__(self, connection: socket.socket, respond: Respond) -> None:
        self._respond_to = respond
        super().__init__(connection, connection.getpeername(), None)  # type: ignore[arg-type]  # asks it nothing

    def _exchange(self) -> None:
        request = self._read()
        if request is None:
            return
        response = self._respond_to(request)
        if response is None:
            self.close_connection = True
            return
        self._send(response)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _exchange  # noqa: N815 - the base class looks for these

    def _read(self) -> Request | None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal():
            self.send_error(411, "a body must come with its Content-Length")
            self.close_connection = True
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return Request(self.command, self.path, headers, body)

    def _send(self, response: Response) -> None:
        content = b"" if response.content is None else json.dumps(response.content).encode("ascii")
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 304:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and response.status != 304:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""
