"""Writing many rows of a table at once, past what SQLAlchemy and the drivers take for each value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

_POSTGRES: Any = postgresql.dialect  # SQLAlchemy leaves it untyped


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    columns = [column for column in table.columns if column.name in rows[0]]
    names = ", ".join(json.dumps(column.name) for column in columns)
    if connection.dialect.name == "postgresql":
        # One parameter a column: with one for each value psycopg takes longer than PostgreSQL.
        arrays = ", ".join(f"%s::{column.type.compile(_POSTGRES())}[]" for column in columns)
        values = tuple([row[column.name] for row in rows] for column in columns)
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})",  # noqa: S608
            values,
        )
        return
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608
    connection.exec_driver_sql(statement, [tuple(_plain(row[each.name]) for each in columns) for row in rows])


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
