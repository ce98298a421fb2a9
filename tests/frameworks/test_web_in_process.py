"""Flask and FastAPI without a server: what their own parts do to a request's context."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

import banyan_hp as banyan
from banyan_hp.integrations.asgi import ASGIMiddleware
from banyan_hp.integrations.wsgi import WSGIMiddleware
from banyan_hp.testing import CapturedRecords, capture
from tests.unit.integrations.web_apps import asgi_async, http_scope


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    with capture() as captured:
        yield captured


def flask_app(**options: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "x"
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, **options)  # type: ignore[method-assign]

    @app.get("/in")
    def log_in() -> str:
        flask.session["user"] = "u1"
        return "ok"

    @app.get("/orders/<int:number>")
    def order(number: int) -> str:
        if number == 500:
            raise LookupError(number)
        if number == 418:
            raise ValueError(number)
        return str(number)

    @app.errorhandler(ValueError)
    def on_value_error(_error: ValueError) -> tuple[str, int]:
        return "no", 400

    return app


def test_flask_s_session_knows_the_user_of_an_interaction(records: CapturedRecords) -> None:
    """It is asked while Flask still has the request; the path is the rule's."""
    client = flask_app(interaction=True, user=lambda _: flask.session.get("user")).test_client()
    client.get("/in", buffered=True)
    client.get("/orders/7", buffered=True)
    assert [record["metadata"]["user_id"] for record in records] == ["u1", "u1"]
    assert (records[1]["input"], records[1]["metadata"]["path"]) == ("GET /orders/7", "/orders/<int:number>")


def test_nobody_is_asked_when_flask_has_forgotten_the_request(records: CapturedRecords) -> None:
    """A visitor without a user costs no error; another request may be handled in the thread by then."""
    asked: list[bool] = []

    def user(_environ: object) -> str | None:
        asked.append(flask.has_request_context())
        found: str | None = flask.session.get("user")
        return found

    client = flask_app(interaction=True, user=user).test_client()
    client.get("/orders/7", buffered=True)
    response = client.get("/orders/8")
    del response
    assert set(asked) == {True}
    assert [record["input"] for record in records] == ["GET /orders/7", "GET /orders/8"]


def test_flask_s_500_is_an_error_and_what_a_handler_handles_is_not(records: CapturedRecords) -> None:
    """Flask makes a response of it before the middleware sees it."""
    client = flask_app(interaction=True).test_client()
    assert client.get("/orders/500", buffered=True).status_code == 500
    assert client.get("/orders/418", buffered=True).status_code == 400
    errors = [record["metadata"].get("error") for record in records]
    assert errors == ["LookupError: 500", None]


@pytest.mark.parametrize("outside", [False, True])
def test_fastapi_s_handler_of_all_exceptions(outside: bool, records: CapturedRecords) -> None:
    """It runs outside of added middlewares, and inside of one that is around the application."""
    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(number: int) -> str:
        raise LookupError(number)

    @app.exception_handler(Exception)
    async def on_error(_request: object, _error: Exception) -> PlainTextResponse:
        banyan.log_prompt("page", "a")
        return PlainTextResponse("broken", 500)

    served: Any = app
    if outside:
        served = ASGIMiddleware(app, interaction=True)
    else:
        app.add_middleware(ASGIMiddleware, interaction=True)

    async def ask() -> None:
        with pytest.raises(LookupError):
            await asgi_async(served, http_scope("/orders/7"))

    asyncio.run(ask())
    said = {record["input"]: record["metadata"] for record in records}
    assert said["GET /orders/7"]["error"] == "LookupError: 7"
    assert said["GET /orders/7"]["path"] == "/orders/{number}"
    assert said["page"].get("path") == ("/orders/{number}" if outside else None)
    assert "error" not in said["page"]
