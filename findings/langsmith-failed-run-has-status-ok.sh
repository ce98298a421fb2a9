#!/usr/bin/env bash
# langsmith 0.15.1 with OpenTelemetry only (LANGSMITH_OTEL_ENABLED, LANGSMITH_OTEL_ONLY): runs that fail.
#
# A run's start and its end go to a background thread in batches. If both are in one batch, a failed run's span has
# the status ERROR. If the start was exported first (any run longer than a batch's fraction of a second, so most calls
# of a model), the span was given the status OK when the run began; OpenTelemetry's SDK lets OK stand for good and
# ignores the ERROR set later. The span ends as OK with an "exception" event beside it.
# The event's exception.type is always "Exception", not the type that was raised, and there is no error.type.
#
# Seen: one line per run: its span's status, its events' names and exception types, whether it has error.type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langsmith==0.15.1 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
export LANGSMITH_TRACING=true LANGSMITH_OTEL_ENABLED=true LANGSMITH_OTEL_ONLY=true
export LANGSMITH_API_KEY=none LANGSMITH_ENDPOINT=http://127.0.0.1:9
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import contextlib

from langsmith import Client, traceable
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
client = Client()


@traceable(client=client, name="short")
def short():
    raise ValueError("no such city")


@traceable(client=client, name="long")
def long():
    client.flush()
    raise ValueError("no such city")


for function in (short, long):
    with contextlib.suppress(ValueError):
        function()
    client.flush()
for span in spans.get_finished_spans():
    events = [(event.name, event.attributes["exception.type"]) for event in span.events]
    print(span.name, span.status.status_code.name, events, "error.type" in span.attributes)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
short ERROR [('exception', 'Exception')] False
long OK [('exception', 'Exception')] False
SEEN
