"""Runs measurements: each call in its own process, the cases in turns, every record counted at the end."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests.utils

from tests.benchmarks.calls import CallError, Metrics, call
from tests.benchmarks.distance import Distance, Network
from tests.benchmarks.plan import Case, Measurement
from tests.benchmarks.sink import Mode, Sink
from tests.support.raw import AUTHORITY

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "OTEL_EXPORTER_OTLP_CERTIFICATE")


@dataclass(frozen=True)
class Run:
    """One call of one case."""

    case: str
    repetition: int
    metrics: Metrics
    failure: str | None


class Backends:
    """One sink for each mode, started when first wanted, and a port where nobody listens."""

    def __init__(self) -> None:
        self._sinks: dict[Mode, Sink] = {}
        self._networks: dict[Distance, Network] = {}
        self._bundle: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Backends:
        taken = self._stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))  # without listen(): connections are refused, and nobody else gets it
        self.nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sink(self, mode: Mode) -> Sink:
        if mode not in self._sinks:
            network = None if mode.distance is None else self.network(mode.distance)
            self._sinks[mode] = self._stack.enter_context(Sink(mode, network))
        return self._sinks[mode]

    def network(self, distance: Distance) -> Network:
        if distance not in self._networks:
            self._networks[distance] = self._stack.enter_context(Network(distance))
        return self._networks[distance]

    def trust(self) -> dict[str, str]:
        """What makes systems trust the sinks' certificates: a usual bundle, and the tests' authority."""
        if self._bundle is None:
            directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="banyan-hp-bench-ca-"))
            self._bundle = Path(directory) / "bundle.pem"
            usual = Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
            self._bundle.write_bytes(usual.read_bytes() + AUTHORITY.read_bytes())
        return dict.fromkeys(_CA_VARIABLES, os.fspath(self._bundle))


def run(measurement: Measurement, available: Backends, *, repetitions: int | None = None) -> list[Run]:
    """Call all cases in turns; each turn begins with another one, as being first is not like the rest."""
    added = call(measurement.prepare, {}) if measurement.prepare else {}
    return [
        _run_one(
            case, available, repetition, {**added, **({"seed": repetition} if measurement.seeded else {})}
        )
        for repetition in range(repetitions or measurement.repetitions)
        for case in _rotated(measurement.cases, repetition)
    ]


def _rotated(cases: Sequence[Case], by: int) -> Sequence[Case]:
    start = by % len(cases)
    return [*cases[start:], *cases[:start]]


def _seed(measurement: Measurement, repetition: int) -> dict[str, int]:
    return {"seed": repetition} if measurement.seeded else {}


def _run_one(case: Case, available: Backends, repetition: int, added: Mapping[str, Any]) -> Run:
    mode = case.sink or Mode()
    sink = None if case.sink is None else available.sink(mode)
    if sink is not None:
        sink.reset()
    url = available.nowhere if sink is None else sink.url
    metrics: Metrics = {}
    failure: str | None = None
    try:
        metrics = call(
            case.function,
            {"url": url, **case.arguments, **added},
            hide=case.hide,
            prefix=available.network(mode.distance).near if mode.distance else (),
            environment=available.trust() if mode.tls else {},
        )
    except CallError as error:
        failure = str(error)
    if sink is not None and failure is None:
        failure = _count(case, sink, metrics)
    return Run(case.name, repetition, metrics, failure)


def _count(case: Case, sink: Sink, metrics: Metrics) -> str | None:
    """Add what the sink says to the metrics; the failure, if records are missing."""
    received = sink.stats()
    metrics |= {"requests": received.requests, "bytes": received.bytes, "sink_cpu_s": received.cpu_s}
    if "elapsed_s" in metrics:
        metrics["sink_busy"] = received.cpu_s / metrics["elapsed_s"]
    expected = metrics.get("logged", case.records)  # what only the application itself can count
    if expected is None or received.distinct == expected:
        return None
    refused = f"{metrics.get('refused', 0):.0f} refused by log"
    return f"{expected - received.distinct:.0f} of {expected:.0f} records missing ({refused})"
