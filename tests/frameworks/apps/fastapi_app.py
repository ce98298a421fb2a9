"""The application in FastAPI, with an included router and a mounted application."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from fastapi import APIRouter, BackgroundTasks, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

import banyan_hp as banyan
from banyan_hp.integrations.asgi import ASGIMiddleware
from tests.frameworks.apps import PARTS, log, log_twice

banyan.configure(flush_interval=0.1)
app = FastAPI()
router = APIRouter()
mounted = FastAPI()


@app.get("/ask/{number}")
async def ask(number: int) -> str:
    await asyncio.to_thread(log, number, "thread")
    log(number, "handler")
    return "ok"


@app.get("/plain/{number}")
def plain(number: int, tasks: BackgroundTasks) -> str:
    """In a thread of Starlette's pool; a background task logs after the response."""
    log_twice(number)
    tasks.add_task(log, number, "background")
    return "ok"


@app.get("/stream/{number}")
async def stream(number: int) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        try:
            for part in range(PARTS):
                log(number, f"part {part}")
                yield f"{part}\n"
                await asyncio.sleep(0)
        finally:
            log(number, "closed")

    return StreamingResponse(parts())


@app.get("/threads/{number}")
def stream_by_threads(number: int) -> StreamingResponse:
    def parts() -> Iterator[str]:
        for part in range(PARTS):
            log(number, f"part {part}")
            yield f"{part}\n"

    return StreamingResponse(parts())


@router.get("/ask/{number}")
async def included(number: int) -> str:
    log(number, "included")
    return "ok"


@mounted.get("/ask/{number}")
async def inner(number: int) -> str:
    log(number, "mounted")
    return "ok"


@app.get("/broken/{number}")
async def broken(number: int) -> str:
    raise LookupError(number)


@app.exception_handler(Exception)
async def on_error(request: Request, _error: Exception) -> PlainTextResponse:
    log(int(request.path_params["number"]), "error page")
    return PlainTextResponse("broken", 500)


@app.get("/healthz")
async def healthz() -> int:
    return os.getpid()


app.include_router(router, prefix="/v1")
app.mount("/sub", mounted)
application = ASGIMiddleware(
    app,
    user=lambda scope: dict(scope["headers"]).get(b"x-user", b"").decode(),
    session=lambda scope: Request(dict(scope)).headers.get("X-Session"),
    anonymous_cookie="visitor",
    health_path="/healthz/banyan",
)
