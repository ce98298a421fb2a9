"""The ASGI application: one list of routes for each part of the API, over one database.

A further API is a further `*_routes.py` and a line here; each says itself how its callers are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from banyan_hp.server.answers import EXCEPTION_HANDLERS, Json
from banyan_hp.server.auth import ApiKeys
from banyan_hp.server.database import Database
from banyan_hp.server.experiment_routes import experiment_routes
from banyan_hp.server.experiments import Experiments
from banyan_hp.server.interaction_routes import interaction_routes
from banyan_hp.server.log_routes import log_routes
from banyan_hp.server.modes import RoutingMode
from banyan_hp.server.prompt_routes import prompt_routes
from banyan_hp.server.prompt_routing import PromptRouting
from banyan_hp.server.prompts import Prompts
from banyan_hp.server.records import INTERACTIONS, LOGS, Records


def create_app(
    database: Database, api_keys: Sequence[str], routing: RoutingMode = RoutingMode.SERVER
) -> Starlette:
    """The backend over `database`, for callers who have one of `api_keys`.

    `routing` says what a fetched prompt's answer tells of experiments.
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
    ]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    # Many clients lose a redirected POST's body; a 404 says better what is wrong.
    app.router.redirect_slashes = False
    return app


async def _validate(_request: Request) -> Response:
    return Json({"valid": True})
