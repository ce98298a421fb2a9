"""Sums of calls by hour and day. They are made behind intake, of the calls that are there, too."""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEY = """
    project {text} NOT NULL,
    kind INTEGER NOT NULL,
    span INTEGER NOT NULL,
    start BIGINT NOT NULL,
    name {text} NOT NULL,
"""

_TABLES = """
CREATE TABLE call_sums ({key}
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    priced BIGINT NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (project, kind, span, start, name)
){options};
CREATE TABLE call_latencies ({key}
    bucket INTEGER NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (project, kind, span, start, name, bucket)
){options};
CREATE TABLE calls_to_count (seq {number} PRIMARY KEY, day DATE NOT NULL);
CREATE TABLE days_to_recount (day DATE PRIMARY KEY);
INSERT INTO days_to_recount (day) SELECT {all_days} WHERE EXISTS (SELECT 1 FROM calls);
"""


def upgrade() -> None:
    """Make the tables."""
    if op.get_bind().dialect.name == "postgresql":
        text, number, options, all_days = 'TEXT COLLATE "C"', "BIGINT", "", "DATE '0001-01-01'"
    else:
        text, number, options, all_days = "TEXT", "INTEGER", " WITHOUT ROWID", "'0001-01-01'"
    key = _KEY.format(text=text)
    script = _TABLES.format(key=key, number=number, options=options, all_days=all_days)
    for statement in script.split(";"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
