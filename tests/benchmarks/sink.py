"""The sink as its starter sees it: an HTTP server that says how many distinct records came.

It runs in a process of its own, and is asked by its standard input; what it answers is in `sink_server`.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.distance import Distance, Network

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
    `latency_ms`: how long each answer takes. `hang`: takes everything and never answers. `tls`: by HTTPS,
    with a certificate of the tests' authority. `distance`: how far away it is; None: on this machine.
    """

    gzip: bool = False
    one_by_one: bool = False
    latency_ms: float = 0.0
    hang: bool = False
    tls: bool = False
    distance: Distance | None = None

    def arguments(self) -> list[str]:
        flags = ["--gzip"] * self.gzip + ["--one-by-one"] * self.one_by_one + ["--hang"] * self.hang
        return [*flags, *["--tls"] * self.tls, "--latency-ms", str(self.latency_ms)]


class Sink:
    """A sink in a child process, to be used as a context manager.

    Args:
        mode: how it behaves.
        network: it is at the far end of this one.
    """

    def __init__(self, mode: Mode | None = None, network: Network | None = None) -> None:
        mode = mode or Mode()
        self._scheme = "https" if mode.tls else "http"
        self._host, prefix = ("127.0.0.1", []) if network is None else (network.address, network.far)
        arguments = [*mode.arguments(), "--host", self._host]
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.benchmarks.sink_server", *arguments],
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
        return f"{self._scheme}://{self._host}:{self.port}"

    def stats(self) -> Stats:
        return Stats(**self._ask("stats"))

    def reset(self) -> None:
        """Forget all that came so far."""
        self._ask("reset")

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
        return int(self._read_line(_START_SECONDS))

    def _ask(self, what: str) -> Any:
        questions = self._process.stdin
        assert questions is not None
        questions.write(f"{what}\n".encode("ascii"))
        questions.flush()
        return json.loads(self._read_line(_STATS_SECONDS))

    def _read_line(self, timeout: float) -> bytes:
        output = self._process.stdout
        if output is None or not select.select([output], [], [], timeout)[0]:
            raise TimeoutError(f"the sink did not answer within {timeout:g} s")
        line = output.readline()
        if not line:
            raise RuntimeError("the sink has died; its own message is on standard error")
        return line
