"""How urllib3 keeps our idle connections: without locks, and with a deadline for each answer.

urllib3's own pool is a `queue.LifoQueue`. A fork while another thread is inside it leaves its lock held for
ever in the child, where the garbage collector, closing what the pool held, would wait for it.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import time
from collections import deque
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Stack:
    """As much of a `LifoQueue` as urllib3 calls where it never waits for a connection."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[Any] = deque()  # its `append` and `pop` are atomic under the GIL

    def qsize(self) -> int:
        return len(self._items)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002
        if len(self._items) >= self._maxsize:  # two threads may pass here together: one more is no harm
            raise queue.Full
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002
        try:
            return self._items.pop()
        except IndexError:
            raise queue.Empty from None


class _CountdownStream(io.RawIOBase):
    """Reads through http.client's own raw stream: that one keeps the socket open as long as it is needed."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer took longer than the timeout")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)


class _DeadlineAnswer(http.client.HTTPResponse):
    """An answer read through a raw stream that counts down.

    http.client applies the socket's timeout to each read of a few bytes; a server that drips one byte
    at a time could hold a sender for ever.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_CountdownStream(sock, self.fp.detach()))


class _PlainConnection(HTTPConnection):
    response_class = _DeadlineAnswer


class _TLSConnection(HTTPSConnection):
    response_class = _DeadlineAnswer


class _PlainPool(HTTPConnectionPool):
    QueueCls = Stack  # type: ignore[assignment]  # urllib3 asks for no more than a Stack has
    ConnectionCls = _PlainConnection


class _TLSPool(HTTPSConnectionPool):
    QueueCls = Stack  # type: ignore[assignment]
    ConnectionCls = _TLSConnection


POOL_CLASSES: dict[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _TLSPool}
