"""From a host's name to an open socket: resolving the name and trying its addresses, within one time-out.

The system's resolver takes no deadline and can hang for half a minute. So a thread asks it, and who waits for
the answer leaves in time; the thread ends when the resolver gives up.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..sync import WakeUp
from ..threads import start

MOST_HANGING = 8  # look-ups that nobody waits for any more
_AddressInfo = tuple[Any, ...]

_hanging: set[_Lookup] = set()  # each adds and discards only itself, which is atomic, also without the GIL


class InTimeConnection(HTTPConnection):
    """A connection of urllib3's whose time-out covers the name and all of its addresses."""

    def _new_conn(self) -> socket.socket:
        """urllib3's SOCKS connections replace the same method; the errors are those of urllib3's own."""
        seconds = self.timeout if isinstance(self.timeout, (int, float)) else None
        try:
            return open_socket(self._dns_host, self.port or 0, seconds, self.socket_options or ())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            late = f"Connection to {self.host} timed out. (connect timeout={self.timeout})"
            raise ConnectTimeoutError(self, late) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error


def open_socket(
    host: str, port: int, timeout: float | None, options: Iterable[Sequence[Any]] = ()
) -> socket.socket:
    """A socket that is connected to the first address of a host that accepts it.

    Args:
        host: a name or an address.
        port: of the host.
        timeout: seconds for resolving the name and for all addresses together; None: no limit. The socket
            has the same time-out afterwards.
        options: of the socket, as `setsockopt` takes them.

    Raises:
        socket.gaierror: the name can't be resolved.
        TimeoutError: there was no connection in time.
        OSError: no address took it; the error of the last one.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    addresses = resolve(host, port, timeout)
    error: OSError = socket.gaierror(socket.EAI_NONAME, "the name has no address")
    for index, address in enumerate(addresses):
        try:
            sock = _connected(address, _share(deadline, len(addresses) - index), options)
        except OSError as failed:
            error = failed
            continue
        sock.settimeout(timeout)
        return sock
    raise error


def resolve(host: str, port: int, timeout: float | None) -> list[_AddressInfo]:
    """A host's addresses, by `socket.getaddrinfo`.

    Raises:
        socket.gaierror: the name can't be resolved.
        TimeoutError: the resolver took longer than `timeout` seconds.
    """
    if timeout is None or _is_address(host):
        return _ask(host, port)
    lookup = _Lookup(host, port)
    if len(_hanging) >= MOST_HANGING:
        raise TimeoutError(f"{len(_hanging)} look-ups of names hang")
    try:
        start(threading.Thread(target=lookup.run, name="banyan_hp-lookup", daemon=True))
    except RuntimeError:  # the system has no threads left, or the interpreter is shutting down
        return _ask(host, port)
    return lookup.result(timeout)


class _Lookup:
    """One question to the resolver, and who waits for its answer."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._over = WakeUp()
        self._addresses: list[_AddressInfo] = []
        self._error: OSError | None = None

    def run(self) -> None:
        """Ask, on a thread of its own."""
        _hanging.add(self)
        try:
            self._addresses = _ask(self._host, self._port)
        except OSError as error:
            self._error = error
        except UnicodeError as error:  # a label that is too long, or empty
            self._error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            _hanging.discard(self)
            self._over.wake()

    def result(self, timeout: float) -> list[_AddressInfo]:
        """Wait for the answer."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"the name {self._host} was not resolved within {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self._addresses


def _ask(host: str, port: int) -> list[_AddressInfo]:
    return list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _share(deadline: float | None, addresses: int) -> float | None:
    """Seconds for the next address: what is left, shared with those behind it."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time is left for another address")
    return left / addresses


def _connected(
    address: _AddressInfo, timeout: float | None, options: Iterable[Sequence[Any]]
) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.settimeout(timeout)
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock
