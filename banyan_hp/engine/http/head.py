"""The head of a request: its line and its headers, as bytes.

Refuses whatever would make one request look like two, or its end be anywhere but where it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_CHARACTERS = "/?:@!$&'()*+,;="
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
_OURS = frozenset({"host", "accept-encoding", "content-length", "transfer-encoding"})


class Heads:
    """Makes the heads of all requests to one host.

    Args:
        authority: the host, in brackets if it is an IPv6 address, and the port if it isn't the scheme's own.
        forwarded_with: None for requests to the host itself, or to the end of a tunnel. For a proxy that
            forwards them: the headers that it wants, and the target is the whole URL.
    """

    def __init__(self, authority: str, forwarded_with: Mapping[str, str] | None = None) -> None:
        self._authority = authority
        self._forwarded = forwarded_with is not None
        self._also = "".join(f"{name}: {value}\r\n" for name, value in (forwarded_with or {}).items())
        self._last: tuple[tuple[str, ...], str] = ((), "")  # the next request mostly begins like the last one

    def head(self, method: str, url: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a request with a body of so many bytes.

        Raises:
            ValueError: a method, header name or value that HTTP can't carry, or a header that is ours to say.
        """
        shape = (method, url, *headers)
        known, beginning = self._last
        if known != shape:
            beginning = self._beginning(method, url, headers)
            self._last = shape, beginning
        values = "".join(headers.values())
        if "\n" in values or "\r" in values or "\0" in values:
            raise ValueError("a header's value contains a line break or a zero byte")
        framing = f"Content-Length: {length}\r\n" if length or method not in _WITHOUT_BODY else ""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return f"{beginning}{framing}{lines}{self._also}\r\n".encode("latin-1")

    def _beginning(self, method: str, url: str, headers: Mapping[str, str]) -> str:
        for name in (method, *headers):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"not a method or a header's name: {name!r}")
        if not _OURS.isdisjoint(name.lower() for name in headers):
            raise ValueError(f"one of {sorted(headers)} is not the caller's to say")
        line = f"{method} {self._target(url)} HTTP/1.1"
        return f"{line}\r\nHost: {self._authority}\r\nAccept-Encoding: identity\r\n"

    def _target(self, url: str) -> str:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        percent = "" if _STRAY_PERCENT.search(target) else "%"
        quoted = quote(target, safe=_TARGET_CHARACTERS + percent, errors="surrogatepass")
        return f"http://{self._authority}{quoted}" if self._forwarded else quoted
