"""Calls by the million, made by the database itself: what is measured over them is reading."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg

DAYS = 60
LONG_SESSION = "long"
LONG_EVERY = 50  # calls: one of so many is in the long session
FIRST_SEQ = 1_000_000_000
_BODY = (
    '{"input": "What is a banyan?", "output": "A fig that grows its own pillars.", "metadata": {"tag": "x"}}'
)
_VALUES = {
    "seq": f"{FIRST_SEQ} + n",
    "xact": "0",
    "project": "'default'",
    "day": "{day}",
    "id": "'id-' || n",
    "digest": "{blob}",
    "event_time": "{time}",
    "received_at": "{time}",
    "source": "'banyan'",
    "session": f"CASE WHEN n % {LONG_EVERY} = 0 THEN '{LONG_SESSION}' ELSE 's' || (n / 8) END",
    '"user"': "'u' || (n / 8 % 20000)",
    "prompt_name": "'prompt ' || (n % 20)",
    "version": "'1.' || (n % 3)",
    "branch": "'main'",
    "model": "'model ' || (n % 5)",
    "latency_ms": "200 + (n * 7919) % 3000",
    "input_tokens": "500",
    "output_tokens": "100",
    "cost": "0.001",
    "error": "CASE WHEN n % 100 = 0 THEN 'e' END",
    "deliveries": "1",
    "bytes": str(len(_BODY)),
}


def generate(url: str, many: int) -> None:
    """Add so many calls to the project ``default``, spread over `DAYS` days up to now."""
    first = datetime.now(UTC) - timedelta(days=DAYS)
    moment = f"({int(first.timestamp() * 1e6)} + n * {DAYS * 86_400_000_000 // many})"
    if "://" in url:
        day = f"(to_timestamp({moment} / 1000000) AT TIME ZONE 'UTC')::date"
        numbers = f"generate_series(1::bigint, {many}) n"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _inserts(day, "''", moment, numbers):
                connection.execute(statement.encode())
            connection.execute("ANALYZE")
        return
    day = f"date({moment} / 1000000, 'unixepoch')"
    numbers = (
        f"(WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {many}) SELECT n FROM g)"
    )
    with closing(sqlite3.connect(url, timeout=60)) as connection:
        for statement in _inserts(day, "x''", moment, numbers):
            connection.execute(statement)
        connection.commit()


def _inserts(day: str, blob: str, time: str, numbers: str) -> Iterator[str]:
    columns = ", ".join(_VALUES)
    values = ", ".join(_VALUES.values()).format(day=day, blob=blob, time=time)
    yield f"INSERT INTO calls ({columns}) SELECT {values} FROM {numbers}"
    yield (
        f"INSERT INTO call_bodies (seq, day, body) SELECT {FIRST_SEQ} + n, {day}, '{_BODY}' FROM {numbers}"
    )
