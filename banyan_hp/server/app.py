"""The ASGI application: one list of routes for each part of the API, over one database.

A further API is a further `*_routes.py` and a line here; each says itself how its callers are known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .auth import ApiKeys
from .database import Database
from .docs import docs_routes
from .experiment_routes import experiment_routes
from .experiments import Experiments
from .hosts import HostCheck
from .prompt_routes import PromptRouting, prompt_routes
from .prompts import Prompts
from .record_routes import interaction_routes, log_routes
from .records import INTERACTIONS, LOGS, Records
from .requests import BODY_SECONDS
from .responses import EXCEPTION_HANDLERS, Json, PrivateResponses
from .starting import RoutingMode


def create_app(
    database: Database,
    api_keys: Sequence[str],
    routing: RoutingMode = RoutingMode.SERVER,
    *,
    allowed_hosts: Collection[str] | None = None,
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """The backend over `database`, for callers with one of `api_keys`.

    Args:
        database: what it keeps its data in.
        api_keys: the keys that are good.
        routing: what a fetched prompt says about experiments.
        allowed_hosts: names that requests may be addressed to, besides those of this machine; None: any.
        body_seconds: how long a request's body may take to arrive.
    """
    keys = ApiKeys(api_keys)
    prompts = Prompts(database)
    experiments = Experiments(database, prompts)
    logs = Records(database, LOGS)
    routes = [
        Route("/api/auth/validate", keys.guard(_validate), methods=["GET"]),
        *log_routes(logs, keys),
        *interaction_routes(Records(database, INTERACTIONS), keys),
        *prompt_routes(prompts, PromptRouting(experiments, routing), keys),
        *experiment_routes(experiments, prompts, logs, keys),
        *docs_routes(),
    ]
    checks = [] if allowed_hosts is None else [Middleware(HostCheck, allowed=allowed_hosts)]
    middleware = [Middleware(PrivateResponses), *checks]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS, middleware=middleware)
    app.state.body_seconds = body_seconds
    # Many clients lose a redirected POST's body; a 404 says better what is wrong.
    app.router.redirect_slashes = False
    return app


async def _validate(_request: Request) -> Response:
    return Json({"valid": True})
