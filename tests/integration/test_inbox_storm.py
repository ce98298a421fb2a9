"""Threads that log while another one keeps taking the engine's lock: what returned True is accounted for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.engine.engine import Engine
from banyan_hp.settings import Settings
from tests.support.stepped import URL, FakeBackend

_THREADS = 8
_SECONDS = 0.7


@pytest.fixture(autouse=True)
def hasty_interpreter() -> Iterator[None]:
    """Threads take turns as often as can be: also in the middle of a section."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Storm:
    """Runs functions again and again, each on a thread, until the end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def run(self, function: Callable[[], object]) -> None:
        thread = threading.Thread(target=self._repeat, args=(function,))
        thread.start()
        self._threads.append(thread)

    def _repeat(self, function: Callable[[], object]) -> None:
        try:
            while not self.over.is_set():
                function()
        except BaseException as error:
            self.failures.append(error)
            raise

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
        assert not self.failures


def _engine(backend: FakeBackend, spool: Path, **options: Any) -> Engine:
    settings = Settings(spool_dir=spool, batching="always", flush_interval=0.01, on_sigterm="off", **options)
    destination = BanyanDestination(URL, "psk_test", None)
    return Engine(destination, settings, transport=lambda _destination, _settings: backend)


@pytest.mark.parametrize("queue_size", [20, 10_000])
def test_each_accepted_record_arrives_once_whoever_holds_the_lock(tmp_path: Path, queue_size: int) -> None:
    """Threads log, one holds the lock again and again, others flush and read; then the engine ends."""
    backend = FakeBackend()
    engine = _engine(backend, tmp_path, queue_size=queue_size)
    inbox, lock = engine.core.parts.inbox, engine.core.parts.lock
    accepted: list[str] = []
    turned_away: list[str] = []
    most: list[int] = [0]

    def log() -> None:
        record = engine.submit({"input": "x"})
        if record is not None:
            (turned_away if record.turned_away else accepted).append(record.id)

    def hold() -> None:
        time.sleep(0.001)
        with lock:
            time.sleep(0.0005)
            most[0] = max(most[0], len(inbox.records))

    def read() -> None:
        stats = engine.stats()
        settled = (
            stats["logs_sent"] + stats["logs_spooled"] + stats["logs_dropped"] + stats["logs_quarantined"]
        )
        assert stats["logs_queued"] == settled + stats["queue_size"] + stats["in_flight"]
        assert stats["queue_size"] <= queue_size + _THREADS
        time.sleep(0.0005)

    storm = Storm()
    engine.submit({"input": "first"}, ident="first")  # its thread runs when the others come
    for _ in range(_THREADS):
        storm.run(log)
    storm.run(hold)
    storm.run(read)
    storm.run(lambda: engine.flush(0.05))
    time.sleep(_SECONDS)
    engine.shutdown(20)
    storm.end()
    assert most[0] > 0, "no caller found the lock taken"
    ledger = engine.core.parts.ledger
    assert ledger.own.balanced()
    assert ledger.own.accepted == len(accepted) + len(turned_away) + 1
    assert not inbox.records
    counts = engine.stats()
    assert counts["logs_sent"] + counts["logs_spooled"] == len(accepted) + 1
    if not counts["logs_spooled"]:
        assert backend.taken == dict.fromkeys([*accepted, "first"], 1)
