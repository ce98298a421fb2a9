"""OpenTelemetry logs by OTLP/HTTP: protobuf, 512 records a request, at the latest every 1 s. Not compressed.

Changed from the defaults: `max_queue_size` (2,048, beyond which the oldest are dropped). A queue that is not
full is exported by one thread; nothing is sampled.
"""

from __future__ import annotations

import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class OpenTelemetry:
    def __init__(self, url: str) -> None:
        exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs")
        self._provider = LoggerProvider()
        self._provider.add_log_record_processor(
            BatchLogRecordProcessor(exporter, max_queue_size=QUEUE_RECORDS)
        )
        self._logger = self._provider.get_logger("bench")

    def log(self, record: Record) -> bool:
        attributes = {"input": record["input"], "model": record["model"], **record["metadata"]}
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=record["output"],
                attributes=attributes,
            )
        )
        return True

    def flush(self) -> None:
        self._provider.force_flush(int(FLUSH_SECONDS * 1_000))

    def close(self) -> None:
        self._provider.shutdown()
