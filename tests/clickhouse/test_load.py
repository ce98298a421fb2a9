"""Clients under load, and a ClickHouse that refuses inserts: nothing is lost, nothing is twice."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from banyan_hp import PromptStackLogger
from banyan_hp.server.api import responses
from banyan_hp.server.api.auth import Caller
from banyan_hp.server.app import create_app
from banyan_hp.server.starting import RoutingMode
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.keys import Role

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

KEY = "psk_load"
SECONDS = 600


@contextmanager
def served(database: Database, calls: str) -> Iterator[str]:
    """The URL of a server in a thread of this process, which has the embedded ClickHouse."""
    app = create_app(database, {KEY: Caller("default", Role.ADMIN, "given")}, RoutingMode.SERVER, calls=calls)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        app.state.feeds.close()
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, one_in: int) -> list[str]:
    """The tables of inserts that failed: every other one of them was stored all the same."""
    from banyan_hp.server.store.clickhouse.client import ClickHouse

    found: list[str] = []
    numbers, insert = count(1), ClickHouse.insert

    def insert_or_not(self: ClickHouse, table: str, *given: Any) -> None:
        fails = next(numbers) % one_in == 0
        if not fails or len(found) % 2:
            insert(self, table, *given)
        if fails:
            found.append(table)
            raise BusyError("too many parts")

    monkeypatch.setattr(ClickHouse, "insert", insert_or_not)
    monkeypatch.setattr(responses, "RETRY_SECONDS", 0)
    return found


def log(url: str, spool: Path, who: int, records: int) -> None:
    logger = PromptStackLogger(
        KEY, url, spool_dir=spool / str(who), batch_size=20, retry_delay=0.05, queue_size=1_000_000
    )
    for number in range(records):
        assert logger.log_prompt(f"question {number}", "answer", record_id=f"{who}-{number}")
    assert logger.flush(SECONDS).delivered, logger.get_stats()
    logger.shutdown(10)


@pytest.mark.parametrize(
    ("clients", "records", "one_in"),
    [(4, 300, 10), pytest.param(50, 2_000, 50, marks=[pytest.mark.soak, pytest.mark.timeout(SECONDS)])],
)
def test_nothing_is_lost_and_nothing_is_twice(
    clickhouse: ClickHouse,
    database: Database,
    embedded_in: Path,
    tmp_path: Path,
    refused: list[str],
    clients: int,
    records: int,
) -> None:
    """Whether an insert that failed was stored or not; in the calls, and in the sums by hour."""
    with served(database, f"chdb://{embedded_in}") as url:
        threads = [
            threading.Thread(target=log, args=(url, tmp_path / "spool", who, records))
            for who in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(refused) >= 2
    clickhouse.do("OPTIMIZE TABLE calls FINAL")
    stored = [row["id"] for row in clickhouse.rows("SELECT id FROM calls")]
    assert sorted(stored) == sorted(f"{who}-{number}" for who in range(clients) for number in range(records))
    (hours,) = clickhouse.rows("SELECT sum(calls) AS n FROM call_hours WHERE kind = 0 AND width = 0")
    assert hours["n"] == clients * records
