"""Where a client's records go: to its backend, or to an OpenTelemetry collector (`export_to`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import NamedTuple

from ..engine.destination import Destination
from ..logs import warn
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
        _tell_what_has_no_effect(settings)
        return Export(backend, settings)
    from ..destinations.collector import collector_of, delivery_settings
    from ..destinations.otlp import OtlpDestination

    collector = collector_of(settings, {name: value for name, value in own.items() if value})
    return Export(OtlpDestination(collector), delivery_settings(settings))


def _tell_what_has_no_effect(settings: Settings) -> None:
    """A setting of a collector is given where no collector is asked for."""
    idle = [
        each.name
        for each in fields(settings)
        if each.name.startswith("otlp_") and getattr(settings, each.name) is not each.default
    ]
    if idle:
        warn(
            f"without a collector: {idle}",
            'records go to the backend: without export_to="otlp" this has no effect: %s',
            ", ".join(idle),
        )
