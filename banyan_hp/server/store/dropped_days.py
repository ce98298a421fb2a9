"""What the sums of experiments have to be told before PostgreSQL drops a day of calls: see `marks`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection

from .calls import microseconds
from .marks import exclude, note_stale

_OF_A_USER = (
    "c.experiment_id IS NOT NULL AND c.experiment_version_id IS NOT NULL AND c.sticky_value IS NOT NULL"
)
_USERS_OF_CALLS = """
UPDATE experiment_users u SET stale = true
FROM (SELECT DISTINCT project, experiment_id, sticky_value FROM {own} c WHERE {of_a_user}) g
WHERE u.project = g.project AND u.experiment_id = g.experiment_id AND u.sticky_value = g.sticky_value
"""
_USERS_OF_SCORES = """
UPDATE experiment_users u SET stale = true
FROM (SELECT DISTINCT project, experiment_id, sticky_value FROM score_owners WHERE day = '{day}') g
WHERE u.project = g.project AND u.experiment_id = g.experiment_id AND u.sticky_value = g.sticky_value
"""
_NAMED_BY_SCORES = """
UPDATE experiment_users u SET stale = true
FROM (SELECT DISTINCT project, sticky_value FROM scores WHERE day = '{day}') g
WHERE u.project = g.project AND u.sticky_value = g.sticky_value
"""
_SCORES_ABOUT_THEM = """
INSERT INTO experiment_dirty (seq, day)
SELECT s.seq, s.day FROM {own} c JOIN scores s ON s.project = c.project AND s.record_id = c.id
WHERE {of_a_user} AND s.day <> '{day}'
UNION
SELECT s.seq, s.day FROM {own} c JOIN scores s ON s.project = c.project AND s.session = c.session
WHERE {of_a_user} AND s.day <> '{day}' AND s.record_id IS NULL
"""
_AGED = """
UPDATE experiments e SET removed_until = %s WHERE coalesce(removed_until, 0) < %s AND EXISTS (
SELECT FROM {own} c WHERE c.project = e.project AND c.experiment_id = e.experiment_id)
"""


def note_dropped(connection: Connection, day: date, own: str) -> None:
    """The calls of this day, which are in the partition `own`, and the day's scores may be removed next."""
    exclude(connection)
    note_stale(connection)
    for statement in (_USERS_OF_CALLS, _USERS_OF_SCORES, _NAMED_BY_SCORES, _SCORES_ABOUT_THEM):
        connection.exec_driver_sql(statement.format(own=own, day=day, of_a_user=_OF_A_USER))


def note_aged_day(connection: Connection, day: date, own: str) -> None:
    """They are removed, for their age."""
    until = microseconds(datetime.combine(day, time(), UTC) + timedelta(days=1)) - 1
    connection.exec_driver_sql(_AGED.format(own=own), (until, until))
