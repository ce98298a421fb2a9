"""Connections to one host: made when needed, kept while idle.

No lock is held anywhere: a fork while another thread holds one would leave it held for ever in the child,
where the garbage collector, closing what was kept, would wait for it.
"""

from __future__ import annotations

import socket
import time
from collections import deque

from urllib3.connection import HTTPConnection, HTTPSConnection

from ..policy.jitter import chance
from .connecting import Connector

_TRUSTED_SECONDS = 50.0  # idle for longer, it is not tried: balancers forget it, often without a word


class Connection:
    """An open connection that knows for how long nobody used it, and when it has served long enough."""

    __slots__ = ("_expires_at", "_opened", "_used_at", "is_tls", "sock")

    def __init__(self, opened: HTTPConnection, lifetime: float) -> None:
        self._opened = opened
        self._expires_at = time.monotonic() + lifetime
        self.sock: socket.socket = opened.sock
        self.is_tls = isinstance(opened, HTTPSConnection)
        self._used_at = time.monotonic(), time.time()

    def rest(self) -> None:
        """It was used until now."""
        self._used_at = time.monotonic(), time.time()

    def idle_seconds(self) -> float:
        """By the clock that says more, for one of them may stop in a freeze."""
        monotonic, wall = self._used_at
        return max(time.monotonic() - monotonic, time.time() - wall)

    def is_usable(self) -> bool:
        """Whether it is not too old, and has nothing to read: an idle peer has nothing to say but its end."""
        recent = self.idle_seconds() <= _TRUSTED_SECONDS and time.monotonic() < self._expires_at
        return recent and self._opened.is_connected

    def close(self) -> None:
        self._opened.close()


class Connections:
    """Makes connections, and keeps some of the idle ones. Thread-safe.

    Args:
        connector: makes them.
        most: how many idle ones are kept.
        max_age: seconds after which a connection is replaced, less up to a fifth by chance: a balancer that
            balances connections has its say again, and a name that has moved is looked up anew.
    """

    def __init__(self, connector: Connector, most: int, max_age: float) -> None:
        self._connector = connector
        self._most = most
        self._max_age = max_age
        self._idle: deque[Connection] = deque()  # its `append` and `pop` are atomic under the GIL

    def __del__(self) -> None:
        self.forget()

    def __repr__(self) -> str:
        return f"<Connections {self._connector.authority}, {len(self._idle)} idle>"

    def take(self) -> Connection | None:
        """The usable one that was used last, which is the least likely to be stale; the others are closed."""
        while (connection := self._pop()) is not None:
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def connect(self, timeout: float) -> Connection:
        """A new one. See `Connector.connect`."""
        lifetime = self._max_age * (1.0 - 0.2 * chance())
        return Connection(self._connector.connect(timeout), lifetime)

    def keep(self, connection: Connection) -> None:
        """Hand back one that may be used again."""
        connection.rest()
        if len(self._idle) >= self._most:  # two threads may pass here together: one more is no harm
            connection.close()
            return
        self._idle.append(connection)
        if not self._most:  # closed in between
            self.forget()

    def forget(self) -> None:
        """Close all that are idle."""
        while (connection := self._pop()) is not None:
            connection.close()

    def close(self) -> None:
        """Close all that are idle, and from now on whatever is handed back."""
        self._most = 0
        self.forget()

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
