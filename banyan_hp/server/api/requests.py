"""Reading a body: its size limit, the time it may take, gzip and JSON, the same for every route."""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Scope

from .models import is_storable, shown, unknown
from .responses import BAD_QUERY

P = ParamSpec("P")
T = TypeVar("T")
MAX_BODY = 32 * 1024 * 1024
LARGE_BODY = 64 * 1024  # is read in a thread
_COMPRESSION = 8  # about as many bytes come of one
BODY_SECONDS = 60.0  # that a whole body may take to arrive
_MAX_NUMBER = 80
_PARAMETER = "parameter of this call"


class JsonRequest(Request):
    """A request whose body is JSON, whatever its Content-Type says; it may be compressed.

    Raises:
        HTTPException: 400, 408, 413, 415 or 503 where the body can't be had.
    """

    most_bytes: ClassVar[int] = MAX_BODY

    async def body(self) -> bytes:
        """The body, decompressed."""
        if not hasattr(self, "_plain"):
            received = await self._received()
            size = len(received) * (_COMPRESSION if "content-encoding" in self.headers else 0)
            self._plain = await off_the_loop(size, self._decompressed, received)
        return self._plain

    async def json(self) -> Any:
        """The body's value."""
        body = await self.body()
        return await off_the_loop(len(body), value_of, body)

    async def _received(self) -> bytes:
        seconds: float = getattr(self.app.state, "body_seconds", BODY_SECONDS)
        try:
            return await asyncio.wait_for(self._read(), seconds)
        except TimeoutError as error:
            late = f"the body must arrive within {seconds:g} s"
            raise HTTPException(408, late, {"Connection": "close"}) from error
        except asyncio.CancelledError as error:  # uvicorn's, at its stop; the body is not going to come
            raise HTTPException(503, "the backend stops") from error

    async def _read(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > self.most_bytes:
                # uvicorn discards the rest, so that the sender gets to see the response
                raise _too_large(self.most_bytes)
            chunks.append(chunk)
        return b"".join(chunks)

    def _decompressed(self, data: bytes) -> bytes:
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in ("gzip", "x-gzip"):
            return gunzip(data, self.most_bytes)
        if encoding not in ("", "identity"):
            raise HTTPException(415, f"Content-Encoding must be gzip or identity, was {encoding!r}")
        return data


class Guard:
    """A dependency that is asked before a body is read: whom it refuses can't have us read 32 MiB."""

    async def admit(self, request: Request) -> object:
        """Return, or raise `HTTPException`."""
        raise NotImplementedError


class JsonRoute(APIRoute):
    """A route whose handler gets a `JsonRequest`; it refuses parameters that it does not know.

    FastAPI reads the body that a route declares before it asks any dependency, so a `Guard` is asked here.
    """

    request_type: ClassVar[type[JsonRequest]] = JsonRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()
        known = tuple(_parameters(self))
        guards = tuple(_guards(self)) if self.body_field is not None else ()

        async def handle_json(request: Request) -> Response:
            _refuse_unknown(request, known)
            for name, text in request.path_params.items():
                if not is_storable(str(text)):
                    raise HTTPException(404, f"{name} {shown(text)} not found")
            for guard in guards:
                await guard.admit(request)
            scope = request.scope if self.body_field is None else _as_json(request.scope)
            return await handle(self.request_type(scope, request.receive))

        return handle_json


class DirectRoute(JsonRoute):
    """A route whose handler gets its request and what its one `Guard` returns, and nothing else.

    FastAPI documents it, but does not resolve its dependencies, which takes as long as all else of a request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `JsonRoute`."""
        (guard,) = _guards(self)
        endpoint: Any = self.endpoint

        async def handle(request: Request) -> Response:
            _refuse_unknown(request, ())
            admitted = await guard.admit(request)
            response: Response = await endpoint(JsonRequest(request.scope, request.receive), admitted)
            return response

        return handle


def _as_json(scope: Scope) -> Scope:
    """The same by which the body is JSON: FastAPI parses no other, and `curl -d` says that it is a form."""
    others = [each for each in scope["headers"] if each[0] != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", b"application/json")]}


def _refuse_unknown(request: Request, known: Sequence[str]) -> None:
    for name, value in request.query_params.items():
        if name not in known:  # ignored, a misspelt filter would choose everything
            raise HTTPException(BAD_QUERY, unknown(shown(name), value, known, _PARAMETER))


def _guards(route: APIRoute) -> Iterator[Guard]:
    for each in route.dependant.dependencies:
        call: object = each.call
        if isinstance(call, Guard):
            yield call


def _parameters(route: APIRoute) -> Iterator[str]:
    for field in route.dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield field.alias


async def off_the_loop(size: int, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Have something done with so many bytes: in a thread where all other requests would wait for long."""
    return await run_in_threadpool(work, *given, **named) if size >= LARGE_BODY else work(*given, **named)


def value_of(body: bytes) -> Any:
    """The value of a body.

    Raises:
        HTTPException: 400, it is no JSON.
    """
    try:
        return parse_json(body)
    except ValueError as error:
        raise HTTPException(400, f"body isn't valid JSON: {error}") from error


def parse_json(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none; with the reason.
    """
    try:
        return DECODER.decode(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def gunzip(data: bytes, limit: int = MAX_BODY) -> bytes:
    """Decompress; never makes more than `limit` bytes and one, however much it would unpack to.

    One gzip member: a body of millions of empty ones would be small and take minutes.

    Raises:
        HTTPException: 400 or 413.
    """
    member = zlib.decompressobj(wbits=31)  # 31: with a gzip header and its checksum
    try:
        unpacked = member.decompress(data, limit + 1)
    except zlib.error as error:
        raise HTTPException(400, f"body isn't valid gzip: {error}") from error
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not member.eof or member.unused_data:
        flaw = "cut short" if not member.eof else "more bytes follow"
        raise HTTPException(400, f"body isn't valid gzip: {flaw}")
    return unpacked


def header(request: Request, name: str) -> str | None:
    """A header as its sender meant it: UTF-8, which Starlette reads as latin-1.

    Bytes that are no UTF-8 become escapes, so that two different ids stay different.
    """
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1").decode("utf-8", "backslashreplace")


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"body must be at most {limit} bytes, compressed or not")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:_MAX_NUMBER]} is out of range")
    return number


DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
"""NaN and infinities, which Python's parser would let in, are no JSON and could not be answered again."""
