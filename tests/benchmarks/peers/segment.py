"""Segment: 100 events a request, at the latest every 0.5 s, sent by one thread. Not compressed.

Changed from the defaults: `max_queue_size` (10,000). Nothing is sampled.
"""

from __future__ import annotations

from segment.analytics.client import Client

from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class Segment:
    def __init__(self, url: str) -> None:
        self._client = Client("bench", host=url, max_queue_size=QUEUE_RECORDS)

    def log(self, record: Record) -> bool:
        accepted, _ = self._client.track(record["metadata"]["user_id"], "prompt", record)
        return bool(accepted)

    def flush(self) -> None:
        self._client.flush()

    def close(self) -> None:
        self._client.shutdown()
