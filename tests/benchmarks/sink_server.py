"""The sink's own process: HTTP or HTTPS, no more of it than the systems need.

It believes its clients (no pipelining, no authentication) and keeps everything in memory.

    python -m tests.benchmarks.sink_server [--host H] [--port N] [--tls] [--gzip] [--one-by-one]
        [--latency-ms N] [--hang]

prints its port and serves until its standard input ends. A line there is a question, `stats` or `reset`; the
answer is a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import threading
from contextlib import suppress
from dataclasses import asdict
from typing import cast

from tests.benchmarks.sink import Mode
from tests.benchmarks.sink_store import Answer, Store, encoded
from tests.support.raw import server_context

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_REASONS = {200: b"OK", 201: b"Created", 202: b"Accepted", 404: b"Not Found", 411: b"Length Required"}


class _Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, store: Store, mode: Mode) -> None:
        self._store = store
        self._mode = mode
        self._buffer = bytearray()
        self._head_end = 0
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            self._measure()
        if self._needed and len(self._buffer) >= self._needed:
            self._serve()

    def _measure(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if _CHUNKED.search(self._buffer, 0, end):
            self._write((411, {"error": "the sink needs a Content-Length"}))
            self._transport.close()
            return
        length = _LENGTH.search(self._buffer, 0, end)
        self._head_end = end + 4
        self._needed = self._head_end + (int(length[1]) if length else 0)

    def _serve(self) -> None:
        head = bytes(self._buffer[: self._head_end])
        body = bytes(self._buffer[self._head_end : self._needed])
        self._buffer.clear()
        self._needed = 0
        method, target, _ = head.split(b" ", 2)
        answer = self._store.answer(method, target, head, body)
        if not self._mode.hang:
            self._write_later(answer)

    def _write_later(self, answer: Answer) -> None:
        if self._mode.latency_ms:
            asyncio.get_running_loop().call_later(self._mode.latency_ms / 1_000, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: Answer) -> None:
        status, value = answer
        content = encoded(value)
        self._transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, _REASONS[status], len(content), content)
        )


async def _serve_until_input_ends(host: str, port: int, mode: Mode) -> None:
    loop = asyncio.get_running_loop()
    store = Store(mode)
    context = server_context() if mode.tls else None
    server = await loop.create_server(lambda: _Protocol(store, mode), host, port, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=_watch_input, args=(loop, store, ended), daemon=True).start()
    await ended.wait()
    server.close()


def _watch_input(loop: asyncio.AbstractEventLoop, store: Store, ended: asyncio.Event) -> None:
    # os.read, as a daemon thread inside sys.stdin holds a lock that the interpreter wants at its exit.
    # Whoever asks waits for the answer, so what is read at once is one line.
    with suppress(RuntimeError):  # the loop is closed already
        while question := os.read(0, 1_024):
            loop.call_soon_threadsafe(_answer, store, question.strip())
        loop.call_soon_threadsafe(ended.set)


def _answer(store: Store, question: bytes) -> None:
    if question == b"reset":
        store.reset()
    print(json.dumps(asdict(store.stats())), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sink_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--hang", action="store_true")
    options = parser.parse_args()
    mode = Mode(options.gzip, options.one_by_one, options.latency_ms, options.hang, options.tls)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_input_ends(options.host, options.port, mode))


if __name__ == "__main__":
    main()
