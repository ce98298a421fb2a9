"""PostHog: 100 events a request, at the latest every 5 s, one thread. Not compressed.

Changed from the defaults: `max_queue_size` (10,000). Nothing is sampled, no feature flags are asked for.
"""

from __future__ import annotations

from posthog import Posthog

from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class PostHog:
    def __init__(self, url: str) -> None:
        self._client = Posthog("phc_bench", host=url, max_queue_size=QUEUE_RECORDS)

    def log(self, record: Record) -> bool:
        event = self._client.capture("prompt", distinct_id=record["metadata"]["user_id"], properties=record)
        return event is not None

    def flush(self) -> None:
        self._client.flush(FLUSH_SECONDS)

    def close(self) -> None:
        self._client.shutdown()
