"""A database, SQLite or PostgreSQL: opening it, transactions, time limits."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from ..starting import StartError
from .migrations import migrate
from .private import make_private

QUERY_SECONDS = 20.0
WRITE_SECONDS = 30.0  # of PostgreSQL each statement, of SQLite the transaction
BUSY_SECONDS = 5.0
MOVING = "moving_"  # how constraints begin that keep calls of a day away while its partition is made
_READERS = 6  # connections; twice as many under load
_WRITERS = 2  # likewise, apart from readers: however slow those are, calls are stored
_TRIES = 6
_RETRIED_STATES = frozenset({"40001", "40P01", "55P03"})  # serialisation failure, deadlock, no lock
_REFUSING_STATES = frozenset({"22", "23", "54"})  # data exception, constraint, program limit exceeded
_SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock

T = TypeVar("T")


NO_CONNECTION = "there is no connection to it"


class BusyError(Exception):
    """The database can't do it now, though it may soon: others hold it, or it is not there.

    Args:
        reason: for the log.
        to_callers: what callers are told instead, where the reason is not for them.
    """

    def __init__(self, reason: str, to_callers: str | None = None) -> None:
        super().__init__(reason)
        self._to_callers = to_callers

    @property
    def to_callers(self) -> str:
        """The same without the database's address, role and tables, which are not for whoever may call."""
        if self._to_callers is not None:
            return self._to_callers
        return NO_CONNECTION if is_cut_off(self.__cause__) else str(self)


class SlowQueryError(Exception):
    """A query took longer than it may."""


class UnfitValueError(Exception):
    """A value that a column can't hold, and will not another time."""


class _Engines(NamedTuple):
    name: str
    readers: Engine
    writers: Engine


class Database:
    """The database at a URL.

    Args:
        url: the path of a SQLite file, or ``postgresql://…``.
        query_seconds: how long a read may take.
        write_seconds: how long a write may take.
        migrated: False: leave its tables as they are.

    Raises:
        StartError: it can't be opened, or is not ours.
    """

    def __init__(
        self,
        url: str,
        *,
        query_seconds: float = QUERY_SECONDS,
        write_seconds: float = WRITE_SECONDS,
        migrated: bool = True,
    ) -> None:
        self.is_postgres = url.startswith(("postgresql:", "postgres:"))
        self.query_seconds = query_seconds
        self.write_seconds = write_seconds
        engines = _postgres(url) if self.is_postgres else _sqlite(Path(url).absolute())
        self.name, self._readers, self._writers = engines
        self._writing = threading.Lock()  # for SQLite's one writer: better than its naps
        if migrated:
            try:
                migrate(self._writers, self.name)
            except StartError:
                self.close()
                raise

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """What `work` returns, done in one transaction; again where others got in its way.

        Args:
            work: what to do.
            seconds: how long it may take, where that is not as long as other writes.

        Raises:
            BusyError: they did so again and again, it took too long, or the database is not there.
        """
        until = time.monotonic() + BUSY_SECONDS
        limit = self.write_seconds if seconds is None else seconds
        for left in reversed(range(_TRIES)):
            try:
                with self._write_transaction(limit) as connection:
                    return work(connection)
            except DBAPIError as error:
                if _was_stopped(error):
                    raise BusyError(f"a write took longer than {limit:g} s") from error
                if not _is_transient(error):
                    raise
                if not left or error.connection_invalidated or time.monotonic() > until:
                    raise BusyError(_reason(error)) from error
                time.sleep(random.uniform(0, 0.05 * (_TRIES - left)))
        raise AssertionError("the loop returns or raises")

    @contextmanager
    def _write_transaction(self, seconds: float) -> Iterator[Connection]:
        if self.is_postgres:
            with _connected(self._writers) as connection, connection.begin():
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
                yield connection
            return
        if not self._writing.acquire(timeout=BUSY_SECONDS):
            raise BusyError("another request is writing for longer than expected")
        try:
            with _connected(self._writers) as connection, _stopped_after(connection, seconds):
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.commit()
        finally:
            self._writing.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading one state of the database.

        Raises:
            SlowQueryError: a query took longer than it may.
            BusyError: the database is not there, or all its connections are in use.
        """
        try:
            with _connected(self._readers) as connection, self._limited(connection):
                yield connection
        except DBAPIError as error:
            if _was_stopped(error):
                raise SlowQueryError(f"the query took longer than {self.query_seconds:g} s") from error
            if _is_transient(error):
                raise BusyError(_reason(error)) from error
            raise

    @contextmanager
    def _limited(self, connection: Connection) -> Iterator[None]:
        if self.is_postgres:
            milliseconds = int(self.query_seconds * 1000)
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
            yield
            return
        with _stopped_after(connection, self.query_seconds):
            connection.exec_driver_sql("BEGIN")
            yield

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of PostgreSQL's without a transaction: it may be kept without holding anything up."""
        with self._readers.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    @contextmanager
    def outside_transactions(self) -> Iterator[Connection]:
        """A connection for what SQLite only does outside a transaction."""
        with self._writing, self._writers.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections; SQLite folds its write-ahead log into the file."""
        self._readers.dispose()
        self._writers.dispose()


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except PoolTimeoutError as error:
        raise BusyError("all connections to it are in use") from error


@contextmanager
def _stopped_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Have SQLite stop what takes longer."""
    ends = time.monotonic() + seconds
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _sqlite(path: Path) -> _Engines:
    try:
        make_private(path)
    except OSError as error:
        raise StartError(f"can't use the database {path}: {error.strerror or error}") from error
    readers, writers = _sqlite_engine(path, _READERS), _sqlite_engine(path, _WRITERS)
    return _Engines(str(path), readers, writers)


def _sqlite_engine(path: Path, connections: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        **_pool(connections),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _pool(connections: int) -> dict[str, Any]:
    return {"pool_size": connections, "max_overflow": connections, "pool_timeout": BUSY_SECONDS}


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # FULL: what was answered survives a power cut, too; a commit is one `fsync`, for all requests of a group.
    # What is deleted is overwritten: it is personal data.
    for pragma in ("busy_timeout = 5000", "foreign_keys = ON", "synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def url_to_show(url: str) -> str:
    """PostgreSQL's URL without a password, or what else in it is secret.

    Raises:
        StartError: it is none.
    """
    try:
        parsed = make_url(url).set(drivername="postgresql").difference_update_query(_SECRETS)
    except ArgumentError as error:
        raise StartError(f"the database URL is not valid: {error}") from None
    bare = URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query
    )
    return bare.render_as_string(hide_password=False)


def _postgres(url: str) -> _Engines:
    name = url_to_show(url)
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        readers, writers = (
            create_engine(parsed, pool_pre_ping=True, **_pool(connections))
            for connections in (_READERS, _WRITERS)
        )
    except ImportError as error:
        raise StartError("PostgreSQL needs psycopg: pip install 'banyan-hp[postgres]'") from error
    return _Engines(name, readers, writers)


def _is_transient(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _RETRIED_STATES or state[:2] in ("08", "53", "57") or _is_moving(error.orig)
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return isinstance(error, OperationalError) or error.connection_invalidated


def is_cut_off(error: BaseException | None) -> bool:
    """Whether PostgreSQL could not be reached, or refused to let us in: it names no state then."""
    if not isinstance(error, OperationalError) or isinstance(error.orig, sqlite3.Error):
        return False
    return getattr(error.orig, "sqlstate", None) is None


def _is_moving(error: Any) -> bool:
    """Whether the partition of a day is being made, which others wait for."""
    return str(error.diag.constraint_name or "").startswith(MOVING)


def refuses_values(error: Exception) -> bool:
    """Whether a write failed for a value in it that the database can't hold, and would fail again."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, (OverflowError, UnicodeError, UnfitValueError))  # before anything is sent
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, (DataError, IntegrityError)) or state[:2] in _REFUSING_STATES


def _was_stopped(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "57014" or str(error.orig) == "interrupted"


def _reason(error: DBAPIError) -> str:
    """Its first line: the others may name values."""
    return str(error.orig).partition("\n")[0]
