"""Running the backend: the listening socket, uvicorn, signals, and what is said on the way.

The command line's words and exit codes are in `banyan_hp.cli.main`.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from .api.auth import Caller
from .api.hosts import is_loopback
from .app import create_app, stores_of
from .connections import Connection
from .opening import check_exposed, given_keys, own_key, prepare_calls
from .prices import Prices, PricesError, bundled
from .seed import load_seed
from .starting import RoutingMode, StartError
from .store.database import Database
from .store.keys import Keys, Role, digest_of
from .store.logins import Logins
from .store.seeded import Seeded
from .workers import Workers

BACKLOG = 2048
# Longer than common clients keep an idle connection, so that they and not we close it:
# a request sent into a connection that we are closing would be lost to its sender.
KEEP_ALIVE_SECONDS = 75
STOP_SECONDS = 2  # for requests that are still arriving


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `banyan-hp serve` was asked for."""

    host: str
    port: int
    database: str
    """The path of a SQLite file, or ``postgresql://…``."""
    calls: str | None = field(default=None, repr=False)
    """The URL of a ClickHouse that has calls and spans; None: the database has them."""
    cluster: str | None = None
    """The cluster of ClickHouse whose shards have them; None: the server at `calls` has them."""
    keys: Sequence[str] = field(default=(), repr=False)
    """``KEY``, an admin's of the project "default", or ``PROJECT:ROLE:KEY``."""
    keys_file: Path | None = None
    """A file with more of them."""
    seed: Path | None = None
    verbose: bool = False
    routing: RoutingMode | None = None
    """None: what the seed says, else the server."""
    allowed_hosts: Sequence[str] = ()
    """Names that requests may be addressed to. Without any: those of this machine where nobody else can reach
    `host`, else all."""
    retain: timedelta | None = None
    """How long calls are kept; None: for ever."""
    archive: Path | None = None
    """A directory that gets calls as Parquet files before they are removed."""
    prices: Path | None = None
    """A table of prices per model, instead of the package's."""
    workers: int = 1
    """How many processes serve; several only with PostgreSQL."""
    trusted_proxies: Sequence[str] = ()
    """Addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` count."""
    feedback_origins: Sequence[str] = ()
    """Origins whose pages may send feedback from other hosts."""

    @property
    def expires_after(self) -> timedelta | None:
        """How long a ClickHouse keeps calls before it removes them itself; not if an archive gets them."""
        return self.retain if self.archive is None else None


@dataclass(frozen=True, slots=True)
class Started:
    """What a backend says of itself once connections are accepted.

    Attributes:
        url: its base URL.
        database: its name, without a password.
        given: how many keys it was given.
        key: the one that it made, or has kept; None: it was given some, or the database's are to be used.
        pages: where a browser sees what has arrived; on this machine the link logs in, once.
    """

    url: str
    database: str
    given: int
    key: str | None = field(repr=False)
    pages: str = field(repr=False)


def serve(settings: ServeSettings, announce: Callable[[Started], None]) -> None:
    """Serve until SIGTERM or SIGINT; `StartError` when it can't begin.

    `announce` is called once connections are accepted.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _exit)
    _log(settings)
    _check_archive(settings.archive)
    prices = _prices(settings.prices)
    keys = given_keys(settings.keys, settings.keys_file)
    database = Database(settings.database)
    try:
        _check_workers(settings, database)
        prepare_calls(settings.calls, settings.cluster, settings.expires_after)
        stores = stores_of(database)
        stores.projects.know({caller.project for caller in keys.values()})
        seeded = load_seed(settings.seed, stores, Seeded(database)) if settings.seed is not None else None
        routing = settings.routing or seeded or RoutingMode.SERVER
        with _listen(settings.host, settings.port) as listener:
            key = _opened(keys, stores.keys, listener)
            url = _url(settings.host, listener)
            pages = url + _login(database, keys, key, listener)
            started = Started(url, database.name, len(keys), key, pages)
            process = _Process(settings, keys, routing, prices, listener)
            if settings.workers == 1:
                process.serve(database, lambda: announce(started))
                return
            database.close()  # a worker opens its own
            Workers(settings.workers, process.work).run(lambda: announce(started))
    finally:
        database.close()


def _prices(file: Path | None) -> Prices:
    if file is None:
        return bundled()
    try:
        return Prices.of(file)
    except PricesError as error:
        raise StartError(str(error)) from error


def _check_workers(settings: ServeSettings, database: Database) -> None:
    if settings.workers > 1 and not database.is_postgres:
        raise StartError(
            f"--workers {settings.workers} needs PostgreSQL (--db postgresql://…): "
            "a SQLite file is served by one process"
        )
    if settings.workers > 1 and (settings.calls or "").startswith("chdb:"):
        raise StartError(
            f"--workers {settings.workers} needs a ClickHouse server (--calls clickhouse://…): "
            "an embedded one is used by one process"
        )


@dataclass(frozen=True, slots=True)
class _Process:
    """What one process does, or each of several."""

    settings: ServeSettings
    keys: Mapping[str, Caller]
    routing: RoutingMode
    prices: Prices
    listener: socket.socket

    def work(self, ready: Callable[[], None]) -> None:
        """Serve with a database of its own."""
        database = Database(self.settings.database)
        try:
            self.serve(database, ready)
        finally:
            database.close()

    def serve(self, database: Database, ready: Callable[[], None]) -> None:
        """Serve until a signal comes."""
        settings = self.settings
        app = create_app(
            database,
            self.keys,
            self.routing,
            calls=settings.calls,
            cluster=settings.cluster,
            allowed_hosts=_allowed_hosts(settings, self.listener),
            retain=settings.retain,
            archive=settings.archive,
            prices=self.prices,
            trusted_proxies=settings.trusted_proxies,
            feedback_origins=settings.feedback_origins,
        )
        server = _Server(_config(app, settings), ready, app.state.feeds.close)
        server.run(sockets=[self.listener])


def _check_archive(archive: Path | None) -> None:
    if archive is None:
        return
    try:
        from .store import archive as _  # noqa: F401 - pyarrow takes its time, and is an extra
    except ImportError as error:
        raise StartError("--archive needs pyarrow: pip install 'banyan-hp[archive]'") from error
    try:
        archive.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"can't use the archive {archive}: {error.strerror or error}") from error


def _opened(keys: Mapping[str, Caller], stored: Keys, listener: socket.socket) -> str | None:
    """The backend's own key, if it has one; and nothing is open to others that should not be."""
    address, port = listener.getsockname()[:2]
    if not is_loopback(address):
        check_exposed(keys, stored, f"{address}:{port}")
        return None
    return None if keys else own_key(_url(address, listener), stored)


def _login(database: Database, keys: Mapping[str, Caller], own: str | None, listener: socket.socket) -> str:
    """The path that a browser is to open. Who reads our output here may log in, as with the key."""
    admins = [key for key, caller in keys.items() if caller.role is Role.ADMIN]
    key = own or next(iter(admins), None)
    if key is None or not is_loopback(listener.getsockname()[0]):
        return "/"
    return f"/login?token={Logins(database).link(digest_of(key), datetime.now(UTC))}"


class _Server(uvicorn.Server):
    """uvicorn, that says when it is ready and when it stops."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stops: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stops = stops

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stops()  # it waits for all responses, and some have no end of their own
        await super().shutdown(sockets)


def _log(settings: ServeSettings) -> None:
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=_level(settings), stream=sys.stderr, format=form)


def _level(settings: ServeSettings) -> int:
    return logging.INFO if settings.verbose else logging.WARNING


def _config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",  # and not whatever happens to be installed: it behaves the same everywhere
        http=Connection,
        lifespan="on",
        ws="none",
        log_config=None,
        log_level=_level(settings),
        access_log=settings.verbose,
        server_header=False,
        proxy_headers=False,  # uvicorn would believe any program of this machine
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listening(family, address)
    except (OSError, UnicodeError) as error:  # UnicodeError: of a host that can't be a name, as "a..b"
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"can't listen on {host}:{port}: {reason}") from error


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it sees it,
    # and accepted connections inherit it from here.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _allowed_hosts(settings: ServeSettings, listener: socket.socket) -> list[str] | None:
    if settings.allowed_hosts or is_loopback(listener.getsockname()[0]):
        return [settings.host, *settings.allowed_hosts]
    return None


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _exit(_signum: int, _frame: FrameType | None) -> NoReturn:
    # While it serves, uvicorn handles the signals itself, stops in good order and then raises them
    # again for the handler that was there before: this one, which makes a wanted stop a success.
    raise SystemExit(0)
