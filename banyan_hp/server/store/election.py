"""Which process does what only one may do. The database, or the system, ends a lock with its holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .database import BUSY_SECONDS, BusyError, Database

StillElected = Callable[[], bool]
_LOOK_SECONDS = 0.02  # between two looks for a free lock


class Work(NamedTuple):
    """What one process at a time does."""

    name: str
    number: int  # any that no other program takes for its advisory lock


RETENTION = Work("retention", 0x62616E79616E02)
SUMS = Work("sums", 0x62616E79616E04)
GUARDS = Work("guards", 0x62616E79616E05)
DERIVING = Work("deriving", 0x62616E79616E07)
SPANS = Work("spans", 0x62616E79616E08)
"""Changing what is made of spans, or removing them, where no transaction keeps the two apart."""


@contextmanager
def elected(database: Database, work: Work = RETENTION) -> Iterator[StillElected | None]:
    """Be the one process that does this work; None: another one is.

    The other way round, a process may lose its election while it works: it asks before each step.
    """
    path = Path(f"{database.name}.{work.name}")
    with _of_postgres(database, work.number) if database.is_postgres else _of_file(path) as still:
        yield still


@contextmanager
def elected_soon(database: Database, work: Work) -> Iterator[StillElected]:
    """Be the one process that does this work, after those that do it now.

    Raises:
        BusyError: they have not ended within `BUSY_SECONDS`.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        with elected(database, work) as still:
            if still is not None:
                yield still
                return
        if time.monotonic() > until:
            raise BusyError(f"others have been at the {work.name} for {BUSY_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _of_postgres(database: Database, number: int) -> Iterator[StillElected | None]:
    """By a lock of a connection's that is in no transaction, so that it holds up no vacuum."""
    try:
        with database.session() as connection:
            if not _ask(connection, f"SELECT pg_try_advisory_lock({number})"):
                yield None
                return
            try:
                yield lambda: _ask(connection, "SELECT true")
            finally:
                _ask(connection, f"SELECT pg_advisory_unlock({number})")
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield lambda: True
    finally:
        os.close(descriptor)
