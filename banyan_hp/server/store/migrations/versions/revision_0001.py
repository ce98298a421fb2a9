"""The first tables.

PostgreSQL keeps calls by day in partitions, so that old ones go at no cost: one for each day around now, made
ahead, and one for all other days (clocks that are wrong, late arrivals, calls without a time).
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0001"
down_revision = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CALL = """
    xact BIGINT NOT NULL {xact},
    project TEXT NOT NULL,
    day DATE NOT NULL,
    id TEXT NOT NULL,
    digest {bytes} NOT NULL,
    event_time BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    source TEXT NOT NULL,
    session TEXT,
    "user" TEXT,
    prompt_id TEXT,
    prompt_name TEXT,
    version TEXT,
    branch TEXT,
    model TEXT,
    latency_ms DOUBLE PRECISION,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cost DOUBLE PRECISION,
    error TEXT,
    experiment_id TEXT,
    experiment_version_id TEXT,
    sticky_key TEXT,
    sticky_value TEXT,
    deliveries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
"""

_EDITED = """
CREATE TABLE projects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at BIGINT NOT NULL
);
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects,
    role TEXT NOT NULL,
    sha256 {bytes} NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX keys_of_project ON keys (project, created_at, id);
CREATE TABLE prompts (
    project TEXT NOT NULL REFERENCES projects,
    prompt_id TEXT NOT NULL,
    name TEXT NOT NULL,
    branch TEXT NOT NULL,
    version TEXT,
    enable_logging BOOLEAN NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, prompt_id),
    UNIQUE (project, name, branch)
);
CREATE TABLE prompt_versions (
    project TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    version TEXT NOT NULL,
    content TEXT NOT NULL,
    config TEXT,
    change_message TEXT,
    author TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    released_at BIGINT,
    PRIMARY KEY (project, prompt_id, version),
    FOREIGN KEY (project, prompt_id) REFERENCES prompts ON DELETE CASCADE
);
CREATE TABLE prompt_labels (
    project TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    label TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (project, prompt_id, label),
    FOREIGN KEY (project, prompt_id, version) REFERENCES prompt_versions ON DELETE CASCADE
);
CREATE TABLE experiments (
    project TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    status TEXT NOT NULL,
    sticky_type TEXT NOT NULL,
    salt TEXT NOT NULL,
    allocation INTEGER NOT NULL,
    control TEXT,
    primary_metric TEXT,
    versions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, experiment_id),
    FOREIGN KEY (project, prompt_id) REFERENCES prompts ON DELETE CASCADE
);
CREATE INDEX experiments_of_prompt ON experiments (project, prompt_id);
CREATE TABLE seeded (entry TEXT PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE audit (
    seq {number},
    project TEXT NOT NULL,
    at BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_of_project ON audit (project, seq);
CREATE INDEX audit_of_subject ON audit (project, subject, seq);
"""

# Lists are newest first within a project, or within one value of a filter. The unique key begins with the id,
# so that it finds one call, too.
_INDEXES = """
CREATE INDEX calls_by_time ON calls (project, event_time, seq);
CREATE INDEX calls_by_position ON calls (project, xact, seq);
CREATE INDEX calls_of_session ON calls (project, session, event_time, seq) WHERE session IS NOT NULL;
CREATE INDEX calls_of_user ON calls (project, "user", event_time, seq) WHERE "user" IS NOT NULL;
CREATE INDEX calls_of_prompt ON calls (project, prompt_name, event_time, seq) WHERE prompt_name IS NOT NULL;
CREATE INDEX calls_of_model ON calls (project, model, event_time, seq) WHERE model IS NOT NULL;
CREATE INDEX calls_of_experiment ON calls (project, experiment_id, event_time, seq)
WHERE experiment_id IS NOT NULL;
CREATE INDEX calls_failed ON calls (project, event_time, seq) WHERE error IS NOT NULL;
"""

_SQLITE_CALLS = """
CREATE TABLE calls (seq INTEGER PRIMARY KEY AUTOINCREMENT, {call}, UNIQUE (project, id, day));
CREATE TABLE call_bodies (seq INTEGER PRIMARY KEY, day DATE NOT NULL, body TEXT NOT NULL);
CREATE TABLE calls_to_index (seq INTEGER PRIMARY KEY, day DATE NOT NULL);
CREATE VIRTUAL TABLE call_search USING fts5 (words, content = '', tokenize = 'ascii');
"""

_POSTGRES_CALLS = """
CREATE SEQUENCE calls_seq;
CREATE TABLE calls (
    seq BIGINT NOT NULL DEFAULT nextval('calls_seq'), {call},
    PRIMARY KEY (day, seq), UNIQUE (project, id, day)
) PARTITION BY RANGE (day);
CREATE TABLE call_bodies (
    seq BIGINT NOT NULL, day DATE NOT NULL, body TEXT NOT NULL, PRIMARY KEY (day, seq)
) PARTITION BY RANGE (day);
CREATE TABLE call_search (
    seq BIGINT NOT NULL, day DATE NOT NULL, words TSVECTOR NOT NULL, PRIMARY KEY (day, seq)
) PARTITION BY RANGE (day);
CREATE INDEX call_search_words ON call_search USING gin (words);
CREATE TABLE calls_to_index (seq BIGINT PRIMARY KEY, day DATE NOT NULL);
CREATE TABLE calls_other PARTITION OF calls DEFAULT;
CREATE TABLE call_bodies_other PARTITION OF call_bodies DEFAULT;
CREATE TABLE call_search_other PARTITION OF call_search DEFAULT;
"""


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "postgresql":
        call = _CALL.format(bytes="BYTEA", xact="DEFAULT (pg_current_xact_id()::text::bigint)")
        call = call.replace("TEXT", 'TEXT COLLATE "C"')  # a language's order takes several times as long
        number = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        script = _POSTGRES_CALLS.format(call=call) + _EDITED.format(bytes="BYTEA", number=number)
    else:
        call = _CALL.format(bytes="BLOB", xact="DEFAULT 0")
        number = "INTEGER PRIMARY KEY AUTOINCREMENT"
        script = _SQLITE_CALLS.format(call=call) + _EDITED.format(bytes="BLOB", number=number)
    for statement in (script + _INDEXES).split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
