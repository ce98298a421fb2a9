"""The application in Flask."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Flask, Response, request

import banyan_hp as banyan
from banyan_hp.integrations.wsgi import WSGIMiddleware
from tests.frameworks.apps import PARTS, log, log_twice

banyan.configure(flush_interval=0.1)
app = Flask(__name__)
app.wsgi_app = WSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    user=lambda environ: environ.get("HTTP_X_USER"),
    session=lambda _: request.headers.get("X-Session"),
    anonymous_cookie="visitor",
    health_path="/healthz/banyan",
)


@app.get("/ask/<int:number>")
def ask(number: int) -> str:
    log_twice(number)
    return "ok"


@app.get("/stream/<int:number>")
def stream(number: int) -> Response:
    def parts() -> Iterator[str]:
        try:
            for part in range(PARTS):
                log(number, f"part {part}")
                yield f"{part}\n"
        finally:
            log(number, "closed")

    return Response(parts())


@app.get("/broken/<int:number>")
def broken(number: int) -> str:
    raise LookupError(number)


@app.errorhandler(500)
def on_error(_error: Exception) -> tuple[str, int]:
    log(int(request.path.rpartition("/")[2]), "error page")
    return "broken", 500


@app.get("/healthz")
def healthz() -> str:
    return str(os.getpid())
