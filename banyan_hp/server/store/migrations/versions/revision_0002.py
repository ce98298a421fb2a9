"""Scores, and what experiments amount to for each user.

In PostgreSQL scores and the users whom they lead to are kept by day, as calls are, so that they go with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SCORE = """
    day DATE NOT NULL,
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    number DOUBLE PRECISION,
    text TEXT,
    record_id TEXT,
    session TEXT,
    sticky_key TEXT,
    sticky_value TEXT,
    experiment_id TEXT,
    experiment_version_id TEXT,
    rater TEXT,
    comment TEXT
"""

_OWNER = """
    seq BIGINT NOT NULL,
    day DATE NOT NULL,
    project TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    sticky_value TEXT
"""

# What a person did is found by the person, what an experiment amounts to by the experiment.
_SUMS = """
CREATE TABLE experiment_dirty (mark {number}, seq BIGINT, day DATE);
CREATE INDEX experiment_dirty_removed ON experiment_dirty (mark) WHERE seq IS NULL;
CREATE TABLE experiment_users (
    project TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    sticky_value TEXT NOT NULL,
    version TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    mixed BOOLEAN NOT NULL,
    stale BOOLEAN NOT NULL,
    calls BIGINT NOT NULL,
    latency DOUBLE PRECISION NOT NULL,
    latency_of BIGINT NOT NULL,
    latency_p50 DOUBLE PRECISION,
    input_tokens DOUBLE PRECISION NOT NULL,
    input_tokens_of BIGINT NOT NULL,
    output_tokens DOUBLE PRECISION NOT NULL,
    output_tokens_of BIGINT NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    cost_of BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    output_length DOUBLE PRECISION NOT NULL,
    output_length_of BIGINT NOT NULL,
    PRIMARY KEY (project, experiment_id, sticky_value)
) {clustered};
CREATE INDEX experiment_users_of_sticky ON experiment_users (project, sticky_value, experiment_id);
CREATE INDEX experiment_users_stale ON experiment_users (project, experiment_id, sticky_value) WHERE {stale};
CREATE TABLE experiment_values (
    project TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    category TEXT NOT NULL,
    sticky_value TEXT NOT NULL,
    version TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    y DOUBLE PRECISION NOT NULL,
    x DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (project, experiment_id, name, kind, category, sticky_value)
) {clustered};
CREATE INDEX experiment_values_of_user ON experiment_values (project, experiment_id, sticky_value);
ALTER TABLE experiments ADD COLUMN analysis TEXT NOT NULL DEFAULT '{{}}';
ALTER TABLE experiments ADD COLUMN removed_until BIGINT;
ALTER TABLE calls ADD COLUMN output_length INTEGER;
"""

_INDEXES = """
CREATE INDEX calls_of_sticky ON calls (project, experiment_id, sticky_value, event_time)
WHERE sticky_value IS NOT NULL;
CREATE INDEX scores_by_time ON scores (project, at, seq);
CREATE INDEX scores_of_record ON scores (project, record_id, at) WHERE record_id IS NOT NULL;
CREATE INDEX scores_of_session ON scores (project, session, at) WHERE session IS NOT NULL;
CREATE INDEX scores_of_sticky ON scores (project, sticky_value, at) WHERE sticky_value IS NOT NULL;
CREATE INDEX score_owners_of_user ON score_owners (project, experiment_id, sticky_value)
"""

_SQLITE = f"""
CREATE TABLE scores (seq INTEGER PRIMARY KEY, {_SCORE});
CREATE TABLE score_owners ({_OWNER}, PRIMARY KEY (seq, experiment_id)) WITHOUT ROWID;
"""

_POSTGRES = f"""
CREATE TABLE scores (seq BIGINT NOT NULL, {_SCORE}, PRIMARY KEY (day, seq)) PARTITION BY RANGE (day);
CREATE TABLE score_owners ({_OWNER}, PRIMARY KEY (day, seq, experiment_id)) PARTITION BY RANGE (day);
CREATE TABLE scores_other PARTITION OF scores DEFAULT;
CREATE TABLE score_owners_other PARTITION OF score_owners DEFAULT;
"""


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "postgresql":
        number = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        script = _POSTGRES + _SUMS.format(number=number, clustered="", stale="stale")
        # A language's order takes several times as long.
        script = script.replace("TEXT", 'TEXT COLLATE "C"')
    else:
        number = "INTEGER PRIMARY KEY AUTOINCREMENT"
        script = _SQLITE + _SUMS.format(number=number, clustered="WITHOUT ROWID", stale="stale = 1")
    for statement in [*(script + _INDEXES).split(";\n"), *_days()]:
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def _days() -> Iterator[str]:
    """PostgreSQL: a partition for each day that calls have one for; they are made and dropped together."""
    if op.get_bind().dialect.name != "postgresql":
        return
    names = op.get_bind().exec_driver_sql(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'calls'::regclass AND relname <> 'calls_other'"
    )
    for (name,) in names.all():
        day = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()
        bounds = f"FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        for table in ("scores", "score_owners"):
            yield f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} FOR VALUES {bounds}"
