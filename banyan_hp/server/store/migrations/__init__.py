"""Making the tables, and bringing those of an earlier release up to date.

Any number of processes may do so at once: one does it, the others wait for it and find nothing to do.
Alembic, which does it, takes its time to import: a database that is up to date is not worth it.
"""

from __future__ import annotations

from functools import cache
from pkgutil import iter_modules

from sqlalchemy import Connection, Engine, column, inspect, select, table
from sqlalchemy.exc import DBAPIError

from ...starting import StartError
from . import versions

_LOCK = 0x62616E79616E  # any number that no other program takes for its advisory lock
_AUTO_VACUUM_INCREMENTAL = 2
_VERSIONS = "alembic_version"
_FILE = "revision_"  # how a revision's file is named, before its number


def migrate(engine: Engine, name: str) -> None:
    """Bring the database to the newest revision.

    Raises:
        StartError: it can't be reached, holds tables of another program, or those of a newer release.
    """
    try:
        with engine.connect() as connection:
            _begin(connection)
            _upgrade(connection)
            connection.commit()
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise StartError(f"can't use the database {name}: {reason}") from error
    except _UnusableError as error:
        raise StartError(f"can't use the database {name}: {error}") from None


def revision(connection: Connection) -> str | None:
    """The revision of the database's tables; None: it has none."""
    if not inspect(connection).has_table(_VERSIONS):
        return None
    found = connection.execute(select(column("version_num")).select_from(table(_VERSIONS))).scalar()
    return None if found is None else str(found)


@cache
def revisions() -> tuple[str, ...]:
    """All that this release knows, in their order: their files are named by their numbers."""
    names = sorted(each.name for each in iter_modules(versions.__path__))
    return tuple(name.removeprefix(_FILE) for name in names if name.startswith(_FILE))


def newest_revision() -> str:
    """The revision that this release works with."""
    return revisions()[-1]


class _UnusableError(Exception):
    """The database is not one for us."""


def _begin(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        return
    _check_ours(connection)  # before anything is changed about it
    _prepare_file(connection)
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_file(connection: Connection) -> None:
    """What SQLite only takes outside a transaction; the first before there is any table."""
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first():
        connection.exec_driver_sql(f"PRAGMA auto_vacuum = {_AUTO_VACUUM_INCREMENTAL}")
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def _check_ours(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and _VERSIONS not in tables:
        raise _UnusableError("it holds tables of another program, or of a version before the first release")


def _upgrade(connection: Connection) -> None:
    _check_ours(connection)
    present = revision(connection)
    if present == newest_revision():
        return
    if present is not None and present not in revisions():
        raise _UnusableError(
            f"a newer release made it: it is at revision {present}, this program at {newest_revision()}"
        )
    from .upgrading import upgrade

    upgrade(connection)
