"""Spans of other senders, log events that join them, and what of them is still to be made into calls.

PostgreSQL keeps them by the day on which they began, in partitions as calls are; whoever makes those of calls
makes theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SPAN = """
    project TEXT NOT NULL,
    day DATE NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scope TEXT NOT NULL,
    start_time BIGINT NOT NULL,
    end_time BIGINT NOT NULL,
    counted_at BIGINT,
    received_at BIGINT NOT NULL,
    status INTEGER NOT NULL,
    model TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    response_id TEXT,
    session TEXT,
    "user" TEXT,
    call_id TEXT,
    digest {bytes} NOT NULL,
    bytes INTEGER NOT NULL
"""
_EVENT = """
    project TEXT NOT NULL,
    day DATE NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    name TEXT NOT NULL,
    time BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    digest {bytes} NOT NULL,
    body TEXT NOT NULL
"""
_INDEXES = """
CREATE INDEX spans_counted ON spans (project, counted_at, scope) WHERE counted_at IS NOT NULL;
CREATE INDEX spans_of_session ON spans (project, session) WHERE session IS NOT NULL;
CREATE INDEX spans_of_user ON spans (project, "user") WHERE "user" IS NOT NULL;
CREATE INDEX spans_of_call ON spans (project, call_id) WHERE call_id IS NOT NULL;
CREATE INDEX spans_by_time ON spans (project, start_time, seq);
CREATE INDEX span_events_by_time ON span_events (time);
"""
_SQLITE = """
CREATE TABLE spans (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, {span}, UNIQUE (project, trace_id, span_id, day)
);
CREATE TABLE span_bodies (seq INTEGER PRIMARY KEY, day DATE NOT NULL, body TEXT NOT NULL);
CREATE TABLE span_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, {event}, UNIQUE (project, trace_id, span_id, digest, day)
);
CREATE TABLE spans_to_derive (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, trace_id TEXT NOT NULL
);
"""
_POSTGRES = """
CREATE SEQUENCE spans_seq;
CREATE TABLE spans (
    seq BIGINT NOT NULL DEFAULT nextval('spans_seq'), {span},
    PRIMARY KEY (day, seq), UNIQUE (project, trace_id, span_id, day)
) PARTITION BY RANGE (day);
CREATE TABLE span_bodies (
    seq BIGINT NOT NULL, day DATE NOT NULL, body TEXT NOT NULL, PRIMARY KEY (day, seq)
) PARTITION BY RANGE (day);
CREATE TABLE span_events (
    seq BIGINT NOT NULL DEFAULT nextval('spans_seq'), {event},
    PRIMARY KEY (day, seq), UNIQUE (project, trace_id, span_id, digest, day)
) PARTITION BY RANGE (day);
CREATE TABLE spans_to_derive (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project TEXT NOT NULL, trace_id TEXT NOT NULL
);
CREATE TABLE spans_other PARTITION OF spans DEFAULT;
CREATE TABLE span_bodies_other PARTITION OF span_bodies DEFAULT;
CREATE TABLE span_events_other PARTITION OF span_events DEFAULT;
"""
_TO_DERIVE = "CREATE INDEX spans_to_derive_of_trace ON spans_to_derive (project, trace_id);\n"


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "postgresql":
        script, binary = _POSTGRES, "BYTEA"
    else:
        script, binary = _SQLITE, "BLOB"
    span, event = _SPAN.format(bytes=binary), _EVENT.format(bytes=binary)
    script = script.format(span=span, event=event)
    if binary == "BYTEA":
        script = script.replace("TEXT", 'TEXT COLLATE "C"')  # a language's order takes several times as long
    for statement in (script + _INDEXES + _TO_DERIVE).split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
