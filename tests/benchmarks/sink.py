"""The sink: a loopback HTTP server in its own process that takes records fast and says how many are distinct.

While records arrive, it keeps their bodies and counts a marker in them; ids are read when `GET /stats` asks.
It believes its clients (no chunked bodies, no pipelining, no authentication) and keeps everything in memory.

    python -m tests.benchmarks.sink [--port N] [--gzip] [--one-by-one] [--latency-ms N]

prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import select
import subprocess
import sys
import threading
import zlib
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

SINGLE_PATH = b"/api/logs/prompt-usage"
BATCH_PATH = b"/api/logs/prompt-usage/batch"
ROOT = Path(__file__).resolve().parents[2]

# An `"id"` key occurs once a record: in the envelope or in the floor's records, never inside the workload's.
_MARKER = b'"id":'
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_GZIP = re.compile(rb"\r\ncontent-encoding:[ \t]*gzip", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key:[ \t]*([^\r]+)", re.IGNORECASE)
_REASONS = {200: b"OK", 201: b"Created", 404: b"Not Found"}
_START_SECONDS = 20.0
_STATS_SECONDS = 60.0

_Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Stats:
    """What a sink received since its start or its last reset."""

    requests: int
    """POSTs to the two endpoints, empty batches and refused ones included."""
    bytes: int
    """Of their bodies, as sent."""
    records: int
    """Accepted."""
    distinct: int
    """Different ids among those."""


@dataclass(frozen=True)
class Mode:
    """How a sink behaves."""

    gzip: bool = False
    one_by_one: bool = False
    latency_ms: float = 0.0

    def arguments(self) -> list[str]:
        flags = ["--gzip"] * self.gzip + ["--one-by-one"] * self.one_by_one
        return [*flags, "--latency-ms", str(self.latency_ms)]


# In the parent


class Sink:
    """A sink in a child process, to be used as a context manager."""

    def __init__(self, mode: Mode | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.sink", *(mode or Mode()).arguments()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self.port = self._read_port()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stats(self) -> Stats:
        return Stats(**self._call("GET", "/stats"))

    def reset(self) -> None:
        """Forget all that came so far."""
        self._call("POST", "/reset")

    def close(self) -> None:
        """End the process: politely, then not."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10.0)

    def _read_port(self) -> int:
        output = self._process.stdout
        if output is None or not select.select([output], [], [], _START_SECONDS)[0]:
            raise TimeoutError(f"the sink did not start within {_START_SECONDS:g} s")
        line = output.readline()
        if not line:
            raise RuntimeError("the sink died at its start; its own message is on standard error")
        return int(line)

    def _call(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_STATS_SECONDS)
        with closing(connection):
            connection.request(method, path)
            return json.loads(connection.getresponse().read())


# In the child


class _Store:
    """What has arrived."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self.reset()

    def reset(self) -> None:
        self._requests = 0
        self._bytes = 0
        self._records = 0
        self._batches: list[bytes] = []
        self._keys: list[bytes] = []

    def take(self, path: bytes, head: bytes, body: bytes) -> _Answer:
        self._requests += 1
        self._bytes += len(body)
        if path == SINGLE_PATH:
            return self._take_single(head)
        if self._mode.one_by_one:
            return 404, {"error": "there is no batch endpoint here"}
        return self._take_batch(zlib.decompress(body, wbits=31) if _GZIP.search(head) else body)

    def stats(self) -> Stats:
        ids = {entry["id"] for body in self._batches for entry in _entries(body) if "id" in entry}
        distinct = len(ids) + len(set(self._keys))
        return Stats(self._requests, self._bytes, self._records, distinct)

    def _take_single(self, head: bytes) -> _Answer:
        self._records += 1
        key = _KEY.search(head)
        if key:
            self._keys.append(key[1])
        return 201, {}

    def _take_batch(self, body: bytes) -> _Answer:
        count = body.count(_MARKER)
        self._records += count
        if count:
            self._batches.append(body)
            return 200, {"accepted": count}
        return 200, {"accepted": 0, "gzip": True} if self._mode.gzip else {"accepted": 0}


def _entries(body: bytes) -> list[dict[str, Any]]:
    value = json.loads(body)
    return cast("list[dict[str, Any]]", value["records"] if isinstance(value, dict) else value)


class _Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, store: _Store, latency: float) -> None:
        self._store = store
        self._latency = latency
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
        if end >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            self._head_end = end + 4
            self._needed = self._head_end + (int(length[1]) if length else 0)

    def _serve(self) -> None:
        head = bytes(self._buffer[: self._head_end])
        body = bytes(self._buffer[self._head_end : self._needed])
        self._buffer.clear()
        self._needed = 0
        status, answer = self._route(head, body)
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._write, status, answer)
        else:
            self._write(status, answer)

    def _route(self, head: bytes, body: bytes) -> _Answer:
        method, target, _ = head.split(b" ", 2)
        path = target.partition(b"?")[0]
        if method == b"POST" and path in {SINGLE_PATH, BATCH_PATH}:
            return self._store.take(path, head, body)
        if path == b"/reset":
            self._store.reset()
        return 200, asdict(self._store.stats()) if path == b"/stats" else {}

    def _write(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self._transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, _REASONS[status], len(content), content)
        )


async def _serve_until_input_ends(port: int, mode: Mode) -> None:
    loop = asyncio.get_running_loop()
    store = _Store(mode)
    server = await loop.create_server(lambda: _Protocol(store, mode.latency_ms / 1_000), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=_watch_input, args=(loop, ended), daemon=True).start()
    await ended.wait()
    server.close()


def _watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    # os.read, as a daemon thread inside sys.stdin holds a lock that the interpreter wants at its exit.
    while os.read(0, 1_024):
        pass
    with suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(ended.set)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sink", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    mode = Mode(options.gzip, options.one_by_one, options.latency_ms)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_input_ends(options.port, mode))


if __name__ == "__main__":
    main()
