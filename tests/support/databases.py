"""Fresh databases for the backend, quickly: SQLite's are copies of one, PostgreSQL's are used again.

Making the tables takes longer than most tests of them, and each database of PostgreSQL is hundreds of files.
These have their tables; one without any is `Postgres.new_database`, or a path where nothing is.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.support.postgres import Postgres

if TYPE_CHECKING:  # not every environment that runs tests has them
    import psycopg

_GONE_SECONDS = 5.0
_LOCK_SECONDS = 2
# What a release makes: a database that has become another is not used again.
_SHAPE = """
SELECT (SELECT string_agg(concat(relname, relkind), ',' ORDER BY relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace),
       (SELECT string_agg(conname, ',' ORDER BY conname, conrelid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace),
       (SELECT string_agg(version_num, ',') FROM alembic_version)
"""
_EMPTY = """
DO $$
DECLARE
    each text;
BEGIN
    FOR each IN SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
            AND pg_relation_size(oid) > 0
    LOOP
        EXECUTE 'DELETE FROM ' || each;
    END LOOP;
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
END $$
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class FreshDatabases(Protocol):
    """Fresh databases of one kind."""

    def __call__(self) -> str:
        """The URL, or the path, of one more, whose tables are made and empty."""
        ...

    def give_back(self, url: str) -> None:
        """It is not needed any more."""
        ...


@cache
def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory(prefix="banyan-hp-database-") as directory:
        path = Path(directory, "backend.sqlite3")
        _make_tables(str(path))
        return path.read_bytes()


def _make_tables(url: str) -> None:
    from banyan_hp.server.store.database import Database

    Database(url).close()


def fresh_sqlite(path: Path) -> str:
    """A fresh SQLite file; returns its path."""
    path.touch(0o600)
    path.write_bytes(_sqlite())
    return str(path)


class SqliteDatabases:
    """SQLite files, each in a directory of its own below this one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        where = self._directory / str(self._made)
        where.mkdir()
        return fresh_sqlite(where / "backend.sqlite3")

    def give_back(self, url: str) -> None:
        """Remove it."""
        shutil.rmtree(Path(url).parent)


class PostgresDatabases:
    """Databases of a PostgreSQL that are used by one test after the other."""

    def __init__(self, running: Postgres) -> None:
        self._running = running
        self._template = running.new_database()
        _make_tables(self._template)
        self._shape = self._shape_of(self._template)
        self._given: set[str] = set()
        self._free: list[str] = []

    def __call__(self) -> str:
        url = self._free.pop() if self._free else self._running.new_database(self._template)
        self._given.add(url)
        return url

    def give_back(self, url: str) -> None:
        """Empty it, once nobody is connected, for the next one who asks."""
        import psycopg

        self._given.remove(url)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                usable = _is_left(connection) and _empty(connection) == self._shape
        except psycopg.Error:
            usable = False
        if usable:
            self._free.append(url)

    def give_back_all(self) -> None:
        """Those that are not given back yet."""
        for url in list(self._given):
            self.give_back(url)

    def _shape_of(self, url: str) -> object:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(_SHAPE).fetchone()


def _is_left(connection: psycopg.Connection) -> bool:
    """Whether all others have left it; a process that has just ended may need a moment."""
    until = time.monotonic() + _GONE_SECONDS
    while True:
        found = connection.execute(_OTHERS).fetchone()
        if found == (0,):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.005)


def _empty(connection: psycopg.Connection) -> object:
    """Empty all tables; returns which there are."""
    connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
    connection.execute("SET session_replication_role = replica")  # rows may refer to others
    connection.execute(_EMPTY)
    return connection.execute(_SHAPE).fetchone()
