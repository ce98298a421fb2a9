"""banyan-sdk: one POST a record on one connection, a queue of references to the caller's own objects.

Not compressed, nothing sampled, no retry of a 5xx. Changed from the defaults: `queue_size` (1,000).
"""

from __future__ import annotations

import logging
import time

from banyan.sdk import PromptStackLogger

from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class BanyanSdk:
    def __init__(self, url: str) -> None:
        logging.getLogger("banyan").setLevel(logging.ERROR)
        self.logger = PromptStackLogger(api_key="psk_bench", base_url=url, queue_size=QUEUE_RECORDS)
        self._accepted = 0

    def log(self, record: Record) -> bool:
        accepted = bool(self.logger.log_prompt(**record))
        self._accepted += accepted
        return accepted

    def flush(self) -> None:
        """Its own flush ignores what the worker holds, which goes out by the next `flush_interval`."""
        deadline = time.monotonic() + FLUSH_SECONDS
        self.logger.flush(FLUSH_SECONDS)
        while self.logger.metrics.successful_requests + self.logger.metrics.failed_requests < self._accepted:
            if time.monotonic() > deadline:
                raise TimeoutError("banyan-sdk did not send everything")
            time.sleep(0.005)

    def close(self) -> None:
        self.logger.shutdown(timeout=10)
