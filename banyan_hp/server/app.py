"""The ASGI application: one router for each resource, over the stores of one database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    nullcontext,
)
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from .._version import __version__
from .api import calls, experiments, follow, health, projects, prompts, records, results, scores, traces
from .api.auth import Caller, Callers
from .api.committer import Committer
from .api.document import DocumentedApp
from .api.feedback import FeedbackOrigins, feedback_router, new_limit
from .api.feeds import Feeds
from .api.health import SearchLag
from .api.hosts import HostCheck
from .api.intake import intake_router
from .api.otlp import otlp_router
from .api.requests import BODY_SECONDS
from .api.responses import EXCEPTION_HANDLERS, PrivateResponses
from .api.state import Stores
from .deriving import Deriving, rule_of
from .guards import Guards
from .housekeeping import Housekeeping
from .prices import Prices, bundled
from .retention import Retention
from .starting import RoutingMode
from .store.audit import Audit
from .store.calls import Calls
from .store.database import Database
from .store.experiments import Experiments
from .store.hours import Hours
from .store.keys import Keys, Projects
from .store.logins import Logins
from .store.outcomes import Outcomes
from .store.prompts import Prompts
from .store.sessions import Sessions
from .store.spans import Spans, StoredEvent, StoredSpan
from .store.sql_calls import SqlCalls
from .store.sql_hours import SqlHours
from .store.sql_outcomes import SqlOutcomes
from .store.sql_sessions import SqlSessions
from .store.sql_spans import SqlSpans
from .store.sql_traces import SqlTraces
from .store.traces import Traces
from .ui.pages import add_pages
from .ui.ratings import Ratings
from .ui.settings import Served

GATHER_SECONDS = 0.2  # each insert into ClickHouse is a part to be merged: fewer and larger ones cost less
_ALWAYS: Any = {
    "title": "banyan_hp backend",
    "version": __version__,
    "docs_url": None,  # its page would load scripts from elsewhere
    "redoc_url": None,
    "exception_handlers": EXCEPTION_HANDLERS,
    "redirect_slashes": False,  # many clients lose a redirected POST's body; a 404 says better what is wrong
    "strict_content_type": False,
}
_Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    database: Database,
    keys: Mapping[str, Caller],
    routing: RoutingMode = RoutingMode.SERVER,
    *,
    calls: str | None = None,
    cluster: str | None = None,
    allowed_hosts: Collection[str] | None = None,
    body_seconds: float = BODY_SECONDS,
    retain: timedelta | None = None,
    archive: Path | None = None,
    prices: Prices | None = None,
    trusted_proxies: Collection[str] = (),
    feedback_origins: Collection[str] = (),
) -> FastAPI:
    """The backend over `database`.

    Args:
        database: what it keeps its data in.
        keys: who has which key, besides those in the database.
        routing: what a fetched prompt says about experiments.
        calls: the URL of a ClickHouse that has calls and spans; None: the database has them.
        cluster: the cluster of ClickHouse whose shards have them; None: the server at that URL has them.
        allowed_hosts: names that requests may be addressed to, besides those of this machine; None: any.
        body_seconds: how long a request's body may take to arrive.
        retain: how long calls are kept; None: for ever.
        archive: a directory that gets calls as Parquet files before they are removed. Needs pyarrow.
        prices: what models cost; None: those that the package brings along.
        trusted_proxies: addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
        feedback_origins: origins whose pages may send feedback from other hosts.
    """
    stores = stores_of(database, routing, calls, cluster)
    committer, span_committer = _committers(stores, GATHER_SECONDS if calls is not None else 0.0)
    guards = Guards(database, stores.experiments, stores.outcomes, stores.audit)
    housekeeping = Housekeeping(stores.calls, committer.busy, [stores.outcomes.step, guards.step])
    priced = prices or bundled()
    deriving = Deriving(stores.spans, rule_of(priced), span_committer.busy)
    app = DocumentedApp(
        middleware=list(_middleware(allowed_hosts, feedback_origins, trusted_proxies)),
        lifespan=_lifespan(
            *(committer, span_committer, housekeeping, deriving),
            _retention(stores, database, retain, archive),
        ),
        **_ALWAYS,
    )
    _include(
        app,
        intake_router(committer, priced),
        feedback_router(committer, priced),
        otlp_router(span_committer, committer),
    )
    add_pages(app)
    _give(app, stores=stores, callers=Callers(stores.keys, keys), body_seconds=body_seconds)
    app.state.logins, app.state.ratings = Logins(database), Ratings(committer, priced)
    app.state.served = Served(database, retain, archive is not None)
    return app


def _committers(stores: Stores, gather: float) -> tuple[Committer, Committer[StoredSpan | StoredEvent]]:
    calls = Committer(stores.calls.append_rows, stores.calls.rows, gather)
    return calls, Committer(stores.spans.append, gather_seconds=gather)


def _middleware(
    allowed_hosts: Collection[str] | None,
    feedback_origins: Collection[str],
    trusted_proxies: Collection[str],
) -> Iterator[Middleware]:
    """What every request passes, outermost first."""
    yield Middleware(PrivateResponses)
    if allowed_hosts is not None:
        yield Middleware(HostCheck, allowed=allowed_hosts)
    if feedback_origins:
        yield Middleware(FeedbackOrigins, origins=feedback_origins)
    if trusted_proxies:
        yield Middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted_proxies))


def _include(app: FastAPI, *intake: APIRouter) -> None:
    """One router for each resource."""
    for router in (
        *intake,
        records.router,
        follow.router,  # before a call whose id might be the same
        calls.router,
        traces.router,
        scores.router,
        prompts.router,
        results.router,  # before an experiment whose id might end the same
        experiments.router,
        projects.router,
        health.router,
    ):
        app.include_router(router)


def _give(app: FastAPI, *, stores: Stores, callers: Callers, body_seconds: float) -> None:
    """What routes find in the application's state."""
    app.state.stores = stores
    app.state.feeds = Feeds(stores.calls)
    app.state.search_lag = SearchLag(stores.calls)
    app.state.callers = callers
    app.state.body_seconds = body_seconds
    app.state.feedback_limit = new_limit()


def stores_of(
    database: Database,
    routing: RoutingMode = RoutingMode.SERVER,
    calls: str | None = None,
    cluster: str | None = None,
) -> Stores:
    """All stores of a database, and of the ClickHouse at the URL `calls`, if there is one, or its cluster."""
    of_calls = _in_clickhouse(calls, cluster, database) if calls is not None else _in_database(database)
    return Stores(
        of_calls.calls,
        of_calls.spans,
        Prompts(database),
        Experiments(database),
        Projects(database),
        Keys(database),
        Audit(database),
        of_calls.hours,
        of_calls.sessions,
        of_calls.traces,
        of_calls.outcomes,
        routing,
    )


class _OfCalls(NamedTuple):
    """The stores that are where the calls are."""

    calls: Calls
    spans: Spans
    hours: Hours
    sessions: Sessions
    traces: Traces
    outcomes: Outcomes


def _in_database(database: Database) -> _OfCalls:
    of_calls = SqlCalls(database)
    return _OfCalls(
        of_calls,
        SqlSpans(database, of_calls),
        SqlHours(database),
        SqlSessions(database),
        SqlTraces(database),
        SqlOutcomes(database),
    )


def _in_clickhouse(url: str, cluster: str | None, database: Database) -> _OfCalls:
    from .store.clickhouse.calls import ClickHouseCalls  # an extra
    from .store.clickhouse.client import ClickHouse
    from .store.clickhouse.hours import ClickHouseHours
    from .store.clickhouse.outcomes import ClickHouseOutcomes
    from .store.clickhouse.sessions import ClickHouseSessions
    from .store.clickhouse.spans import ClickHouseSpans
    from .store.clickhouse.traces import ClickHouseTraces

    clickhouse = ClickHouse(url, cluster)
    of_calls = ClickHouseCalls(clickhouse, database)
    return _OfCalls(
        of_calls,
        ClickHouseSpans(clickhouse, database, of_calls),
        ClickHouseHours(clickhouse),
        ClickHouseSessions(clickhouse),
        ClickHouseTraces(clickhouse),
        ClickHouseOutcomes(clickhouse, database),
    )


def _retention(
    stores: Stores, database: Database, retain: timedelta | None, archive: Path | None
) -> AbstractContextManager[object]:
    if retain is None:
        return nullcontext()
    if archive is None:
        return Retention(stores.calls, database, retain, spans=stores.spans)
    from .store.archive import Archive  # pyarrow takes its time, and is an extra

    return Retention(stores.calls, database, retain, lambda: Archive(archive), stores.spans)


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
