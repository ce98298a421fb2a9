"""The revisions of a database's tables: which there are, and which databases are refused."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest
from alembic.script import ScriptDirectory

from banyan_hp.server.starting import StartError
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.migrations import newest_revision, revision, revisions
from banyan_hp.server.store.migrations.upgrading import configuration


def test_revisions_are_named_as_their_files_are() -> None:
    """Each follows the one before, as Alembic sees it."""
    script = ScriptDirectory.from_config(configuration())
    assert [each.revision for each in script.walk_revisions()] == list(reversed(revisions()))
    assert script.get_current_head() == newest_revision()


def test_a_database_has_the_newest_revision_once_it_is_open(empty_url: str) -> None:
    with closing(Database(empty_url)) as database, database.read() as connection:
        assert revision(connection) == newest_revision()


def test_a_database_without_tables_has_no_revision(empty_url: str) -> None:
    database = Database(empty_url, migrated=False)
    with database.read() as connection:
        assert revision(connection) is None
    database.close()


def test_a_database_of_a_newer_release_is_refused(database: Database, url: str) -> None:
    """And told apart by its revision."""
    database.write(lambda it: it.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match=rf"revision 9999, this program at {newest_revision()}$"):
        Database(url)


def test_a_database_that_is_up_to_date_opens_without_alembic(database: Database, url: str) -> None:
    """Its import would be a tenth of a server's start."""
    program = f"""
import sys
from banyan_hp.server.store.database import Database
Database({url!r}).close()
sys.exit("alembic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
