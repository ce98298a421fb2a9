"""What commands that open a backend's database have in common: where it is, and the extra that they need."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..server.starting import StartError
from .terminal import WRONG, CommandError

DATABASE_VARIABLE = "BANYAN_HP_DB"
DEFAULT_DATABASE = "banyan-hp.sqlite3"
_EXTRA = ("alembic", "fastapi", "pydantic", "pydantic_core", "sqlalchemy", "starlette", "uvicorn")


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the option `--db`."""
    parser.add_argument(
        "--db",
        metavar="PATH|URL",
        help=f"database: a file, or postgresql://… (default: {DEFAULT_DATABASE}); the environment variable "
        f"{DATABASE_VARIABLE} hides a password in it from other users of this machine",
    )


def database_of(arguments: argparse.Namespace) -> str:
    """The database that is meant: its path or URL."""
    return arguments.db or os.environ.get(DATABASE_VARIABLE, "").strip() or DEFAULT_DATABASE


@contextmanager
def using_the_server() -> Iterator[None]:
    """Imports of the server, and starts of it, whose failures are one line for whoever typed the command.

    Raises:
        CommandError: its extra is missing, or it can't start.
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        why = f"the local backend needs {missing}: pip install 'banyan-hp[server]'"
        raise CommandError(why, WRONG) from error
    except StartError as error:
        raise CommandError(str(error), WRONG) from error
