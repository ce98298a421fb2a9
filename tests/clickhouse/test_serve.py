"""`banyan-hp serve --calls`: from the clients to ClickHouse and back, and killed in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp import PromptStackLogger
from tests.support.answered import Answered
from tests.support.backend import Backend

RECORDS = 240
SECONDS = 30


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    with Backend(options=["--calls", f"chdb://{tmp_path / 'clickhouse'}"], fresh=True) as running:
        yield running


def ids_in(backend: Backend) -> list[str]:
    found: list[str] = []
    params = {"limit": "1000"}
    while True:
        headers = {"X-API-Key": backend.api_key}
        page = requests.get(f"{backend.url}/api/calls", params, headers=headers, timeout=SECONDS).json()
        found += [each["id"] for each in page["calls"]]
        if page["next"] is None:
            return found
        params["after"] = page["next"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "banyan_hp", *arguments]
    return subprocess.run(given, capture_output=True, text=True, timeout=60, check=False)


def test_every_answered_record_survives_a_kill(backend: Backend, tmp_path: Path) -> None:
    """Killed while it takes records, and started again: all that was answered is there at once, each once."""
    options: dict[str, Any] = {"batch_size": 20, "retry_delay": 0.1, "timeout": 5.0}
    loggers = [
        PromptStackLogger(backend.api_key, backend.url, spool_dir=tmp_path / f"spool-{who}", **options)
        for who in range(2)
    ]
    answered = Answered(loggers, threads=4, records=RECORDS // 8)
    with answered.being_logged():
        answered.wait_for(RECORDS // 3)
        backend.kill()
        before = list(answered.ids)
        backend.start()
        assert set(before) <= set(ids_in(backend))
    for logger in loggers:
        logger.shutdown(5)
    assert sorted(ids_in(backend)) == sorted(answered.expected)
    with sqlite3.connect(backend.db) as database:
        assert database.execute("SELECT count(*) FROM calls").fetchone() == (0,)


def test_sums_are_counted_anew_by_a_command(backend: Backend, tmp_path: Path) -> None:
    """With the server stopped, as an embedded ClickHouse is used by one process."""
    logger = PromptStackLogger(backend.api_key, backend.url, spool_dir=tmp_path / "spool")
    logger.log_prompt("question", "answer", model="m")
    assert logger.flush(SECONDS).delivered
    logger.shutdown(5)
    assert backend.stop() == 0
    done = command("db", "recount", "--calls", f"chdb://{tmp_path / 'clickhouse'}", "--db", str(backend.db))
    assert (done.returncode, done.stdout) == (0, "all calls are counted anew\n"), done.stderr
    backend.start()
    assert len(ids_in(backend)) == 1


def test_what_can_t_be_is_refused_before_the_start(tmp_path: Path) -> None:
    """Another database's URL, and a server that is not there; no password is shown."""
    db = str(tmp_path / "backend.sqlite3")
    other = command("serve", "--db", db, "--calls", "postgresql://x")
    assert "clickhouse://, clickhouses://, chdb:///" in other.stderr
    refused = command("serve", "--db", db, "--calls", "clickhouse://u:secret@127.0.0.1:9/x", "--port", "0")
    assert (refused.returncode, "can't use the ClickHouse of --calls" in refused.stderr) == (2, True)
    assert "secret" not in other.stderr + refused.stderr


def test_the_tables_are_printed_for_operators() -> None:
    """As statements that can be run."""
    printed = command("db", "schema").stdout
    assert printed.count("CREATE TABLE IF NOT EXISTS") >= 6
    assert printed.rstrip().endswith(";")
    assert "\n\nCREATE " in printed
    assert max(map(len, printed.splitlines())) < 200  # to be read by people
