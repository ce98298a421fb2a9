"""Running the revisions that a database lacks, by Alembic."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Bring its tables to the newest revision, within its transaction."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def configuration() -> Config:
    """Where Alembic finds the revisions."""
    room, _, package = __name__.rpartition(".")[0].rpartition(".")
    config = Config()
    config.set_main_option("script_location", f"{room}:{package}")
    config.set_main_option("path_separator", "os")
    return config
