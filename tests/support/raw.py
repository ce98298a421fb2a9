"""A server of bytes on a loopback socket: each connection is played a scene, a function of its peer.

For what `scripted` can't say: TLS, proxies, the exact bytes of a request, and answers to the byte.

    with RawServer(answering(OK, OK), answering(OK)) as server:  # for two connections, and all after them
        ...
        server.heard
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.patience import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TLS_FILES = Path(__file__).parent / "tls"
AUTHORITY = TLS_FILES / "ca.pem"
AUTHORITY_HASH = "db2dbe4f"  # what OpenSSL looks for in a directory of certificates
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
_LONGEST_WAIT = 10.0


class Peer:
    """The server's end of a connection. What is called after the server was closed raises OSError."""

    def __init__(self, server: RawServer, sock: socket.socket) -> None:
        self._server = server
        self.sock = sock

    def read_head(self) -> bytes:
        """Up to the empty line, at most; less if the client closes."""
        received = b""
        while not received.endswith(b"\r\n\r\n") and (byte := self.sock.recv(1)):
            received += byte
        return received

    def read_request(self) -> bytes:
        """A head, and as much of a body as it states; noted in the server's `heard`."""
        request = self.read_head()
        stated = _LENGTH.search(request)
        missing = int(stated[1]) if stated else 0
        while missing and (part := self.sock.recv(min(missing, 65536))):
            request += part
            missing -= len(part)
        if request:
            self._server.note(request)
        return request

    def send(self, content: bytes) -> None:
        self.sock.sendall(content)

    def start_tls(self) -> None:
        self.sock = server_context().wrap_socket(self.sock, server_side=True)

    def wait_for_end(self) -> None:
        """Until the client closes, whatever it says before."""
        with suppress(ConnectionError):
            while self.sock.recv(65536):
                pass

    def reset(self) -> None:
        """Close with an RST in place of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Scene = Callable[[Peer], None]


def server_context() -> ssl.SSLContext:
    """With a certificate for localhost, 127.0.0.1 and ::1 by `AUTHORITY`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_FILES / "localhost.pem")
    return context


def answering(*answers: bytes) -> Scene:
    """An answer each for so many requests, then the connection is closed."""

    def scene(peer: Peer) -> None:
        for answer in answers:
            if not peer.read_request():
                return
            peer.send(answer)

    return scene


class RawServer:
    """Listens from construction on."""

    def __init__(self, *scenes: Scene, tls: bool = False, host: str = "127.0.0.1") -> None:
        self._scenes = scenes
        self._tls = tls
        self._changed = threading.Condition()
        # Guarded by _changed's lock.
        self.heard: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self._peers: list[Peer] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        named = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{named}:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, request: bytes) -> None:
        with self._changed:
            self.heard.append(request)
            self._changed.notify_all()

    def wait_for(self, done: Callable[[RawServer], bool]) -> None:
        """Until it is so; AssertionError if that takes too long."""
        with self._changed:
            assert self._changed.wait_for(lambda: done(self), PATIENCE), (
                self.connections,
                self.ended,
                self.heard,
            )

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE)
        with self._changed:
            for peer in self._peers:
                with suppress(OSError):
                    peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._changed:
                    sock.settimeout(_LONGEST_WAIT)
                    self._peers.append(Peer(self, sock))
                    scene = self._scenes[min(self.connections, len(self._scenes) - 1)]
                    self.connections += 1
                    self._changed.notify_all()
                thread = threading.Thread(target=self._play, args=(scene, self._peers[-1]), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _play(self, scene: Scene, peer: Peer) -> None:
        with suppress(OSError):
            if self._tls:
                peer.start_tls()
            scene(peer)
        peer.sock.close()
        with self._changed:
            self.ended += 1
            self._changed.notify_all()
