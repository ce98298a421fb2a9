"""All pages of the application."""

from __future__ import annotations

from fastapi import FastAPI

from . import calls, experiment_forms, experiments, login, prompts, settings
from .assets import assets_route


def add_pages(app: FastAPI) -> None:
    """Add them, and what they load, to the backend's application."""
    app.router.routes.append(assets_route())
    for each in (login, calls, prompts, experiment_forms, experiments, settings):
        app.include_router(each.router)
