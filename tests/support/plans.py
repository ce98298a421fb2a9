"""How a database goes about the statements of a store: plans that read a whole table are found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from banyan_hp.server.store.database import Database
from tests.support.postgres import Postgres

ROWS = 1_000_000
MOST_READ = 20_000  # rows, for a page or a step, out of the many
_SUMS = ("scores", "score_owners", "experiment_users", "experiment_values")
LARGE = ("calls", "call_bodies", "call_search", "audit", "spans", "span_bodies", "span_events", *_SUMS)
_OF_FEW = ("experiment_users_stale",)  # indexes that may be read from end to end
# Different values among the million.
_DIFFERENT = {
    "project": 2,
    "day": 30,
    "session": 50_000,
    "user": 20_000,
    "prompt_name": 20,
    "model": 5,
    "experiment_id": 3,
    "record_id": 500_000,
    "sticky_value": 100_000,
    "name": 5,
    "kind": 2,
    "category": 5,
    "xact": 1,
    "subject": 1000,
}
_SHARE = {
    "calls_failed": 0.005,
    "calls_of_experiment": 0.1,
    "calls_of_sticky": 0.1,
    "experiment_users_stale": 0.001,
}


Statement = tuple[str, Any]


@contextmanager
def statements_of(database: Database) -> Iterator[list[Statement]]:
    """What is sent to the database while the block runs."""
    seen: list[Statement] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, many: bool) -> None:
        seen.append((statement, parameters[0] if many and isinstance(parameters, list) else parameters))

    engines = [engine_of(database), database.write(lambda connection: connection.engine)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def engine_of(database: Database) -> Engine:
    with database.read() as connection:
        return connection.engine


def flaws(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """What is wrong with the plan of a statement; nothing for what has no plan."""
    if statement.lstrip().partition(" ")[0] not in ("SELECT", "UPDATE", "DELETE", "WITH"):
        return []
    if connection.dialect.name == "postgresql":
        return _postgres_flaws(connection, statement, parameters)
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return [row[3] for row in rows if _is_scan(row[3])]


def _is_scan(step: str) -> bool:
    words = step.split()
    virtual = "VIRTUAL TABLE INDEX" in step and not step.endswith("INDEX 0:")
    return words[0] == "SCAN" and words[1] in LARGE and not virtual and words[-1] not in _OF_FEW


def _postgres_flaws(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """By its plan, and for a SELECT by the rows that it reads."""
    reads = statement.lstrip().startswith("SELECT")
    how = "EXPLAIN (FORMAT JSON, ANALYZE)" if reads else "EXPLAIN (FORMAT JSON)"
    (plan,) = connection.exec_driver_sql(f"{how} {statement}", parameters).scalar_one()
    nodes = list(_nodes(plan["Plan"]))
    return [each for node in nodes for each in _node_flaws(node)]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _node_flaws(node: dict[str, Any]) -> Iterator[str]:
    table = node.get("Relation Name", "")
    large = any(table.startswith(f"{name}_2026") or table == name for name in LARGE)
    loops = node.get("Actual Loops", 1)
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    read = (node.get("Actual Rows", 0) + removed) * loops
    kind = node["Node Type"]
    whole = kind.endswith("Scan") and "Bitmap" not in kind and node.get("Index Name") not in _OF_FEW
    if large and loops and whole and "Index Cond" not in node and "TID Cond" not in node:
        yield f"{kind} of {table}"
    if large and read > MOST_READ:
        yield f"{kind} reads {read} rows of {table}"


# -- a million rows ------------------------------------------------------------------------------------------


def pretend(path: Path) -> None:
    """Have a SQLite file's statistics say that there are a million calls."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ANALYZE")
        connection.execute("DELETE FROM sqlite_stat1")
        indexes = connection.execute(
            "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"
        ).fetchall()
        for name, table in indexes:
            columns = [row[2] for row in connection.execute(f"PRAGMA index_info({name})")]
            many = ROWS if table in ("calls", "audit", *_SUMS) else 1000
            counts = _counts(columns, int(many * _SHARE.get(name, 1)))
            connection.execute("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table, name, counts))
        connection.execute("ANALYZE sqlite_schema")
        connection.execute(_COMMON)


_COMMON = """
INSERT INTO call_search (rowid, words)
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) SELECT n, 'common' FROM n
"""


def _counts(columns: list[str], rows: int) -> str:
    different, counts = 1, [str(rows)]
    for column in columns:
        different = min(rows, different * _DIFFERENT.get(column, rows))
        counts.append(str(max(1, rows // different)))
    return " ".join(counts)


_GENERATED = 200_000  # narrow ones: PostgreSQL looks at the size of its files, so they have to be there
_CALLS = f"""
CREATE TABLE calls_20260301 (LIKE calls INCLUDING DEFAULTS);
INSERT INTO calls_20260301 (seq, xact, project, day, id, digest, event_time, received_at, source, session,
"user", prompt_name, version, branch, model, latency_ms, error, experiment_id, experiment_version_id,
sticky_value, deliveries, bytes)
SELECT n, n / 100, 'p', '2026-03-01', 'id-' || n, '', 1772323200000000 + n::bigint * 100000,
1772323200000000 + n::bigint * 100000, 'banyan', 's' || n % 20000, 'u' || n % 5000, 'n' || n % 20, '1',
'main', 'm' || n % 5, n % 1000, CASE WHEN n % 200 = 0 THEN 'e' END, CASE WHEN n % 10 = 0 THEN 'x' END,
CASE WHEN n % 10 = 0 THEN 'a' END, CASE WHEN n % 10 = 0 THEN 'u' || n % 5000 END, 1, 100
FROM generate_series(1, {_GENERATED}) n;
ALTER TABLE calls ATTACH PARTITION calls_20260301
FOR VALUES FROM ('2026-03-01') TO ('2026-03-02');
CREATE TABLE call_search_20260301 (LIKE call_search);
INSERT INTO call_search_20260301
SELECT n, '2026-03-01', CASE WHEN n % 5000 = 0 THEN
'''common'':1 ''rare'':2'::tsvector ELSE '''common'':1 ''other'':2' END
FROM generate_series(1, {_GENERATED}) n;
ALTER TABLE call_search ATTACH PARTITION call_search_20260301
FOR VALUES FROM ('2026-03-01') TO ('2026-03-02');
CREATE TABLE call_bodies_20260301 (LIKE call_bodies);
INSERT INTO call_bodies_20260301 SELECT n, '2026-03-01', '{{"input":"common"}}'
FROM generate_series(1, {_GENERATED}) n;
ALTER TABLE call_bodies ATTACH PARTITION call_bodies_20260301
FOR VALUES FROM ('2026-03-01') TO ('2026-03-02');
CREATE TABLE scores_20260301 (LIKE scores INCLUDING DEFAULTS);
INSERT INTO scores_20260301 (seq, day, project, id, at, name, kind, number, record_id, session, sticky_value)
SELECT n, '2026-03-01', 'p', 'score-' || n, 1772323200000000 + n::bigint * 100000, 'thumbs', 'bool', n % 2,
CASE WHEN n % 3 = 0 THEN 'id-' || n END, CASE WHEN n % 3 = 1 THEN 's' || n % 20000 END,
CASE WHEN n % 3 = 2 THEN 'u' || n % 5000 END FROM generate_series(1, {_GENERATED}) n;
ALTER TABLE scores ATTACH PARTITION scores_20260301 FOR VALUES FROM ('2026-03-01') TO ('2026-03-02');
CREATE TABLE score_owners_20260301 (LIKE score_owners INCLUDING DEFAULTS);
INSERT INTO score_owners_20260301
SELECT n, '2026-03-01', 'p', 'x', CASE WHEN n % 10 > 0 THEN 'u' || n % 5000 END
FROM generate_series(1, {_GENERATED}) n WHERE n % 3 < 2;
ALTER TABLE score_owners ATTACH PARTITION score_owners_20260301
FOR VALUES FROM ('2026-03-01') TO ('2026-03-02');
INSERT INTO experiment_users
SELECT 'p', CASE WHEN n % 20 = 0 THEN 'x' ELSE 'e' || n % 20 END, 'u' || n, 'a', 0, 0, false, false,
1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, {_GENERATED // 4}) n;
INSERT INTO experiment_values
SELECT 'p', CASE WHEN n % 20 = 0 THEN 'x' ELSE 'e' || n % 20 END, 'thumbs', 'bool', '', 'u' || n, 'a',
0, 0, 1, 1 FROM generate_series(1, {_GENERATED // 4}) n;
SELECT setval('calls_seq', {_GENERATED});
INSERT INTO audit (project, at, key_id, action, subject, detail)
SELECT CASE WHEN n % 20 = 7 THEN 'p' ELSE 'q' END, 0, '', '',
'prompt:' || n % 1000, '{{}}' FROM generate_series(1, {_GENERATED // 4}) n;
ANALYZE
"""


def fill(postgres: Postgres, url: str) -> None:
    """Generate calls in a database of PostgreSQL."""
    name = url.partition("?")[0].rpartition("/")[2]
    for statement in _CALLS.split(";\n"):
        postgres.execute(statement, name)
