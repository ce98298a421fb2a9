"""OpenTelemetry spans by OTLP/HTTP: protobuf, 512 spans a request, at the latest every 5 s. Not compressed.

A span has the attributes that ours has for the same record. Changed from the defaults: `max_queue_size`
(2,048, beyond which spans are dropped).
"""

from __future__ import annotations

import json

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from banyan_hp import semconv
from tests.benchmarks.adapters import FLUSH_SECONDS
from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class OpenTelemetrySpans:
    def __init__(self, url: str) -> None:
        exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_RECORDS))
        self._tracer = self._provider.get_tracer("bench")

    def log(self, record: Record) -> bool:
        span = self._tracer.start_span(f"chat {record['model']}", kind=SpanKind.CLIENT)
        metadata = dict(record["metadata"])
        session = metadata.pop("session_id")
        span.set_attributes(
            {
                semconv.OPERATION: "chat",
                semconv.REQUEST_MODEL: record["model"],
                semconv.USER_ID: metadata.pop("user_id"),
                semconv.SESSION_ID: session,
                semconv.CONVERSATION_ID: session,
                semconv.METADATA: json.dumps(metadata),
                semconv.INPUT_MESSAGES: json.dumps([_message("user", record["input"])]),
                semconv.OUTPUT_MESSAGES: json.dumps([_message("assistant", record["output"])]),
            }
        )
        span.end()
        return True

    def flush(self) -> None:
        self._provider.force_flush(int(FLUSH_SECONDS * 1_000))

    def close(self) -> None:
        self._provider.shutdown()


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
