"""Request headers that several routes read."""

from __future__ import annotations

from starlette.requests import Request


def header(request: Request, name: str) -> str | None:
    """A header as its sender meant it: UTF-8, which Starlette reads as latin-1.

    Bytes that are no UTF-8 become escapes, so that two different ids stay different.
    """
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1").decode("utf-8", "backslashreplace")


def project(request: Request) -> str | None:
    """The project that the caller works in, or None."""
    return header(request, "x-project-id") or None
