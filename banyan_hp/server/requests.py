"""Reading requests: headers, and the body with its size limit, gzip and JSON.

What a body means is decided elsewhere; a body that can't be read raises an `HTTPException` with the reason.
"""

from __future__ import annotations

import asyncio
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request

from .validation import parse_json

MAX_BODY = 32 * 1024 * 1024
BODY_SECONDS = 60.0  # that a whole body may take to arrive


async def read_json(request: Request) -> object:
    """The request's body as a JSON value; 400, 408, 413 or 415 when it can't be had."""
    seconds: float = request.app.state.body_seconds
    try:
        data = await asyncio.wait_for(_read(request), seconds)
    except TimeoutError as error:
        late = f"the body must arrive within {seconds:g} s"
        raise HTTPException(408, late, {"Connection": "close"}) from error
    except asyncio.CancelledError as error:  # uvicorn's, at its stop; the body is not going to come
        raise HTTPException(503, "the backend stops") from error
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        data = gunzip(data)
    elif encoding not in ("", "identity"):
        raise HTTPException(415, f"Content-Encoding must be gzip or identity, was {encoding!r}")
    try:
        return parse_json(data)
    except ValueError as error:
        raise HTTPException(400, f"body isn't valid JSON: {error}") from error


async def _read(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()  # uvicorn discards the rest, so that the sender gets to see the response
        chunks.append(chunk)
    return b"".join(chunks)


def gunzip(data: bytes, limit: int = MAX_BODY) -> bytes:
    """`data` decompressed; never produces more than `limit` bytes and one, however much it would unpack to.

    One gzip member: a body of millions of empty ones would be small and take minutes.
    """
    member = zlib.decompressobj(wbits=31)  # 31: with a gzip header and its checksum
    try:
        unpacked = member.decompress(data, limit + 1)
    except zlib.error as error:
        raise HTTPException(400, f"body isn't valid gzip: {error}") from error
    if len(unpacked) > limit:
        raise _too_large()
    if not member.eof or member.unused_data:
        raise HTTPException(
            400, f"body isn't valid gzip: {'cut short' if not member.eof else 'more bytes follow'}"
        )
    return unpacked


def _too_large() -> HTTPException:
    return HTTPException(413, f"body must be at most {MAX_BODY} bytes, compressed or not")


def header(request: Request, name: str) -> str | None:
    """A header as its sender meant it: UTF-8, which Starlette reads as latin-1.

    Bytes that are no UTF-8 become escapes, so that two different ids stay different.
    """
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1").decode("utf-8", "backslashreplace")


def project(request: Request) -> str | None:
    """The project that the caller works in, or None."""
    return header(request, "x-project-id") or None
