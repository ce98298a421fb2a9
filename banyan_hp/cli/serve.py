"""`banyan-hp serve`: runs the local backend. Its libraries, an extra, are imported when it runs."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..engine.threads import ThreadStart
from ..server.starting import DEMO_KEY, KEYS_VARIABLE, ROUTING_MODES, RoutingMode
from .databases import (
    DATABASE_NAME,
    add_calls,
    add_database,
    calls_of,
    cluster_of,
    database_of,
    retain,
    using_the_server,
)
from .terminal import DONE, WRONG, CommandError, complain

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from ..server.serving import Started


MOST_WORKERS = 64
_ORIGIN = re.compile(r"https?://[^/?#\s@]+")


def add_serve(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `serve` with its options."""
    serve = commands.add_parser(
        "serve", help="run the local backend: the Banyan and HuggingPlace HTTP APIs over SQLite or PostgreSQL"
    )
    serve.set_defaults(run=_serve)
    _add_access(serve)
    _add_data(serve)
    workers_help = "how many processes serve; several only with PostgreSQL (default: %(default)s)"
    serve.add_argument("--workers", type=_workers, default=1, metavar="N", help=workers_help)
    serve.add_argument("--open", action="store_true", help="open the pages in a browser, logged in")
    serve.add_argument("--verbose", action="store_true", help="log each request on stderr")


def _add_access(serve: ArgumentParser) -> None:
    """Who reaches it, where."""
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    port_help = "port to listen on; 0 picks a free one (default: %(default)s)"
    add("--port", type=_port, default=8787, help=port_help)
    key_help = (
        'an admin key of the project "default", may be repeated; ps shows it to other users of this machine, '
        f"unlike a --keys-file, the environment variable {KEYS_VARIABLE}, or keys of 'banyan-hp keys create' "
        "(default: on 127.0.0.1 and other addresses of this machine alone, one that is made and kept for "
        f"clients of this user; with --demo: {DEMO_KEY})"
    )
    add("--api-key", action="append", default=[], type=_key, metavar="KEY", help=key_help)
    file_help = (
        f"a file of keys, one a line, each KEY or PROJECT:ROLE:KEY, with a role of ingest, read or admin; "
        f"{KEYS_VARIABLE} holds the same, separated by commas"
    )
    add("--keys-file", type=Path, metavar="FILE", help=file_help)
    host_help = (
        "a name that requests may be addressed to, may be repeated (default: on 127.0.0.1 and other "
        "addresses of this machine alone, only localhost and such addresses; else any)"
    )
    add("--allowed-host", action="append", default=[], metavar="NAME", help=host_help)
    _add_feedback(serve)


def _add_feedback(serve: ArgumentParser) -> None:
    """Who may send feedback without a key."""
    add = serve.add_argument
    proxy_help = (
        "an address or network of proxies, may be repeated: their X-Forwarded-For says which address a "
        "request comes from, their X-Forwarded-Proto whether it came by HTTPS (default: nobody's do)"
    )
    add("--trusted-proxy", action="append", default=[], type=_network, metavar="ADDRESS", help=proxy_help)
    origin_help = (
        "the origin of pages that send feedback to another host than their own, as https://example.com, may "
        "be repeated (default: none)"
    )
    add("--feedback-origin", action="append", default=[], type=_origin, metavar="ORIGIN", help=origin_help)


def _add_data(serve: ArgumentParser) -> None:
    """What it holds."""
    add = serve.add_argument
    add_database(serve)
    add_calls(serve)
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
    _add_keeping(serve)


def _add_keeping(serve: ArgumentParser) -> None:
    add = serve.add_argument
    retain_help = (
        "remove calls that are older, as in 30d, a whole day at a time; of several servers, one does it, and "
        "a ClickHouse does it itself"
    )
    add("--retain", type=retain, metavar="DAYS", help=retain_help)
    archive_help = (
        "write calls to Parquet files in this directory before --retain removes them; needs pyarrow"
    )
    add("--archive", type=Path, metavar="DIR", help=archive_help)
    prices_help = "prices per model, for calls logged without a cost (default: those of the package)"
    add("--prices", type=Path, metavar="FILE.json", help=prices_help)


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.archive is not None and arguments.retain is None:
        raise CommandError("--archive needs --retain, which says what goes there", WRONG)
    if arguments.clickhouse_cluster is not None and calls_of(arguments) is None:
        raise CommandError("--clickhouse-cluster needs --calls, the ClickHouse that knows the cluster", WRONG)
    with using_the_server():
        from ..server.serving import ServeSettings, serve

        keys = _keys(arguments)
        with _database(arguments) as database:
            settings = ServeSettings(
                host=arguments.host,
                port=arguments.port,
                database=database,
                calls=calls_of(arguments),
                cluster=cluster_of(arguments),
                keys=keys,
                keys_file=arguments.keys_file,
                seed=arguments.seed,
                verbose=arguments.verbose,
                routing=arguments.routing,
                allowed_hosts=arguments.allowed_host,
                retain=arguments.retain,
                archive=arguments.archive,
                prices=arguments.prices,
                workers=arguments.workers,
                trusted_proxies=arguments.trusted_proxy,
                feedback_origins=arguments.feedback_origin,
            )
            serve(
                settings,
                lambda started: _when_ready(started, keys, demo=arguments.demo, opens=arguments.open),
            )
    return DONE


def _keys(arguments: argparse.Namespace) -> list[str]:
    """The keys of the options, or else those in the environment variable, or else that of the demo."""
    if arguments.demo and arguments.keys_file is not None:
        raise CommandError(f"--demo takes its keys from --api-key or {KEYS_VARIABLE}", WRONG)
    if arguments.api_key or arguments.keys_file is not None:
        return [f"default:admin:{key}" for key in arguments.api_key]
    text = os.environ.get(KEYS_VARIABLE, "")
    keys = [key for each in text.split(",") if (key := each.strip())]
    if text and not keys:
        raise CommandError(f"{KEYS_VARIABLE} must hold keys separated by commas, held none", WRONG)
    return keys or ([DEMO_KEY] if arguments.demo else [])


# -- the database --------------------------------------------------------------------------------------------


def _database(arguments: argparse.Namespace) -> AbstractContextManager[str]:
    """The database's path or URL, while it is used.

    Raises:
        CommandError: there is no place for it, or it contradicts another option.
    """
    if not arguments.demo:
        return nullcontext(database_of(arguments))
    for option, given in (("--db", arguments.db), ("--calls", arguments.calls), ("--seed", arguments.seed)):
        if given is not None:
            raise CommandError(f"--demo has a database and prompts of its own: leave out {option}", WRONG)
    return _temporary_database()


@contextmanager
def _temporary_database() -> Iterator[str]:
    with TemporaryDirectory(prefix="banyan-hp-demo-") as directory:
        yield str(Path(directory, DATABASE_NAME))


# -- when it is ready ----------------------------------------------------------------------------------------


def _when_ready(started: Started, keys: list[str], *, demo: bool, opens: bool) -> None:
    # Given keys may be anybody's and are not shown; one made here is for its owner, that of demos for all.
    builtin = keys == [DEMO_KEY]
    given = "the one given" if started.given == 1 else f"one of the {started.given} given"
    of_others = given if started.given else "one of 'banyan-hp keys ls'"
    _write(
        f"banyan-hp local backend on {started.url}\n"
        f"  database:  {started.database}{' (gone when this process ends)' if demo else ''}\n"
        f"  X-API-Key: {DEMO_KEY if builtin else started.key or of_others}\n"
        f"  pages:     {started.pages}\n"
    )
    if demo:
        _beside(_put_demo_in, started, keys[0].rpartition(":")[2], DEMO_KEY if builtin else None)
    if opens:
        _beside(webbrowser.open, started.pages)


def _beside(work: Callable[..., object], *arguments: object) -> None:
    """On a thread: this one is to respond to its requests."""
    thread = threading.Thread(target=work, args=arguments, name=f"banyan-hp-{work.__name__}", daemon=True)
    with ThreadStart(thread) as start:
        start.make()


def _put_demo_in(started: Started, key: str, shown_key: str | None) -> None:
    from ..server.store.database import BusyError
    from .demo.loading import LoadingError, load
    from .demo.words import what_is_there, what_to_try

    try:
        with _redating(started.database) as redate:
            loaded = load(started.url, key, redate=redate)
    except (LoadingError, BusyError) as error:
        complain(f"the demo's data are incomplete: {error}")
        return
    _write(what_is_there(loaded) + what_to_try(started.url, shown_key))


@contextmanager
def _redating(database: str) -> Iterator[Callable[[str, Sequence[datetime]], None]]:
    """What gives the demo's experiments a past: no request can, so it goes to the database itself."""
    from ..server.store.database import Database
    from ..server.store.experiments import Experiments
    from ..server.store.keys import DEFAULT_PROJECT

    with closing(Database(database, migrated=False)) as opened:
        yield partial(Experiments(opened).redate, DEFAULT_PROJECT)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, was {text!r}")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MOST_WORKERS}, was {text!r}")
    return int(text)


def _network(text: str) -> str:
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an IP address or a network, was {text!r}") from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def _origin(text: str) -> str:
    if _ORIGIN.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"must be as https://example.com, without a path, was {text!r}")
    return text.lower()


def _routing(text: str) -> RoutingMode:
    if text not in ROUTING_MODES:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(ROUTING_MODES)}, was {text!r}")
    return RoutingMode(text)


def _key(text: str) -> str:
    if text.strip() != text or not text:
        raise argparse.ArgumentTypeError("must be a key without spaces around it")
    return text
