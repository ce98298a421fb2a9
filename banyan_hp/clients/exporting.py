"""Where a client's records go: to its backend, or to an OpenTelemetry collector (`export_to`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..engine.destination import Destination
from ..settings import Settings


class Export(NamedTuple):
    """What an engine is made for."""

    destination: Destination
    settings: Settings


def export_of(settings: Settings, backend: Destination, own: Mapping[str, str | None]) -> Export:
    """What delivers the records of a client with these settings.

    Args:
        settings: of the client.
        backend: its backend.
        own: attributes of a collector's resource that the client knows; None is not given.

    Raises:
        ConfigurationError: `export_to="otlp"` can't be done as the settings and the environment say.
    """
    if settings.export_to == "backend":
        return Export(backend, settings)
    from ..destinations.collector import collector_of, delivery_settings
    from ..destinations.otlp import OtlpDestination

    collector = collector_of(settings, {name: value for name, value in own.items() if value})
    return Export(OtlpDestination(collector), delivery_settings(settings))
