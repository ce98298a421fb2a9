"""By TLS: batches, one record a request, and the CPU of a new connection.

All systems trust the same bundle: a usual one with some 140 authorities, and the tests' own.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import replace

from tests.benchmarks.adapters import BATCH, FLOOR, ONE_BY_ONE, System
from tests.benchmarks.measure import Metrics
from tests.benchmarks.peers import BANYAN_SDK, OPENTELEMETRY
from tests.benchmarks.plan import Case, Measurement, Row
from tests.benchmarks.sink import Mode

_BURST = "tests.benchmarks.measure:burst"
_CONNECTIONS = 50
_TIMEOUT = 10.0


def connect(url: str, how: str) -> Metrics:
    """CPU and time of `GET /` on a new connection each."""
    ask = _WAYS[how](url)
    ask()  # what only the first connection of a process pays is shown by `loaded` alone
    cpu, started = time.process_time(), time.perf_counter()
    for _ in range(_CONNECTIONS):
        ask()
    elapsed, used = time.perf_counter() - started, time.process_time() - cpu
    return {"cpu_ms": used / _CONNECTIONS * 1_000, "wall_ms": elapsed / _CONNECTIONS * 1_000}


def _resumed(url: str) -> Callable[[], None]:
    """A transport that keeps no connection, only its session."""
    transport = importlib.import_module("banyan_hp.engine.http.transport")
    sender = transport.HTTPTransport(url, _TIMEOUT, connections=0)
    request = transport.Request("GET", f"{url}/", {})

    def ask() -> None:
        response = sender.send(request, _TIMEOUT)
        if not isinstance(response, transport.Response):
            raise RuntimeError(f"no response: {response}")

    return ask


def _full(url: str) -> Callable[[], None]:
    """Connections that are not handed back, so that no session is remembered."""
    connections, exchanges = (
        importlib.import_module(f"banyan_hp.engine.http.{name}") for name in ("connections", "exchange")
    )
    connector = connections.Connector(url)
    head = exchanges.Heads(connector.authority, None).head("GET", f"{url}/", {}, 0)

    def ask() -> None:
        connection = connector.connect(_TIMEOUT)
        exchanges.exchange(connection.sock, exchanges.Message("GET", head, b""), _TIMEOUT, is_tls=True)
        connection.close()

    return ask


def _loaded(url: str) -> Callable[[], None]:
    """The same behind a bundle that is another one each time."""
    full = _full(url)

    def ask() -> None:
        os.utime(os.environ["REQUESTS_CA_BUNDLE"])
        full()

    return ask


def _requests(url: str) -> Callable[[], None]:
    """A session each, as a program has that keeps none."""
    requests = importlib.import_module("requests")
    return lambda: requests.get(f"{url}/", timeout=_TIMEOUT).raise_for_status()


_WAYS: dict[str, Callable[[str], Callable[[], None]]] = {
    "requests": _requests,
    "loaded": _loaded,
    "full": _full,
    "resumed": _resumed,
}


def _case(system: System, records: int) -> Case:
    return Case.of(replace(system, sink=replace(system.sink, tls=True)), _BURST, records=records)


_ROWS = (
    Row("records_per_s", "records/s"),
    Row("cpu_s_per_10k", "CPU s per 10,000"),
    Row("sink_busy", "sink's share of one CPU"),
)

BATCHES = Measurement(
    "tls",
    "TLS: a burst to a batch backend",
    tuple(_case(system, system.burst_records) for system in (FLOOR, BATCH, OPENTELEMETRY)),
    _ROWS,
)

SINGLE = Measurement(
    "tls-one-by-one",
    "TLS: a burst, one record a request",
    tuple(_case(system, system.burst_records) for system in (BANYAN_SDK, ONE_BY_ONE)),
    _ROWS,
)

CONNECTIONS = Measurement(
    "tls-connection",
    f"TLS: a new connection and one request, the mean of {_CONNECTIONS}",
    tuple(
        Case(name, f"{__name__}:connect", {"how": how}, Mode(tls=True))
        for name, how in (
            ("requests, a session each", "requests"),
            ("banyan_hp, the trust store loaded anew", "loaded"),
            ("banyan_hp, a full handshake", "full"),
            ("banyan_hp, a resumed session", "resumed"),
        )
    ),
    (Row("cpu_ms", "CPU ms"), Row("wall_ms", "ms")),
    seeded=False,
)
