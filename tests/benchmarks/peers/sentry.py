"""Sentry logs: batches of 100 or what 5 s bring, in gzipped envelopes sent by one thread.

Nothing is sampled. Changed from the defaults: the two bounds beyond which logs are dropped in a burst, 1,000
in the batcher (which has no setting for it) and 100 envelopes in the transport; and integrations are off, as
they would measure patched frameworks.
"""

from __future__ import annotations

import sentry_sdk
from sentry_sdk import logger
from sentry_sdk._log_batcher import LogBatcher

from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class Sentry:
    def __init__(self, url: str) -> None:
        LogBatcher.MAX_BEFORE_DROP = QUEUE_RECORDS
        sentry_sdk.init(
            dsn=url.replace("://", "://bench@") + "/1",
            enable_logs=True,
            transport_queue_size=QUEUE_RECORDS,
            auto_enabling_integrations=False,
            default_integrations=False,
        )

    def log(self, record: Record) -> bool:
        attributes = {"input": record["input"], "model": record["model"], **record["metadata"]}
        logger.info(record["output"], attributes=attributes)
        return True

    def flush(self) -> None:
        sentry_sdk.flush(FLUSH_SECONDS)

    def close(self) -> None:
        sentry_sdk.get_client().close(timeout=10)
