"""Connections that send no whole head of a request: real sockets, and a short deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from banyan_hp.server.connections import Connection

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hasty(Connection):
    head_seconds = 0.2


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Callable[[], Any]]:
    """The application on a free port. Yields what opens a connection to it."""
    config = uvicorn.Config(app, http=Hasty, log_config=None, lifespan="off")
    config.load()
    make = partial(Hasty, config=config, server_state=ServerState(), app_state={})
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    opened: list[Streams] = []

    async def connect() -> Streams:
        opened.append(await asyncio.open_connection(*server.sockets[0].getsockname()[:2]))
        return opened[-1]

    try:
        yield connect
    finally:
        for _, writer in opened:
            writer.close()
        server.close()


async def well(_scope: Any, _receive: Any, send: Any) -> None:
    """Responds."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def response(reader: asyncio.StreamReader) -> bytes:
    """One response of `well`."""
    return (await reader.readuntil(b"\r\n\r\n"))[:12] + await reader.readexactly(2)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "])
@pytest.mark.parametrize("used", [False, True])
def test_a_head_that_does_not_arrive_ends_the_connection(sent: bytes, *, used: bool) -> None:
    """A new connection, and one that had a request before, which may be idle until it says something."""

    async def run() -> bytes:
        async with serving(well) as connect:
            reader, writer = await connect()
            if used:
                writer.write(REQUEST)
                assert await response(reader) == b"HTTP/1.1 200ok"
                sent_now = sent or b"G"
            else:
                sent_now = sent
            writer.write(sent_now)
            return await asyncio.wait_for(reader.read(), 30)

    assert asyncio.run(run()) == b""


def test_a_head_that_comes_bit_by_bit_has_no_longer() -> None:
    """The deadline is that of the whole head: each byte does not begin it anew."""

    async def run() -> bytes:
        async with serving(well) as connect:
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\nX-A: ")
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(b"a")
                await asyncio.wait([ended], timeout=0.02)
            return ended.result() if ended.exception() is None else b""

    assert asyncio.run(asyncio.wait_for(run(), 30)) == b""


def test_a_request_in_hand_is_not_cut_short() -> None:
    """One that takes longer than the deadline: as long as another connection takes to run into its own."""

    async def run() -> bytes:
        released = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await released.wait()
            await well(scope, receive, send)

        async with serving(slow) as connect:
            reader, writer = await connect()
            writer.write(REQUEST[:9])
            writer.write(REQUEST[9:])
            silent, _ = await connect()
            assert await asyncio.wait_for(silent.read(), 30) == b""
            silent, _ = await connect()
            assert await asyncio.wait_for(silent.read(), 30) == b""
            released.set()
            return await response(reader)

    assert asyncio.run(run()) == b"HTTP/1.1 200ok"
