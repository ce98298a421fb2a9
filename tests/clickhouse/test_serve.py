"""`banyan-hp serve --calls`: from the clients to ClickHouse and back, and killed in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp import PromptStackLogger
from banyan_hp.server.serving import ServeSettings
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


def sent(backend: Backend, number: int) -> bool:
    """Whether the backend has taken a trace of two spans, one around a call."""
    spans = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": span,
            "parentSpanId": parent,
            "name": "chat",
            "startTimeUnixNano": f"{1_780_000_000 + number}000000000",
            "endTimeUnixNano": f"{1_780_000_001 + number}000000000",
            "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in told.items()],
        }
        for span, parent, told in (
            ("b" * 16, "a" * 16, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}),
            ("a" * 16, "", {"session.id": "s-1"}),
        )
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    headers = {"X-API-Key": backend.api_key}
    try:
        answer = requests.post(f"{backend.url}/v1/traces", json=body, headers=headers, timeout=SECONDS)
    except requests.RequestException:
        return False
    return answer.status_code == 200


def test_every_answered_span_survives_a_kill(backend: Backend) -> None:
    """Killed while it takes spans and makes calls of them: each call is there once, the answered ones too."""
    ended = threading.Timer(1.0, backend.kill)
    ended.start()
    answered = 0
    while sent(backend, answered):
        answered += 1
    ended.join()
    backend.start()
    assert sent(backend, answered), "what had no response is sent again"
    expected = sorted(f"{number + 1:032x}-{'b' * 16}" for number in range(answered + 1))
    until = time.monotonic() + SECONDS
    while (found := sorted(ids_in(backend))) != expected and time.monotonic() < until:
        time.sleep(0.1)
    assert found == expected
    with sqlite3.connect(backend.db) as database:
        for table in ("spans", "span_bodies", "spans_to_derive"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


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
    assert printed.startswith("-- migration 1: calls\n")
    assert command("db", "schema", "--from", "2").stdout.startswith("-- migration 2: spans\n")


def test_the_tables_of_a_cluster_are_printed_with_how_long_they_keep_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the option says which cluster or the environment."""
    printed = command("db", "schema", "--clickhouse-cluster", "banyan", "--retain", "30d").stdout
    assert "CREATE TABLE IF NOT EXISTS calls_local ON CLUSTER 'banyan' (" in printed
    assert "ALTER TABLE calls_local ON CLUSTER 'banyan' MODIFY TTL " in printed
    monkeypatch.setenv("BANYAN_HP_CLICKHOUSE_CLUSTER", "banyan")
    assert command("db", "schema", "--retain", "30d").stdout == printed
    monkeypatch.setenv("BANYAN_HP_CLICKHOUSE_CLUSTER", "it's")
    assert "BANYAN_HP_CLICKHOUSE_CLUSTER must be the name of a cluster" in command("db", "schema").stderr


def test_the_option_says_how_long_a_clickhouse_keeps_calls(tmp_path: Path) -> None:
    """Not with an archive, which is to have them before they are removed."""
    directory = tmp_path / "clickhouse"
    options = ["--calls", f"chdb://{directory}", "--retain", "30d"]
    with Backend(options=options, fresh=True):
        pass
    asked = (
        "import sys; from banyan_hp.server.store.clickhouse import ages, client; "
        "print(ages.kept_for(client.ClickHouse(sys.argv[1])))"
    )
    given = [sys.executable, "-c", asked, f"chdb://{directory}"]
    found = subprocess.run(given, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "30 days, 0:00:00\n"
    settings = ServeSettings("127.0.0.1", 0, "x", retain=timedelta(days=30), archive=tmp_path)
    assert settings.expires_after is None
