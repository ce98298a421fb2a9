"""The command `banyan-hp`: arguments, words on the terminal, exit codes.

What a subcommand does lives elsewhere and is imported when it runs, so that each needs only its own extras.
Exit codes: 0 for success, 2 for what the caller has to put right, said in one line on stderr; `spool` has
more, see `spool_cli/outcome.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from banyan_hp._version import __version__
from banyan_hp.cli.spool.arguments import add_spool
from banyan_hp.server.starting import ROUTING_MODES, RoutingMode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

OK = 0
WRONG = 2
DEFAULT_KEY = "psk_local"
KEYS_VARIABLE = "BANYAN_HP_SERVE_KEYS"
DEFAULT_DATABASE = Path("banyan-hp.sqlite3")
_SERVER_EXTRA = ("starlette", "uvicorn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="banyan-hp", description="Tools of the banyan-hp logging library.")
    parser.add_argument("--version", action="version", version=f"banyan-hp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    add_spool(commands)
    return parser


def _add_serve(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve", help="run the local backend: the Banyan and HuggingPlace HTTP APIs over a SQLite file"
    )
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
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may be addressed to, may be repeated (default: on 127.0.0.1 and other "
        "addresses of this machine alone, only localhost and such addresses; else any)",
    )
    add("--seed", type=Path, metavar="FILE.json", help="prompts and experiments to start out with")
    add(
        "--routing",
        type=_routing,
        metavar="|".join(ROUTING_MODES),
        help="who chooses an experiment's version for a caller who sends sticky values: this server, the "
        "client, which is given all experiments on the prompt, or none (default: the seed's, else server)",
    )
    add("--verbose", action="store_true", help="log each request on stderr")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from banyan_hp.server.serving import ServeSettings, serve
        from banyan_hp.server.starting import StartError
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _SERVER_EXTRA:
            raise
        return _fail(f"the local backend needs {missing}: pip install 'banyan-hp[server]'")
    try:
        keys: list[str] = arguments.api_key or _keys_of_environment() or [DEFAULT_KEY]
    except argparse.ArgumentTypeError as error:
        return _fail(str(error))
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
        return _fail(str(error))
    return OK


def _say_ready(url: str, database: Path, keys: Sequence[str]) -> None:
    # Given keys may be real ones and are not shown; the built-in one is no secret.
    hint = DEFAULT_KEY if list(keys) == [DEFAULT_KEY] else f"one of the {len(keys)} given"
    sys.stdout.write(
        f"banyan-hp local backend on {url}\n  database:  {database.absolute()}\n  X-API-Key: {hint}\n"
    )
    sys.stdout.flush()


def _keys_of_environment() -> list[str]:
    """The keys in the environment variable; none if it is not set, or empty."""
    text = os.environ.get(KEYS_VARIABLE, "")
    keys = [key for each in text.split(",") if (key := each.strip())]
    if text and not keys:
        raise argparse.ArgumentTypeError(f"{KEYS_VARIABLE} must hold keys separated by commas, held none")
    return keys


def _fail(reason: str) -> int:
    sys.stderr.write(f"banyan-hp: {reason}\n")
    return WRONG


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


if __name__ == "__main__":
    sys.exit(main())
