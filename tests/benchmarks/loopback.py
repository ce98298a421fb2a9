"""Keeps a process on this machine: a connection or a look-up of a name elsewhere fails.

This machine is the loopback interface, and the far end of the benchmarks' own network (`distance`).
"""

from __future__ import annotations

import socket
from typing import Any

DISTANT = "198.18.0.2"
"""Of the range that is set aside for benchmarks (RFC 2544); outside of that network nobody has it."""
_LOCAL_NAMES = {"localhost", "", None, DISTANT}

# Kept by those who obey the environment; the port is nobody's.
ENVIRONMENT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{DISTANT}"),
}

attempts: list[str] = []
"""The addresses that were asked for and refused."""


def confine() -> None:
    """From now on, sockets of this process reach this machine only."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        _check((host, 0))
        return look_up(host, *arguments, **options)

    patched: Any = socket
    patched.socket.connect, patched.socket.connect_ex = guarded_connect, guarded_connect_ex
    patched.getaddrinfo = guarded_look_up


def _check(address: Any) -> None:
    if not isinstance(address, tuple) or is_local(address[0]):
        return
    attempts.append(str(address[0]))
    raise ConnectionRefusedError(f"the benchmarks stay on this machine; {address[0]} is not on it")


def is_local(host: Any) -> bool:
    """Whether a host, as text or bytes, is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    return name in _LOCAL_NAMES or name == "::1" or name.startswith("127.")
