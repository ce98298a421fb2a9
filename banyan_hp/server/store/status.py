"""What there is to say about a database, and its backup; nothing here changes it."""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import DatabaseError

from ...files import sync_directory
from ..starting import StartError
from .database import Database, url_to_show
from .migrations import newest_revision, revision
from .partitions import days_of
from .score_tables import scores
from .sums import pending
from .tables import calls, keys, projects, to_index

_SIZES = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relkind IN ('r', 'S')
AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'calls'::regclass)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What can be said of a database without counting all that is in it.

    Attributes:
        revision: of its tables; `newest` is the one that this release works with.
        bytes: on the disk, with what SQLite has not folded into the file yet.
        free_bytes: of them, left by what was removed, to be used again.
        partitions: the first and the last day that has one, and how many have; None: not in this database.
        outside: how many calls are in none of them.
    """

    name: str
    revision: str
    newest: str
    bytes: int
    free_bytes: int
    partitions: tuple[str, str, int] | None
    outside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Condition):
    """What there is in a database.

    Attributes:
        calls: how many there are.
        first, last: the times of the oldest and the newest, in microseconds since 1970.
        scores: how many there are; they are not among the calls.
        search_lag: how many calls can't be found by text yet.
        results_lag: how many calls and scores are not in the results of experiments yet.
    """

    projects: int
    keys: int
    calls: int
    scores: int
    first: int | None
    last: int | None
    search_lag: int
    results_lag: int


def status_of(database: Database) -> Status:
    """Read it.

    Raises:
        StartError: it is no database of ours.
        BusyError: it can't be read now.
    """
    try:
        with database.read() as connection:
            present = revision(connection) if "calls" in inspect(connection).get_table_names() else None
            if present is None:
                raise StartError(f"{database.name} is no database of banyan-hp")
            return _status(connection, database, present)
    except DatabaseError as error:
        raise StartError(f"can't read {database.name}: {str(error.orig).partition(chr(10))[0]}") from error


def condition_of(database: Database) -> Condition:
    """Read it, of a database that is in use."""
    with database.read() as connection:
        return Condition(**_condition(connection, database, revision(connection) or ""))


def _condition(connection: Connection, database: Database, present: str) -> dict[str, Any]:
    if database.is_postgres:
        of_its_own = {**_size_of_postgres(connection), **_partitions(connection)}
    else:
        of_its_own = {**_size_of_file(connection, Path(database.name)), "partitions": None, "outside": 0}
    return {"name": database.name, "revision": present, "newest": newest_revision(), **of_its_own}


def _status(connection: Connection, database: Database, present: str) -> Status:
    times = select(func.min(calls.c.event_time), func.max(calls.c.event_time))
    is_newest = present == newest_revision()  # an older one has no scores
    given = _count(connection, scores) if is_newest else 0
    first, last = connection.execute(times).one()
    return Status(
        **_condition(connection, database, present),
        projects=_count(connection, projects),
        keys=_count(connection, keys),
        calls=_count(connection, calls) - given,
        scores=given,
        first=first,
        last=last,
        search_lag=_count(connection, to_index),
        results_lag=pending(connection) if is_newest else 0,
    )


def back_up(path: Path, target: Path) -> int:
    """Copy a SQLite database while others use it, in one state; how many bytes.

    The copy gets its name when it is whole and on the disk.

    Raises:
        OSError: it can't be written.
        FileExistsError: there is such a file.
        sqlite3.Error: it can't be read.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists")
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        read_only = f"{path.resolve().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(read_only, uri=True)) as source,
            closing(sqlite3.connect(unfinished)) as copy,
        ):
            source.backup(copy)  # in one step: in several, each write of others would begin it anew
        os.fsync(descriptor)
        os.link(unfinished, target)  # unlike a rename it never replaces a file
        sync_directory(target.parent)
    finally:
        os.close(descriptor)
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def dump_command(url: str, target: Path) -> list[str]:
    """How PostgreSQL's own program backs a database up; without a password, which it takes from elsewhere."""
    return ["pg_dump", "--format=custom", f"--file={target}", url_to_show(url)]


def _count(connection: Connection, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _size_of_file(connection: Connection, path: Path) -> dict[str, int]:
    page = int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    free = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
    log = path.with_name(f"{path.name}-wal")
    return {
        "bytes": sum(each.stat().st_size for each in (path, log) if each.exists()),
        "free_bytes": page * free,
    }


def _size_of_postgres(connection: Connection) -> dict[str, int]:
    return {"bytes": int(connection.exec_driver_sql(_SIZES).scalar_one()), "free_bytes": 0}


def _partitions(connection: Connection) -> dict[str, Any]:
    days = [day.isoformat() for day in days_of(connection)]
    outside = int(connection.exec_driver_sql("SELECT count(*) FROM calls_other").scalar_one())
    return {"partitions": (days[0], days[-1], len(days)) if days else None, "outside": outside}
