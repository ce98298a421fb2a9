"""Which process does what only one may do. The database, or the system, ends a lock with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .database import BusyError, Database

_RETENTION = 0x62616E79616E02  # any number that no other program takes for its advisory lock

StillElected = Callable[[], bool]


@contextmanager
def elected(database: Database) -> Iterator[StillElected | None]:
    """Be the one process that removes old calls; None: another one is.

    The other way round, a process may lose its election while it works: it asks before each step.
    """
    with _of_postgres(database) if database.is_postgres else _of_file(Path(database.name)) as still:
        yield still


@contextmanager
def _of_postgres(database: Database) -> Iterator[StillElected | None]:
    """By a lock of a connection's that is in no transaction, so that it holds up no vacuum."""
    try:
        with database.session() as connection:
            if not _ask(connection, f"SELECT pg_try_advisory_lock({_RETENTION})"):
                yield None
                return
            try:
                yield lambda: _ask(connection, "SELECT true")
            finally:
                _ask(connection, f"SELECT pg_advisory_unlock({_RETENTION})")
    except DBAPIError as error:
        raise BusyError(str(error.orig).partition("\n")[0]) from error


def _ask(connection: Connection, question: str) -> bool:
    if connection.invalidated:  # it would connect anew, without the lock
        return False
    try:
        return bool(connection.exec_driver_sql(question).scalar_one())
    except DBAPIError:  # the connection is gone, and the lock with it
        return False


@contextmanager
def _of_file(path: Path) -> Iterator[StillElected | None]:
    lock = path.with_name(f"{path.name}.retention")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield lambda: True
    finally:
        os.close(descriptor)
