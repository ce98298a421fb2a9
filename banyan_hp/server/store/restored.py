"""Calls that a dump brought from another PostgreSQL cluster: their positions are that one's transactions.

`tail` shows a call once no older transaction can commit one any more. A number that this cluster has not
reached yet would keep it hidden, and behind all that comes in until then. Within a cluster nobody sees a
number that is to come, so those are the restored ones; they move to the beginning.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from .database import Database

logger = logging.getLogger(__name__)

STEP = 5_000  # calls of one transaction
_TO_COME = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_PROJECTS = f"""
WITH RECURSIVE known AS (
    SELECT min(project) AS project FROM calls
    UNION ALL
    SELECT (SELECT min(project) FROM calls WHERE project > known.project) FROM known WHERE project IS NOT NULL
)
SELECT project FROM known
WHERE (SELECT max(xact) FROM calls WHERE calls.project = known.project) >= {_TO_COME}
"""  # noqa: S608
_MEND = f"""
UPDATE calls SET xact = 0 FROM (
    SELECT day, seq FROM calls WHERE project = %s AND xact >= {_TO_COME} LIMIT {STEP} FOR UPDATE SKIP LOCKED
) AS found WHERE calls.day = found.day AND calls.seq = found.seq
"""  # noqa: S608


def mend_positions(database: Database) -> None:
    """Have `tail` show them. Any number of processes may do so at once, and while calls come in."""
    with database.read() as connection:
        projects = list(connection.exec_driver_sql(_PROJECTS).scalars())
    total = 0
    for project in projects:
        while mended := database.write(lambda connection, project=project: _mend(connection, project)):  # type: ignore[misc]
            total += mended
    if total:
        logger.warning("%d calls come from another PostgreSQL cluster: `tail` now shows them first", total)


def _mend(connection: Connection, project: str) -> int:
    return connection.exec_driver_sql(_MEND, (project,)).rowcount
