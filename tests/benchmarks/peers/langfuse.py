"""Langfuse: a generation is an OpenTelemetry span; 512 a request, at the latest every 5 s, OTLP/HTTP.

Compression is the client's default. Changed from the defaults: the span queue's bound (2,048), by
OpenTelemetry's environment variable. `sample_rate` is 1.
"""

from __future__ import annotations

import os

from langfuse import Langfuse as Client

from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class Langfuse:
    def __init__(self, url: str) -> None:
        os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(QUEUE_RECORDS)
        self._client = Client(public_key="pk-lf-bench", secret_key="sk-lf-bench", base_url=url)

    def log(self, record: Record) -> bool:
        self._client.start_observation(
            name="prompt",
            as_type="generation",
            input=record["input"],
            output=record["output"],
            model=record["model"],
            metadata=record["metadata"],
        ).end()
        return True

    def flush(self) -> None:
        self._client.flush()

    def close(self) -> None:
        self._client.shutdown()
