"""The settings of an OpenTelemetry collector, as a client with `export_to="otlp"` would have them."""

from __future__ import annotations

from collections.abc import Iterator

from ...destinations.collector import Collector, collector_of, delivery_settings
from ...destinations.otlp import OtlpDestination
from ...settings import Settings, env
from .findings import Finding, good, note

HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


def collector_with(settings: Settings) -> tuple[OtlpDestination, Settings, list[Finding]]:
    """The destination, the engine's settings, and a line for each thing that decides about them.

    Raises:
        ConfigurationError: a setting or a variable is wrong.
    """
    collector = collector_of(settings)
    return OtlpDestination(collector), delivery_settings(settings), list(_findings(collector))


def _findings(collector: Collector) -> Iterator[Finding]:
    yield good("export_to", "otlp (--export-to)")
    yield good("spans go to", f"{collector.traces.url} ({collector.protocol})")
    yield good("scores go to", collector.logs.url)
    names = ", ".join(sorted({*collector.traces.headers, *collector.logs.headers})) or "none"
    yield good("headers", f"{names} ({HEADERS})" if names != "none" else names)
    service = collector.resource["service.name"]
    if env("OTEL_SERVICE_NAME") is None and service.startswith("unknown_service"):
        yield note("service.name", service, "Set OTEL_SERVICE_NAME, or collectors can't tell services apart.")
    else:
        yield good("service.name", service)
