"""The web middlewares, as an application's type checker sees them. Checked, never run."""

# pyright: strict
from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.integrations.asgi import ASGIMiddleware
from banyan_hp.integrations.wsgi import WSGIMiddleware

if TYPE_CHECKING:

    def user_of(environ: dict[str, Any]) -> str | None:
        return environ.get("REMOTE_USER")

    def user_in(scope: MutableMapping[str, Any]) -> UUID | int | None:
        return 7 if scope["type"] == "http" else None

    def of_flask(app: Flask, logger: PromptStackLogger) -> None:
        WSGIMiddleware(app.wsgi_app)
        WSGIMiddleware(
            app.wsgi_app,
            user=user_of,
            session=None,
            request_id_header=None,
            anonymous_cookie="visitor",
            anonymous_cookie_max_age=3600,
            health_path="/healthz/banyan",
            interaction=lambda environ: environ["PATH_INFO"],
            logger=logger,
        )
        WSGIMiddleware(app, interaction=True)

    def of_fastapi_and_starlette(app: FastAPI, client: HuggingPlace) -> FastAPI:
        app.add_middleware(ASGIMiddleware, user=user_in, logger=client, flush_timeout=2)
        ASGIMiddleware(app, user=lambda scope: str(scope["client"]))
        Starlette(middleware=[Middleware(ASGIMiddleware, user=user_in)])
        return app

    def mistakes(app: Flask, api: FastAPI) -> None:
        WSGIMiddleware(app.wsgi_app, users=user_of)  # type: ignore[call-arg]
        WSGIMiddleware(app.wsgi_app, user="u1")  # type: ignore[arg-type]
        ASGIMiddleware(api, user=lambda _: [])  # type: ignore[arg-type, return-value]
        ASGIMiddleware(api, health_path=5)  # type: ignore[arg-type]
