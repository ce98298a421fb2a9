"""The ASGI application: one router for each resource, over the stores of one database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    nullcontext,
)
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware

from .._version import __version__
from .api import calls, experiments, follow, health, projects, prompts, records
from .api.auth import Caller, Callers
from .api.committer import Committer
from .api.document import DocumentedApp
from .api.feeds import Feeds
from .api.hosts import HostCheck
from .api.intake import intake_router
from .api.requests import BODY_SECONDS
from .api.responses import EXCEPTION_HANDLERS, PrivateResponses
from .api.state import Stores
from .docs import docs_routes
from .housekeeping import Housekeeping
from .prices import Prices, bundled
from .retention import Retention
from .starting import RoutingMode
from .store.audit import Audit
from .store.calls import Calls
from .store.database import Database
from .store.experiments import Experiments
from .store.keys import Keys, Projects
from .store.logins import Logins
from .store.prompts import Prompts
from .store.sessions import Sessions
from .store.sql_calls import SqlCalls
from .ui.pages import add_pages
from .ui.settings import Served

_Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    database: Database,
    keys: Mapping[str, Caller],
    routing: RoutingMode = RoutingMode.SERVER,
    *,
    allowed_hosts: Collection[str] | None = None,
    body_seconds: float = BODY_SECONDS,
    retain: timedelta | None = None,
    archive: Path | None = None,
    prices: Prices | None = None,
) -> FastAPI:
    """The backend over `database`.

    Args:
        database: what it keeps its data in.
        keys: who has which key, besides those in the database.
        routing: what a fetched prompt says about experiments.
        allowed_hosts: names that requests may be addressed to, besides those of this machine; None: any.
        body_seconds: how long a request's body may take to arrive.
        retain: how long calls are kept; None: for ever.
        archive: a directory that gets calls as Parquet files before they are removed. Needs pyarrow.
        prices: what models cost; None: those that the package brings along.
    """
    stores = stores_of(database, routing)
    committer = Committer(stores.calls)
    housekeeping = Housekeeping(stores.calls, committer.busy)
    checks = [] if allowed_hosts is None else [Middleware(HostCheck, allowed=allowed_hosts)]
    app = DocumentedApp(
        title="banyan_hp backend",
        version=__version__,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(PrivateResponses), *checks],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=_lifespan(committer, housekeeping, _retention(stores.calls, database, retain, archive)),
        redirect_slashes=False,  # many clients lose a redirected POST's body; a 404 says better what is wrong
        strict_content_type=False,
    )
    _include(app, committer, prices or bundled())
    app.router.routes.extend(docs_routes())
    add_pages(app)
    _give(app, stores=stores, callers=Callers(stores.keys, keys), body_seconds=body_seconds)
    app.state.logins = Logins(database)
    app.state.served = Served(database, retain, archive is not None)
    return app


def _include(app: FastAPI, committer: Committer, prices: Prices) -> None:
    """One router for each resource."""
    for router in (
        intake_router(committer, prices),
        records.router,
        follow.router,  # before a call whose id might be the same
        calls.router,
        prompts.router,
        experiments.router,
        projects.router,
        health.router,
    ):
        app.include_router(router)


def _give(app: FastAPI, *, stores: Stores, callers: Callers, body_seconds: float) -> None:
    """What routes find in the application's state."""
    app.state.stores = stores
    app.state.feeds = Feeds(stores.calls)
    app.state.callers = callers
    app.state.body_seconds = body_seconds


def stores_of(database: Database, routing: RoutingMode = RoutingMode.SERVER) -> Stores:
    """All stores of a database."""
    return Stores(
        SqlCalls(database),
        Prompts(database),
        Experiments(database),
        Projects(database),
        Keys(database),
        Audit(database),
        Sessions(database),
        routing,
    )


def _retention(
    calls: Calls, database: Database, retain: timedelta | None, archive: Path | None
) -> AbstractContextManager[object]:
    if retain is None:
        return nullcontext()
    if archive is None:
        return Retention(calls, database, retain)
    from .store.archive import Archive  # pyarrow takes its time, and is an extra

    return Retention(calls, database, retain, lambda: Archive(archive))


def _lifespan(
    *running: AbstractContextManager[object],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(_app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            for each in running:
                stack.enter_context(each)
            yield

    return run
