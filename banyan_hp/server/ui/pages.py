"""All pages of the application."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from . import (
    aims,
    calls,
    experiment_forms,
    experiments,
    guide,
    login,
    overview,
    prompts,
    ratings,
    review,
    sessions,
    settings,
    shares,
    traces,
)
from .assets import assets_routes
from .rendering import nowhere


def add_pages(app: FastAPI) -> None:
    """Add them, and what they load, to the backend's application."""
    app.router.routes.extend(assets_routes())
    app.add_exception_handler(HTTPException, nowhere)
    everyday = (login, overview, calls, sessions, traces, review, ratings, prompts)
    for each in (*everyday, experiment_forms, shares, aims, experiments, settings, guide):
        app.include_router(each.router)
