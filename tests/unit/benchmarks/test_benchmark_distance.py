"""The benchmarks' own network, and their sink by TLS."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest

from tests.benchmarks import distance, relay
from tests.benchmarks.adapters import BATCH, FLOOR
from tests.benchmarks.distance import Distance
from tests.benchmarks.plan import Case, Measurement, Row
from tests.benchmarks.runner import Backends, run

BURST = "tests.benchmarks.measure:burst"
ROWS = (Row("records_per_s", "records/s"),)
OBSTACLE = distance.obstacle()


def sent(way: relay.Way, entry: socket.socket, packets: list[bytes]) -> None:
    for packet in packets:
        entry.send(packet)
    way.take()


@pytest.mark.parametrize("lost", [0.0, 1.0])
def test_the_relay_delays_packets_and_loses_some(monkeypatch: pytest.MonkeyPatch, lost: float) -> None:
    """In their order, each as late as it was said; it knows when the next one is due."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    (entry, source), (target, out) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    with entry, source, target, out:
        for each in (source, out):
            each.settimeout(0)
        way = relay.Way(source.fileno(), target.fileno(), 0.25, lost, seed=1)
        sent(way, entry, [b"one", b"two"])
        assert way.give() == (None if lost else 0.25)
        now[0] += 0.2
        sent(way, entry, [b"three"])
        now[0] += 0.05
        assert way.give() == (None if lost else pytest.approx(0.2))
        now[0] += 0.2
        assert way.give() is None
        arrived = []
        while True:
            try:
                arrived.append(out.recv(100))
            except BlockingIOError:
                break
        assert arrived == ([] if lost else [b"one", b"two", b"three"])


@pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
def test_a_distant_sink_is_as_far_away_as_it_was_said() -> None:
    """A new connection and one request take at least two round trips; all records arrive."""
    away = replace(FLOOR.sink, distance=Distance(50))
    case = Case.of(replace(FLOOR, sink=away), BURST, records=1)
    with Backends() as available:
        (made,) = run(Measurement("far", "far", (case,), ROWS), available, repetitions=1)
    assert made.failure is None
    assert made.metrics["elapsed_s"] >= 0.1


def test_records_arrive_by_tls() -> None:
    """The systems trust the sink's certificate by the environment, and nothing else is checked less."""
    cases = tuple(
        Case.of(replace(system, sink=replace(system.sink, tls=True)), BURST, records=20)
        for system in (FLOOR, BATCH)
    )
    with Backends() as available:
        results = run(Measurement("tls", "tls", cases, ROWS), available, repetitions=1)
        assert available.sink(cases[0].sink or FLOOR.sink).url.startswith("https://")
    assert [one.failure for one in results] == [None, None]
