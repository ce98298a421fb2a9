"""What commands that open a backend's database have in common: where it is, and the extra that they need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..server.starting import StartError
from .terminal import WRONG, CommandError

if TYPE_CHECKING:
    from argparse import ArgumentParser

DATABASE_VARIABLE = "BANYAN_HP_DB"
DEFAULT_DATABASE = "banyan-hp.sqlite3"
_EXTRA = ("alembic", "fastapi", "pydantic", "pydantic_core", "sqlalchemy", "starlette", "uvicorn")


def add_database(parser: ArgumentParser) -> None:
    """Add the option `--db`."""
    parser.add_argument(
        "--db",
        default=os.environ.get(DATABASE_VARIABLE, "").strip() or DEFAULT_DATABASE,
        metavar="PATH|URL",
        help=f"database: a file, or postgresql://…; also the environment variable {DATABASE_VARIABLE}, which "
        "hides a password from other users of this machine (default: %(default)s)",
    )


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
