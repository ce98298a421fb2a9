"""Making the tables, and bringing those of an earlier release up to date, by Alembic.

Any number of processes may do so at once: one does it, the others wait for it and find nothing to do.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from ...starting import StartError

_LOCK = 0x62616E79616E  # any number that no other program takes for its advisory lock
_AUTO_VACUUM_INCREMENTAL = 2


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
    """The revision of the database's tables."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    """The revision that this release works with."""
    return ScriptDirectory.from_config(_config()).get_current_head()


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
    if tables and "alembic_version" not in tables:
        raise _UnusableError("it holds tables of another program, or of a version before the first release")


def _upgrade(connection: Connection) -> None:
    _check_ours(connection)
    config = _config()
    script = ScriptDirectory.from_config(config)
    known = {each.revision for each in script.walk_revisions()}
    present = revision(connection)
    if present is not None and present not in known:
        raise _UnusableError(
            f"a newer release made it: it is at revision {present}, "
            f"this program at {script.get_current_head()}"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", f"{__name__.rpartition('.')[0]}:migrations")
    config.set_main_option("path_separator", "os")
    return config
