"""PostgreSQL's partitions, one for each day around now and one for all other days: making and dropping them.

Neither may hold others up for long, so nothing is searched under a lock that they wait for. PostgreSQL
searches the partition of all other days when a day gets one of its own. If it is small, that takes no time,
and one transaction does it. If it is large, these are the steps, and what a crash leaves:

1. a constraint keeps calls of the day out of it; who brings some comes again    they come again and again
2. those that are there move to a new table, the constraint is validated beside
   readers and writers, and the table becomes the partition                      the same
3. the constraint goes                                                           it means nothing any more

The next run, at a start or within the hour, finishes what a crash has left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

from sqlalchemy import Connection

from .database import MOVING, Database
from .dropped_days import note_aged_day, note_dropped
from .hour_counts import note_to_recount
from .partitions import LOCK_SECONDS, exists, partition_of
from .score_tables import owners, scores
from .tables import bodies, calls

Tables = Sequence[str]  # which have the same days; the first one is locked for all
CALLS: Tables = (calls.name, bodies.name, "call_search", scores.name, owners.name)
LARGE = 64 * 1024 * 1024  # bytes that are not searched under a lock
_DAYS_BEFORE, _DAYS_AHEAD = 1, 7
_PATIENCE_SECONDS = 15  # for a lock that nobody else waits for
_LONG_SECONDS = 3600.0
_MAKING = 0x62616E79616E03  # an advisory lock
_SEPARATE = """
CREATE TABLE {own} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
WITH gone AS (DELETE FROM {name}_other WHERE day = '{day}' RETURNING *) INSERT INTO {own} SELECT * FROM gone
"""
_ATTACH = "ALTER TABLE {name} ATTACH PARTITION {own} FOR VALUES FROM ('{day}') TO ('{next_day}')"
_KEEP_OUT = (
    "ALTER TABLE {name}_other ADD CONSTRAINT {rule} CHECK (day < '{day}' OR day >= '{next_day}') NOT VALID"
)
_LET_IN = "ALTER TABLE {name}_other DROP CONSTRAINT IF EXISTS {rule}"
_VALIDATE = "ALTER TABLE {name}_other VALIDATE CONSTRAINT {rule}"
_FORGET = "DELETE FROM calls_to_index WHERE day = %s"
_SIZE = "SELECT pg_relation_size(%s)"
_RULES = (
    "SELECT DISTINCT conname FROM pg_constraint WHERE conrelid = ANY(%s::regclass[]) "
    "AND starts_with(conname, %s)"
)
# By the index of positions, which begins with the project: a day may have millions of calls.
_LATE = """
WITH RECURSIVE known AS (
    SELECT min(project) AS project FROM {own}
    UNION ALL
    SELECT (SELECT min(project) FROM {own} WHERE project > known.project) FROM known WHERE project IS NOT NULL
)
SELECT max((SELECT max(xact) FROM {own} WHERE {own}.project = known.project)) >= %s FROM known
"""


# -- made ----------------------------------------------------------------------------------------------------


def prepare(database: Database, tables: Tables, today: date) -> None:
    """Make the partitions of the days around now. Any number of processes may do so at once."""
    _clear(database, tables)
    for ahead in range(-_DAYS_BEFORE, _DAYS_AHEAD + 1):
        day = today + timedelta(days=ahead)
        if not database.write(lambda connection, day=day: _make(connection, tables, day)):  # type: ignore[misc]
            _make_beside(database, tables, day)


def _make(connection: Connection, tables: Tables, day: date) -> bool:
    """A partition for the day, with what has come for it already; False: it would hold others up."""
    if exists(connection, partition_of(tables[0], day)):
        return True
    if any(_bytes(connection, f"{name}_other") > LARGE for name in tables):
        return False
    _lock(connection, tables[0], "SHARE ROW EXCLUSIVE")
    if not exists(connection, partition_of(tables[0], day)):
        _for_each(connection, tables, day, _SEPARATE)
        _for_each(connection, tables, day, _ATTACH)
    return True


def _make_beside(database: Database, tables: Tables, day: date) -> None:
    """The same, beside others who read and write; nothing, if another process is at it."""
    with _alone(database) as alone:
        if not alone:
            return
        try:
            database.write(lambda connection: _keep_out(connection, tables, day))
            database.write(lambda connection: _move(connection, tables, day), seconds=_LONG_SECONDS)
        finally:
            database.write(lambda connection: _let_in(connection, tables, _rule(day)))


def _keep_out(connection: Connection, tables: Tables, day: date) -> None:
    if _rule(day) not in _rules(connection, tables):  # else left by a crash
        _patient(connection, LOCK_SECONDS)
        _for_each(connection, tables, day, _KEEP_OUT)


def _move(connection: Connection, tables: Tables, day: date) -> None:
    if exists(connection, partition_of(tables[0], day)):
        return
    _patient(connection, _PATIENCE_SECONDS)
    _for_each(connection, tables, day, _SEPARATE)
    _for_each(connection, tables, day, _VALIDATE)
    _patient(connection, LOCK_SECONDS)
    _for_each(connection, tables, day, _ATTACH)


def _let_in(connection: Connection, tables: Tables, rule: str) -> None:
    _patient(connection, LOCK_SECONDS)
    for name in tables:
        connection.exec_driver_sql(_LET_IN.format(name=name, rule=rule))


def _clear(database: Database, tables: Tables) -> None:
    """Drop constraints that a crash has left."""
    with database.read() as connection:
        left = _rules(connection, tables)
    if left:
        with _alone(database) as alone:
            for rule in left if alone else ():
                database.write(lambda connection, rule=rule: _let_in(connection, tables, rule))  # type: ignore[misc]


def _rules(connection: Connection, tables: Tables) -> list[str]:
    found = connection.exec_driver_sql(_RULES, ([f"{name}_other" for name in tables], MOVING))
    return list(found.scalars())


@contextmanager
def _alone(database: Database) -> Iterator[bool]:
    """Whether no other process is making a partition beside others."""
    with database.session() as connection:
        taken = f"SELECT pg_try_advisory_lock({_MAKING})"
        alone = bool(connection.exec_driver_sql(taken).scalar_one())
        try:
            yield alone
        finally:
            if alone:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_MAKING})")


# -- dropped -------------------------------------------------------------------------------------------------


def drop(database: Database, day: date, horizon: int | None) -> int:
    """Drop a day's partition, unless it has calls of transactions from `horizon` on; how many it had."""
    removed = database.write(lambda connection: _drop(connection, day, horizon), seconds=_LONG_SECONDS)
    if removed:  # what a crash leaves of it the indexing takes away
        database.write(lambda connection: connection.exec_driver_sql(_FORGET, (day,)))
    return removed


def _drop(connection: Connection, day: date, horizon: int | None) -> int:
    own = partition_of(calls.name, day)
    if not exists(connection, own):
        return 0
    removed = int(connection.exec_driver_sql(f"SELECT count(*) FROM {own}").scalar_one())  # noqa: S608
    note_dropped(connection, day, own)
    # From here on others wait, and nothing takes time.
    _lock(connection, calls.name, "ACCESS EXCLUSIVE")
    late = _LATE.format(own=own)
    if horizon is not None and connection.exec_driver_sql(late, (horizon,)).scalar_one():
        return 0
    note_aged_day(connection, day, own)
    note_to_recount(connection, day)
    for name in CALLS:
        connection.exec_driver_sql(f"DROP TABLE {partition_of(name, day)}")
    return removed


def _rule(day: date) -> str:
    return f"{MOVING}{day:%Y%m%d}"


def _bytes(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(_SIZE, (name,)).scalar_one())


def _for_each(connection: Connection, tables: Tables, day: date, script: str) -> None:
    """Run a script for each table, of the day."""
    for name in tables:
        own, next_day = partition_of(name, day), day + timedelta(days=1)
        filled = script.format(name=name, own=own, day=day, next_day=next_day, rule=_rule(day))
        connection.exec_driver_sql(filled)


def _lock(connection: Connection, table: str, mode: str) -> None:
    # Whoever comes later waits for the lock behind us: so we don't wait long for those before us.
    _patient(connection, LOCK_SECONDS)
    connection.exec_driver_sql(f"LOCK TABLE ONLY {table} IN {mode} MODE")


def _patient(connection: Connection, seconds: int) -> None:
    """For how long to wait for a lock."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{seconds}s'")
