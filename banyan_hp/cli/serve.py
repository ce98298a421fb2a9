"""`banyan-hp serve`: runs the local backend. Its libraries, an extra, are imported when it runs."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import platformdirs

from ..engine.threads import ThreadStart
from ..files import make_directory
from ..server.starting import ROUTING_MODES, RoutingMode
from .terminal import DONE, WRONG, CommandError, complain

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

DEFAULT_KEY = "psk_local"
KEYS_VARIABLE = "BANYAN_HP_SERVE_KEYS"
DATABASE_NAME = "banyan-hp.sqlite3"
_SERVER_EXTRA = ("markdown_it", "starlette", "uvicorn")


def add_serve(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `serve` with its options."""
    serve = commands.add_parser(
        "serve", help="run the local backend: the Banyan and HuggingPlace HTTP APIs over a SQLite file"
    )
    serve.set_defaults(run=_serve)
    _add_access(serve)
    _add_data(serve)
    serve.add_argument("--verbose", action="store_true", help="log each request on stderr")


def _add_access(serve: ArgumentParser) -> None:
    """Who reaches it, where."""
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    port_help = "port to listen on; 0 picks a free one (default: %(default)s)"
    add("--port", type=_port, default=8787, help=port_help)
    # Repeated options are appended to the default, so the default key can't be argparse's.
    key_help = (
        "a key that callers may use, may be repeated; other users of this machine can see it, unlike those "
        f"in the environment variable {KEYS_VARIABLE}, separated by commas (default: {DEFAULT_KEY})"
    )
    add("--api-key", action="append", type=_key, metavar="KEY", help=key_help)
    host_help = (
        "a name that requests may be addressed to, may be repeated (default: on 127.0.0.1 and other "
        "addresses of this machine alone, only localhost and such addresses; else any)"
    )
    add("--allowed-host", action="append", default=[], metavar="NAME", help=host_help)


def _add_data(serve: ArgumentParser) -> None:
    """What it holds."""
    add = serve.add_argument
    database_help = f"database file (default: {DATABASE_NAME} in the user's data directory)"
    add("--db", type=Path, metavar="PATH", help=database_help)
    add("--seed", type=Path, metavar="FILE.json", help="prompts and experiments to start out with")
    demo_help = (
        "start with the prompts, experiments and calls of a made-up application, in a database that goes "
        "away with the process"
    )
    add("--demo", action="store_true", help=demo_help)
    routing_help = (
        "what chooses an experiment's version for a caller who sends sticky values: this server, the "
        "client, which is given all experiments on the prompt, or none (default: the seed's, else server)"
    )
    add("--routing", type=_routing, metavar="|".join(ROUTING_MODES), help=routing_help)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from ..server.serving import ServeSettings, serve
        from ..server.starting import StartError
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _SERVER_EXTRA:
            raise
        why = f"the local backend needs {missing}: pip install 'banyan-hp[server]'"
        raise CommandError(why, WRONG) from error
    keys: list[str] = arguments.api_key or _keys_of_environment() or [DEFAULT_KEY]
    try:
        with _database(arguments) as database:
            settings = ServeSettings(
                arguments.host,
                arguments.port,
                database,
                keys,
                arguments.seed,
                arguments.verbose,
                arguments.routing,
                arguments.allowed_host,
            )
            serve(settings, lambda url: _when_ready(url, database, keys, demo=arguments.demo))
    except StartError as error:
        raise CommandError(str(error), WRONG) from error
    return DONE


# -- the database --------------------------------------------------------------------------------------------


def _database(arguments: argparse.Namespace) -> AbstractContextManager[Path]:
    """The database's path, while it is used.

    Raises:
        CommandError: there is no place for it, or it contradicts another option.
    """
    if not arguments.demo:
        return nullcontext(arguments.db or _default_database())
    for option, given in (("--db", arguments.db), ("--seed", arguments.seed)):
        if given is not None:
            raise CommandError(f"--demo has a database and prompts of its own: leave out {option}", WRONG)
    return _temporary_database()


@contextmanager
def _temporary_database() -> Iterator[Path]:
    with TemporaryDirectory(prefix="banyan-hp-demo-") as directory:
        yield Path(directory, DATABASE_NAME)


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


# -- when it is ready ----------------------------------------------------------------------------------------


def _when_ready(url: str, database: Path, keys: Sequence[str], *, demo: bool) -> None:
    # Given keys may be real ones and are not shown; the built-in one is no secret.
    builtin = list(keys) == [DEFAULT_KEY]
    _write(
        f"banyan-hp local backend on {url}\n"
        f"  database:  {database.absolute()}{' (gone when this process ends)' if demo else ''}\n"
        f"  X-API-Key: {DEFAULT_KEY if builtin else f'one of the {len(keys)} given'}\n"
    )
    if demo:  # on a thread: this one is to respond to its requests
        arguments = (url, keys[0], DEFAULT_KEY if builtin else None)
        thread = threading.Thread(target=_put_demo_in, args=arguments, name="banyan-hp-demo", daemon=True)
        with ThreadStart(thread) as start:
            start.make()


def _put_demo_in(url: str, key: str, shown_key: str | None) -> None:
    from .demo.loading import LoadingError, load
    from .demo.words import what_is_there, what_to_try

    try:
        loaded = load(url, key)
    except LoadingError as error:
        complain(f"the demo's data are incomplete: {error}")
        return
    _write(what_is_there(loaded) + what_to_try(url, shown_key))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _keys_of_environment() -> list[str]:
    """The keys in the environment variable; no key if it is not set, or empty."""
    text = os.environ.get(KEYS_VARIABLE, "")
    keys = [key for each in text.split(",") if (key := each.strip())]
    if text and not keys:
        raise CommandError(f"{KEYS_VARIABLE} must hold keys separated by commas, held none", WRONG)
    return keys


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, was {text!r}")
    return int(text)


def _routing(text: str) -> RoutingMode:
    if text not in ROUTING_MODES:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(ROUTING_MODES)}, was {text!r}")
    return RoutingMode(text)


def _key(text: str) -> str:
    if text.strip() != text or not text:
        raise argparse.ArgumentTypeError("must be a key without spaces around it")
    return text
