"""The names that requests may be addressed to, against DNS rebinding.

A page of any site can have its name resolve to 127.0.0.1, and its scripts then talk to what listens there.
What they can't do is name another host than their own: so a backend that listens on this machine alone
responds only to names that mean this machine, and to those that its operator allows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from .models import shown
from .responses import failure

MISDIRECTED = 421
_AUTHORITY = re.compile(r"(\[[^\]]+\]|[^:]+)(?::\d*)?")  # a name or an address, and a port


class HostCheck:
    """The application, for requests to this machine's names and `allowed` ones; 421 for others.

    A request without a Host header comes from no browser, and passes.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._app = app
        self._allowed = {_name(each) for each in allowed} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        host = _host(scope)
        if host is None or is_loopback(host) or _name(host) in self._allowed:
            await self._app(scope, receive, send)
            return
        reason = f"the Host header must name this machine, as localhost does, was {shown(host)}"
        hint = "; --allowed-host allows other names"
        await failure(MISDIRECTED, reason + hint)(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is `localhost` or an address that means this machine."""
    name = _name(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host(scope: Scope) -> str | None:
    for name, value in scope.get("headers", ()):
        if name == b"host":
            return str(value.decode("latin-1"))
    return None


def _name(host: str) -> str:
    """The host alone, in lower case; "" for what is no host."""
    found = _AUTHORITY.fullmatch(host if host.count(":") < 2 or host.startswith("[") else f"[{host}]")
    return found[1].strip("[]").lower().removesuffix(".") if found else ""
