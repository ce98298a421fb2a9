"""What a sink keeps of the requests it gets, what it answers, and how it counts distinct records.

While requests arrive it only keeps their bodies; they are read when somebody asks. A record counts when both
its input and its output are there, whatever the wire format: the workload's texts say their number.
"""

from __future__ import annotations

import importlib
import json
import re
import time
import zlib
from typing import Any

from tests.benchmarks.sink import Mode, Stats

SINGLE_PATH = b"/api/logs/prompt-usage"
BATCH_PATH = b"/api/logs/prompt-usage/batch"
PROMPT_PATH = b"/api/logs/prompt/"
EXPERIMENT_ID = "exp-1"

_INPUT = re.compile(rb"Question (\d+): ")
_OUTPUT = re.compile(rb"Answer (\d+): ")
_ENCODING = re.compile(rb"\r\ncontent-encoding:[ \t]*([a-z]+)", re.IGNORECASE)
# An `"id"` key occurs once a record: in the envelope or in the floor's records, never inside the workload's.
_MARKER = b'"id":'
_HONEYCOMB_MARKER = b'"samplerate":'
_LANGSMITH_INFO = {
    "version": "0.12.0",
    "instance_flags": {"zstd_compression_enabled": True},
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1_000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
}
_PROMPT = {
    "prompt_id": "p-1",
    "name": "greeting",
    "content": "Say hello to {{name}}.",
    "version": "1.0",
    "branch": "main",
    "project": "bench",
    "enable_logging": True,
}
_EXPERIMENT = {
    "experiment_id": EXPERIMENT_ID,
    "status": "running",
    "sticky_type": "user_id",
    "versions": [
        {"experiment_version_id": "a", "version": "1.0", "content": "A", "traffic_percentage": 50},
        {"experiment_version_id": "b", "version": "2.0", "content": "B", "traffic_percentage": 50},
    ],
}

Answer = tuple[int, Any]
"""A status, and a JSON value or None for an empty body."""


class Store:
    """Everything that arrived since the start or the last reset."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self.reset()

    def reset(self) -> None:
        self._requests = 0
        self._bytes = 0
        self._bodies: list[tuple[bytes, bytes]] = []  # encoding, body as it came
        self._cpu_before = time.process_time()

    def answer(self, method: bytes, target: bytes, head: bytes, body: bytes) -> Answer:
        path, _, query = target.partition(b"?")
        if method == b"GET":
            return self._read(path, query)
        return self._take(path, _encoding(head), body)

    def stats(self) -> Stats:
        cpu = time.process_time() - self._cpu_before
        bodies = [_decoded(encoding, body) for encoding, body in self._bodies]
        inputs = [number for body in bodies for number in _INPUT.findall(body)]
        outputs = {number for body in bodies for number in _OUTPUT.findall(body)}
        return Stats(self._requests, self._bytes, len(inputs), len(outputs & set(inputs)), cpu)

    def _read(self, path: bytes, query: bytes) -> Answer:
        if path == b"/info":
            return 200, _LANGSMITH_INFO
        if path.startswith(PROMPT_PATH):
            return 200, {**_PROMPT, "experiments": [_EXPERIMENT]} if b"sticky_key" in query else _PROMPT
        return 200, {}

    def _take(self, path: bytes, encoding: bytes, body: bytes) -> Answer:
        self._requests += 1
        self._bytes += len(body)
        if path == BATCH_PATH:
            return self._take_batch(encoding, body)
        self._bodies.append((encoding, body))
        if path.startswith(b"/1/batch/"):
            return 200, [{"status": 202}] * _decoded(encoding, body).count(_HONEYCOMB_MARKER)
        if path.startswith((b"/v1/logs", b"/api/public/otel")):
            return 200, None  # an empty protobuf message
        if path.startswith(b"/runs"):
            return 202, {}
        return (201 if path == SINGLE_PATH else 200), {}

    def _take_batch(self, encoding: bytes, body: bytes) -> Answer:
        if self._mode.one_by_one:
            return 404, {"error": "there is no batch endpoint here"}
        plain = _decoded(encoding, body)
        count = plain.count(_MARKER)
        if count:
            self._bodies.append((b"", plain))
        elif self._mode.gzip:
            return 200, {"accepted": 0, "gzip": True}
        return 200, {"accepted": count}


def _encoding(head: bytes) -> bytes:
    found = _ENCODING.search(head)
    return found[1].lower() if found else b""


def _decoded(encoding: bytes, body: bytes) -> bytes:
    if encoding in {b"gzip", b"deflate"}:
        return zlib.decompress(body, wbits=47)  # either header
    if encoding == b"zstd":
        # Only in the benchmarks' own environment, and only where a peer compresses so.
        decompressor: Any = importlib.import_module("zstandard").ZstdDecompressor()
        plain: bytes = decompressor.decompressobj().decompress(body)
        return plain
    if encoding not in {b"", b"identity"}:
        raise ValueError(f"a body came in an encoding that the sink can't read: {encoding.decode()}")
    return body


def encoded(value: Any) -> bytes:
    """An answer's body."""
    return b"" if value is None else json.dumps(value).encode()
