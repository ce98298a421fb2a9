"""Browsers that log in to the pages."""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = """
CREATE TABLE browser_sessions (
    sha256 {bytes} PRIMARY KEY,
    key_sha256 {bytes} NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    name TEXT
);
CREATE TABLE login_links (
    sha256 {bytes} PRIMARY KEY,
    key_sha256 {bytes} NOT NULL,
    expires_at BIGINT NOT NULL
);
"""


def upgrade() -> None:
    """Make the tables."""
    kind = "BYTEA" if op.get_bind().dialect.name == "postgresql" else "BLOB"
    for statement in _TABLES.format(bytes=kind).split(";"):
        if statement.strip():
            op.execute(statement)
