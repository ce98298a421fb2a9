"""LangSmith: runs as multipart, compressed with zstd on the caller's thread, sent every half second or so.

That is what it does against its hosted backend, whose `/info` allows zstd; so does the sink's. Defaults
throughout. Nothing is sampled.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import langsmith

from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.workload import Record


class LangSmith:
    def __init__(self, url: str) -> None:
        self._client = langsmith.Client(api_url=url, api_key="bench")

    def log(self, record: Record) -> bool:
        run = uuid.uuid4()
        now = datetime.now(UTC)
        self._client.create_run(
            "bench",
            {"input": record["input"]},
            "llm",
            id=run,
            trace_id=run,
            dotted_order=f"{now:%Y%m%dT%H%M%S%fZ}{run}",
            project_name="bench",
            start_time=now,
            end_time=now,
            outputs={"output": record["output"]},
            extra={"metadata": {**record["metadata"], "ls_model_name": record["model"]}},
        )
        return True

    def flush(self) -> None:
        self._client.flush(FLUSH_SECONDS)

    def close(self) -> None:
        self._client.cleanup()
