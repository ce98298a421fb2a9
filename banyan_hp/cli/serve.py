"""`banyan-hp serve`: runs the local backend. Its libraries, an extra, are imported when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..server.starting import ROUTING_MODES, RoutingMode
from .terminal import DONE, WRONG, CommandError

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

DEFAULT_KEY = "psk_local"
KEYS_VARIABLE = "BANYAN_HP_SERVE_KEYS"
DEFAULT_DATABASE = Path("banyan-hp.sqlite3")
_SERVER_EXTRA = ("markdown_it", "starlette", "uvicorn")


def add_serve(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `serve` with its options."""
    serve = commands.add_parser(
        "serve", help="run the local backend: the Banyan and HuggingPlace HTTP APIs over a SQLite file"
    )
    serve.set_defaults(run=_serve)
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=_port,
        default=8787,
        help="port to listen on; 0 picks a free one (default: %(default)s)",
    )
    add(
        "--db",
        type=Path,
        default=DEFAULT_DATABASE,
        metavar="PATH",
        help="database file (default: %(default)s)",
    )
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
    add("--seed", type=Path, metavar="FILE.json", help="prompts and experiments to start out with")
    routing_help = (
        "what chooses an experiment's version for a caller who sends sticky values: this server, the "
        "client, which is given all experiments on the prompt, or none (default: the seed's, else server)"
    )
    add("--routing", type=_routing, metavar="|".join(ROUTING_MODES), help=routing_help)
    add("--verbose", action="store_true", help="log each request on stderr")


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
    settings = ServeSettings(
        arguments.host,
        arguments.port,
        arguments.db,
        keys,
        arguments.seed,
        arguments.verbose,
        arguments.routing,
        arguments.allowed_host,
    )
    try:
        serve(settings, lambda url: _say_ready(url, settings.database, keys))
    except StartError as error:
        raise CommandError(str(error), WRONG) from error
    return DONE


def _say_ready(url: str, database: Path, keys: Sequence[str]) -> None:
    # Given keys may be real ones and are not shown; the built-in one is no secret.
    hint = DEFAULT_KEY if list(keys) == [DEFAULT_KEY] else f"one of the {len(keys)} given"
    sys.stdout.write(
        f"banyan-hp local backend on {url}\n  database:  {database.absolute()}\n  X-API-Key: {hint}\n"
    )
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
