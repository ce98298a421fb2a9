"""The same burst to a collector as spans: beside our own batch format, and OpenTelemetry's own exporter."""

from __future__ import annotations

from tests.benchmarks.adapters import BATCH, OTLP, OTLP_PROTOBUF
from tests.benchmarks.measurements.burst import case
from tests.benchmarks.peers import OPENTELEMETRY_SPANS
from tests.benchmarks.plan import Measurement, Row, Target

MEASUREMENT = Measurement(
    "otlp",
    "a burst of spans to a collector",
    tuple(case(system) for system in (BATCH, OTLP, OTLP_PROTOBUF, OPENTELEMETRY_SPANS)),
    (
        Row("caller_p50_us", "caller p50, µs"),
        Row("records_per_s", "records/s"),
        Row("cpu_s_per_10k", "CPU s per 10,000"),
        Row("bytes", "bytes on the wire"),
        Row("sink_busy", "sink's share of one CPU"),
    ),
    (
        Target(
            "half of our own format's records/s", OTLP.name, "records_per_s", least=0.5, ratio_to=BATCH.name
        ),
        Target(
            "5 x OpenTelemetry's records/s",
            OTLP.name,
            "records_per_s",
            least=5.0,
            ratio_to=OPENTELEMETRY_SPANS.name,
        ),
        Target(
            "a third of OpenTelemetry's CPU",
            OTLP.name,
            "cpu_s_per_10k",
            most=1 / 3,
            ratio_to=OPENTELEMETRY_SPANS.name,
        ),
    ),
)
