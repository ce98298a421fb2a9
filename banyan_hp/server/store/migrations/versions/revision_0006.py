"""What each user's first call in an experiment measured, for guards, which act before windows are over.

The users of experiments that are not over are computed anew, in the steps that keep the sums.
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = ("latency", "input_tokens", "output_tokens", "cost", "error", "output_length")
_STALE = """
UPDATE experiment_users SET stale = {true} WHERE (project, experiment_id) IN
    (SELECT project, experiment_id FROM experiments WHERE status IN ('running', 'paused'));
INSERT INTO experiment_dirty (seq, day) SELECT NULL, NULL WHERE EXISTS (SELECT 1 FROM experiment_users);
"""


def upgrade() -> None:
    """Add the columns."""
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE experiment_users ADD COLUMN first_{name} DOUBLE PRECISION")
    true = "true" if op.get_bind().dialect.name == "postgresql" else "1"
    for statement in _STALE.format(true=true).split(";"):
        if statement.strip():
            op.execute(statement)
