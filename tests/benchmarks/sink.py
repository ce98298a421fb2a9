"""The sink as its starter sees it: a loopback HTTP server that says how many distinct records came.

It runs in a process of its own; what it answers is in `sink_server`.
"""

from __future__ import annotations

import http.client
import json
import select
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 20.0
_STATS_SECONDS = 60.0


@dataclass(frozen=True)
class Stats:
    """What a sink received since its start or its last reset."""

    requests: int
    """POSTs, empty batches and refused ones included."""
    bytes: int
    """Of their bodies, as sent."""
    records: int
    """In the accepted bodies, repetitions included."""
    distinct: int
    """Different ones among those that arrived with both their input and their output."""
    cpu_s: float
    """CPU seconds of the sink in that while."""


@dataclass(frozen=True)
class Mode:
    """How a sink behaves.

    `gzip`: says that its batch endpoint takes compressed bodies. `one_by_one`: has no batch endpoint.
    `latency_ms`: how long each answer takes. `hang`: takes everything and never answers.
    """

    gzip: bool = False
    one_by_one: bool = False
    latency_ms: float = 0.0
    hang: bool = False

    def arguments(self) -> list[str]:
        flags = ["--gzip"] * self.gzip + ["--one-by-one"] * self.one_by_one + ["--hang"] * self.hang
        return [*flags, "--latency-ms", str(self.latency_ms)]


class Sink:
    """A sink in a child process, to be used as a context manager."""

    def __init__(self, mode: Mode | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.sink_server", *(mode or Mode()).arguments()],
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
