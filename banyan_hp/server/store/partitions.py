"""PostgreSQL's tables that have a partition for each day: their names, and having one for oneself."""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import Connection

LOCK_SECONDS = 1  # others wait behind us for as long


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


def lock_out(connection: Connection, table: str) -> None:
    """Have a table for oneself. Whoever comes later waits behind us: so those before us get little time."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
