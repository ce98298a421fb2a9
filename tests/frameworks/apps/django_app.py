"""The application in Django, for WSGI and ASGI."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.frameworks.apps import PARTS, log, log_twice

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["banyan_hp.integrations.django"],
    MIDDLEWARE=["banyan_hp.integrations.django.BanyanMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    LOGGING_CONFIG=None,
    BANYAN_HP={
        "BASE_URL": os.environ["BANYAN_BASE_URL"],
        "FLUSH_INTERVAL": 0.1,
        "USER": f"{__name__}.user_of",
        "SESSION": lambda request: request.headers.get("X-Session"),
        "ANONYMOUS_COOKIE": "visitor",
        "HEALTH_PATH": "/healthz/banyan",
    },
)


def user_of(request: HttpRequest) -> Any:
    return request.headers.get("X-User")


def ask(_request: HttpRequest, number: int) -> HttpResponse:
    log_twice(number)
    return HttpResponse("ok")


async def ask_async(_request: HttpRequest, number: int) -> HttpResponse:
    await asyncio.to_thread(log, number, "thread")
    log(number, "handler")
    return HttpResponse("ok")


def stream(_request: HttpRequest, number: int) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        try:
            for part in range(PARTS):
                log(number, f"part {part}")
                yield f"{part}\n"
        finally:
            log(number, "closed")

    return StreamingHttpResponse(parts())


async def stream_async(_request: HttpRequest, number: int) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        try:
            for part in range(PARTS):
                log(number, f"part {part}")
                yield f"{part}\n"
                await asyncio.sleep(0)
        finally:
            log(number, "closed")

    return StreamingHttpResponse(parts())


def broken(_request: HttpRequest, number: int) -> HttpResponse:
    raise LookupError(number)


async def broken_async(_request: HttpRequest, number: int) -> HttpResponse:
    raise LookupError(number)


def handler500(request: HttpRequest) -> HttpResponse:
    log(int(request.path.rpartition("/")[2]), "error page")
    return HttpResponse("broken", status=500)


def healthz(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("ask/<int:number>", ask),
    path("async/<int:number>", ask_async),
    path("stream/<int:number>", stream),
    path("async-stream/<int:number>", stream_async),
    path("broken/<int:number>", broken),
    path("async-broken/<int:number>", broken_async),
    path("healthz", healthz),
]

django.setup()
wsgi = get_wsgi_application()
asgi = get_asgi_application()
