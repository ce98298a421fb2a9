"""What commands that open a backend's database have in common: where it is, and the extra that they need."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ..files import make_directory
from ..server.starting import StartError
from .terminal import WRONG, CommandError, complain

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

DATABASE_VARIABLE = "BANYAN_HP_DB"
DATABASE_NAME = "banyan-hp.sqlite3"
CALLS_VARIABLE = "BANYAN_HP_CALLS"
CLUSTER_VARIABLE = "BANYAN_HP_CLICKHOUSE_CLUSTER"
_CLUSTER = re.compile(r"[\w{}.-]+")
_CLICKHOUSES = ("clickhouse://", "clickhouses://", "chdb:///")
_OF_CLICKHOUSE = ("clickhouse_connect", "chdb")
_EXTRA = (
    "alembic",
    "fastapi",
    "markdown_it",
    "pydantic",
    "pydantic_core",
    "sqlalchemy",
    "starlette",
    "uvicorn",
)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the option `--db`."""
    parser.add_argument(
        "--db",
        metavar="PATH|URL",
        help=f"a file, or postgresql://… (default: {DATABASE_NAME} in the user's data directory); the "
        f"environment variable {DATABASE_VARIABLE} hides a password in it from other users of this machine",
    )


def add_calls(parser: argparse.ArgumentParser) -> None:
    """Add the option `--calls`."""
    parser.add_argument(
        "--calls",
        metavar="URL",
        help="a ClickHouse that has calls and spans, beside the database with all else: "
        "clickhouse://USER:PASSWORD@HOST:8123/DATABASE, clickhouses:// for TLS, or chdb:///DIRECTORY for an "
        "embedded one (default: the database has them, too); the environment variable "
        f"{CALLS_VARIABLE} hides the password",
    )
    add_cluster(parser)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the option `--clickhouse-cluster`."""
    parser.add_argument(
        "--clickhouse-cluster",
        type=_cluster,
        metavar="NAME",
        help="the cluster of that ClickHouse whose shards have the calls, by its name in remote_servers "
        f"(default: what {CLUSTER_VARIABLE} says, else that one server has them)",
    )


def cluster_of(arguments: argparse.Namespace) -> str | None:
    """The cluster of ClickHouse that is meant; None: one server.

    Raises:
        CommandError: what the environment says is no name of one.
    """
    given: str | None = arguments.clickhouse_cluster
    found = os.environ.get(CLUSTER_VARIABLE, "").strip()
    if given is not None or not found:
        return given
    try:
        return _cluster(found)
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"{CLUSTER_VARIABLE} {error}", WRONG) from error


def _cluster(text: str) -> str:
    if not _CLUSTER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be the name of a cluster, as banyan, was {text!r}")
    return text


def calls_of(arguments: argparse.Namespace) -> str | None:
    """The ClickHouse that is meant; None: the database has the calls.

    Raises:
        CommandError: it is no URL of a ClickHouse.
    """
    url = arguments.calls or os.environ.get(CALLS_VARIABLE, "").strip()
    if url and not url.startswith(_CLICKHOUSES):
        scheme = url.partition(":")[0]
        raise CommandError(
            f"--calls must be a URL that begins with {', '.join(_CLICKHOUSES)}; this one with {scheme!r}",
            WRONG,
        )
    return url or None


def retain(text: str) -> timedelta:
    """For how long calls are kept, as the type of an option."""
    days = text.removesuffix("d")
    if days == text or not (days.isascii() and days.isdigit() and len(days) <= 5 and int(days)):
        raise argparse.ArgumentTypeError(f"must be a number of days, as 30d, was {text!r}")
    return timedelta(days=int(days))


def add_database_command(
    actions: _SubParsersAction[ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_text: str,
) -> ArgumentParser:
    """Add a command that works on a database, with `--db`."""
    parser = actions.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(run=run)
    add_database(parser)
    return parser


def database_of(arguments: argparse.Namespace) -> str:
    """The database that is meant: its path or URL.

    Raises:
        CommandError: there is no place for it.
    """
    return arguments.db or os.environ.get(DATABASE_VARIABLE, "").strip() or str(_default_database())


def _default_database() -> Path:
    """In the user's data directory, which is made if it is missing."""
    try:
        directory = platformdirs.user_data_path("banyan_hp")
        if not directory.is_absolute():  # without a home it begins with a tilde
            raise RuntimeError("this user has no home directory")
        make_directory(directory)
    except (RuntimeError, KeyError, OSError) as error:
        why = f"there is no place for the database ({error}): name a file with --db"
        raise CommandError(why, WRONG) from error
    if Path(DATABASE_NAME).exists():
        complain(f"{DATABASE_NAME} in this directory is not used; to serve it, pass --db {DATABASE_NAME}")
    return directory / DATABASE_NAME


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
        if missing not in (*_EXTRA, *_OF_CLICKHOUSE):
            raise
        extra = "clickhouse" if missing in _OF_CLICKHOUSE else "server"
        why = f"the local backend needs {missing}: pip install 'banyan-hp[{extra}]'"
        raise CommandError(why, WRONG) from error
    except StartError as error:
        raise CommandError(str(error), WRONG) from error
