"""PostgreSQL's tables that have a partition for each day: names, making, and dropping."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection

LOCK_SECONDS = 1
DAYS_BEFORE, DAYS_AHEAD = 1, 7
_MAKE_DAY = """
CREATE TABLE {own} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
WITH gone AS (DELETE FROM {name}_other WHERE day = '{day}' RETURNING *) INSERT INTO {own} SELECT * FROM gone;
ALTER TABLE {name} ATTACH PARTITION {own} FOR VALUES FROM ('{day}') TO ('{next_day}')
"""


def partition_of(name: str, day: date) -> str:
    """The name of a day's partition of a table."""
    return f"{name}_{day:%Y%m%d}"


def exists(connection: Connection, name: str) -> bool:
    """Whether there is such a table."""
    return connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar_one() is not None


def days_of(connection: Connection, table: str = "calls") -> list[date]:
    """The days that have a partition of a table."""
    names = connection.exec_driver_sql(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = CAST(%s AS regclass) AND relname <> %s ORDER BY relname",
        (table, f"{table}_other"),
    )
    return [datetime.strptime(row[0][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in names]


def make_day(connection: Connection, tables: Sequence[str], day: date) -> None:
    """A partition of each table for the day, with what has come for it already. The first one is locked.

    One process does so, the others wait.
    """
    if exists(connection, partition_of(tables[0], day)):
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    connection.exec_driver_sql(f"LOCK TABLE {tables[0]} IN SHARE ROW EXCLUSIVE MODE")
    if exists(connection, partition_of(tables[0], day)):
        return
    for name in tables:
        script = _MAKE_DAY.format(
            name=name, own=partition_of(name, day), day=day, next_day=day + timedelta(days=1)
        )
        connection.exec_driver_sql(script)


def lock_out(connection: Connection, table: str) -> None:
    """Have a table for oneself. Whoever comes later waits behind us: so those before us get little time."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
