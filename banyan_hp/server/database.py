"""The one SQLite connection: opening, schema, transactions, and the errors of opening.

No table's meaning is here; `records.py`, `prompts.py` and `experiments.py` own those.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from .starting import StartError
from .validation import text_in

BUSY_SECONDS = 1.0  # the event loop waits with it; a client that got a 503 comes again

# Each step takes a database from the schema version that is its index to the next one.
# A step that databases have taken is never changed; what changes the schema is a further step.
# To the steps, text_in(body, name) is a field of a stored body, or NULL where it is no text.
STEPS = (
    """
CREATE TABLE logs (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    event_time  TEXT,
    received_at TEXT NOT NULL,
    deliveries  INTEGER NOT NULL DEFAULT 1,
    project     TEXT,
    body        TEXT NOT NULL
);
CREATE TABLE projects (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL
);
CREATE TABLE prompts (
    prompt_id      TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    branch         TEXT NOT NULL,
    project        TEXT NOT NULL,  -- '' for none: NULLs would not collide in the UNIQUE below
    version        TEXT NOT NULL,
    enable_logging INTEGER NOT NULL,
    metadata       TEXT NOT NULL,
    UNIQUE (name, branch, project)
);
CREATE TABLE prompt_versions (
    prompt_id      TEXT NOT NULL REFERENCES prompts ON DELETE CASCADE,
    version        TEXT NOT NULL,
    content        TEXT NOT NULL,
    change_message TEXT,
    created_at     TEXT NOT NULL,
    PRIMARY KEY (prompt_id, version)
);
CREATE TABLE experiments (
    experiment_id TEXT PRIMARY KEY,
    prompt_id     TEXT NOT NULL REFERENCES prompts ON DELETE CASCADE,
    status        TEXT NOT NULL,
    sticky_type   TEXT NOT NULL
);
CREATE INDEX experiments_of_prompt ON experiments (prompt_id);
CREATE TABLE experiment_versions (
    experiment_id         TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    position              INTEGER NOT NULL,
    experiment_version_id TEXT NOT NULL,
    version               TEXT NOT NULL,
    content               TEXT NOT NULL,
    traffic_percentage    REAL NOT NULL,
    PRIMARY KEY (experiment_id, experiment_version_id)
);
CREATE TABLE seeded (
    entry  TEXT PRIMARY KEY,
    digest TEXT NOT NULL
);
""",
    """
CREATE TABLE interactions (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    event_time  TEXT,
    received_at TEXT NOT NULL,
    deliveries  INTEGER NOT NULL DEFAULT 1,
    session_id  TEXT,
    body        TEXT NOT NULL
);
CREATE INDEX interactions_of_session ON interactions (session_id);
""",
    """
ALTER TABLE logs ADD COLUMN experiment_id TEXT;
ALTER TABLE logs ADD COLUMN experiment_version_id TEXT;
UPDATE logs SET experiment_id = text_in(body, 'experiment_id'),
                experiment_version_id = text_in(body, 'experiment_version_id');
CREATE INDEX logs_of_experiment ON logs (experiment_id, experiment_version_id)
WHERE experiment_id IS NOT NULL;

ALTER TABLE experiments ADD COLUMN salt TEXT NOT NULL DEFAULT '';
UPDATE experiments SET salt = experiment_id;
-- Any word was taken for a status; what was not running routed nobody.
UPDATE experiments SET status = 'finished'
WHERE status NOT IN ('draft', 'scheduled', 'running', 'paused', 'finished');

CREATE TABLE variants (
    experiment_id         TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    position              INTEGER NOT NULL,
    experiment_version_id TEXT NOT NULL,
    version               TEXT NOT NULL,
    content               TEXT,  -- NULL: that of the prompt's stored version
    traffic_percentage    REAL NOT NULL,
    PRIMARY KEY (experiment_id, experiment_version_id)
);
INSERT INTO variants
SELECT experiment_id, position, experiment_version_id, version, content, traffic_percentage
FROM experiment_versions;
DROP TABLE experiment_versions;
ALTER TABLE variants RENAME TO experiment_versions;
""",
    """
-- Experiments that run keep their rule, and so their users.
ALTER TABLE experiments ADD COLUMN allocation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE experiment_versions ADD COLUMN slots TEXT NOT NULL DEFAULT '[]';  -- ranges, with allocation 2
""",
)
SCHEMA_VERSION = len(STEPS)


class Database:
    """One long-lived connection, used from the one thread that opened it (the event loop's).

    SQLite allows one writer at a time; a single thread is the cheapest lock there is.
    """

    def __init__(self, path: Path) -> None:
        """Open or create `path`; `StartError` when that can't be done."""
        self.path = path.absolute()
        try:
            self._connection = _open(self.path)
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"can't use the database {self.path}: {_reason(error)}") from error

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r})"

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement, in the open transaction or in one of its own."""
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each of `rows`."""
        self._connection.executemany(sql, rows)

    def one(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        row: sqlite3.Row | None = self.execute(sql, values).fetchone()
        return row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's changes, or none of them. One inside another is part of the outer one."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.commit()  # in here: a transaction left open would swallow all that come after
        except BaseException:
            self._connection.rollback()
            raise

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    # Prompts and answers are personal data: the file is its owner's alone, and SQLite gives
    # the write-ahead log beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    _create(connection)
    # WAL with NORMAL survives the end of the process at any point; a power cut may take the last commits.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(connection: sqlite3.Connection) -> None:
    version = _pragma(connection, "user_version")
    if version == SCHEMA_VERSION:
        return
    if not 0 <= version < SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"it has schema version {version}, this program writes {SCHEMA_VERSION}")
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
        raise sqlite3.DatabaseError("it holds the tables of another program")
    steps = "".join(STEPS[version:])
    connection.create_function("text_in", 2, _text_in)
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _text_in(body: str, name: str) -> str | None:
    try:
        return text_in(json.loads(body), name)
    except ValueError:  # a damaged row must not keep the others from being read
        return None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    with closing(connection.execute(f"PRAGMA {name}")) as cursor:
        return int(cursor.fetchone()[0])


def _reason(error: OSError | sqlite3.Error) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
