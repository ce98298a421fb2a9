"""`BanyanMiddleware`, for sync and async Django, and the ids that it takes by default."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.signals import got_request_exception
from django.http import FileResponse, HttpRequest, HttpResponse
from django.utils.functional import LazyObject, empty

from ...tracking.span import CLOSED_EARLY
from ..request_scope import RequestScope
from ..web import health_answer, is_public
from ..wsgi import ScopedIterator, variable
from .configuration import middleware_settings

Response = Any
_ATTRIBUTE = "_banyan_hp_scope"


def loaded_user(request: HttpRequest) -> str | int | None:
    """The id of the logged-in user, if the view or a middleware has looked at `request.user` by now.

    Asking by itself would read the session and the user from the database, and make the response vary by
    cookie: a log call does neither.
    """
    user = request.__dict__.get("_acached_user") or request.__dict__.get("user")
    if isinstance(user, LazyObject) and user.__dict__.get("_wrapped", empty) is empty:
        return None
    found: str | int | None = user.pk if user is not None and user.is_authenticated else None
    return found


def hashed_session(request: HttpRequest) -> str | None:
    """A hash of the session's key, without reading the session. The key itself is as good as a password."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    return hashlib.sha256(f"banyan_hp {key}".encode()).hexdigest()[:32] if key else None


DEFAULTS = {"user": loaded_user, "session": hashed_session}


class BanyanMiddleware:
    """Surrounds each request with a `context()` of its own, until its response is closed.

    As `banyan_hp.integrations.wsgi.WSGIMiddleware`; its options are in the setting `BANYAN_HP`, in capitals,
    and are functions of Django's request. Put it first, so that all others are inside of it.

    Raises:
        ImproperlyConfigured: something in `BANYAN_HP` is wrong; the message names it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._settings = middleware_settings(READER, DEFAULTS)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Response | Awaitable[Response]:
        """Handle a request."""
        if self._is_async:
            return self._handle_async(request)
        if request.path_info == self._settings.health_path:
            return self._health(request)
        scope = self._opened(request)
        before = scope.resume()
        try:
            return self._covered(self._get_response(request), scope)
        except BaseException as error:
            scope.finish(error)
            raise
        finally:
            scope.pause(before)

    async def _handle_async(self, request: HttpRequest) -> Response:
        if request.path_info == self._settings.health_path:
            return self._health(request)
        scope = self._opened(request)
        before = scope.resume()
        try:
            return self._covered(await self._get_response(request), scope)
        except BaseException as error:
            scope.finish(error)
            raise
        finally:
            scope.pause(before)

    def _opened(self, request: HttpRequest) -> RequestScope:
        scope = RequestScope(self._settings, request)
        setattr(request, _ATTRIBUTE, scope)
        request.banyan_interaction = scope.interaction
        return scope

    def _covered(self, response: Response, scope: RequestScope) -> Response:
        """The response; of a streamed one, content and `close()` run in the scope."""
        if scope.interaction is not None:
            scope.read_in_time()
        if self._settings.anonymous_cookie is not None:
            _set_cookie(response, scope)
        if not response.streaming or isinstance(response, FileResponse):
            scope.finish()
        elif response.is_async:
            _cover_async(response, scope)
        else:
            _cover(response, scope)
        return response

    def _health(self, request: HttpRequest) -> HttpResponse:
        status, headers, body = health_answer(self._settings, request.method)
        return HttpResponse(body, status=status, headers=dict(headers))


def _cover(response: Response, scope: RequestScope) -> None:
    close = response.close
    content = ScopedIterator(response.streaming_content, scope)
    response.streaming_content = content
    response.close = lambda: content.end(close)


def _cover_async(response: Response, scope: RequestScope) -> None:
    close = response.close
    content = _ScopedParts(getattr(response, "_iterator", response.streaming_content), scope)
    response.streaming_content = content.parts()

    def closed() -> None:
        # Without this cycle generators end from the outermost to the innermost, not as they are collected.
        response.__dict__.pop("close", None)
        close()
        if not content.begun:  # otherwise it ends with its parts
            scope.finish()

    response.close = closed


class _ScopedParts:
    """A response's parts, made by a coroutine each, all in the request's scope."""

    def __init__(self, content: Any, scope: RequestScope) -> None:
        self.begun = False
        self._content = content
        self._scope = scope

    async def parts(self) -> AsyncGenerator[Any, None]:
        self.begun = True
        ended: str | None = CLOSED_EARLY
        try:
            async for part in self._until_exhausted():
                yield part
            ended = None
        finally:
            await self._run(getattr(self._content, "aclose", None))
            self._scope.finish(ended=ended)

    async def _until_exhausted(self) -> AsyncGenerator[Any, None]:
        while True:
            try:
                part = await self._run(self._content.__anext__)
            except StopAsyncIteration:
                return
            yield part

    async def _run(self, step: Callable[[], Awaitable[Any]] | None) -> Any:
        if step is None:
            return None
        before = self._scope.resume()
        try:
            return await step()
        except Exception as error:
            if not isinstance(error, StopAsyncIteration):
                self._scope.fail(error)
            raise
        finally:
            self._scope.pause(before)


def _set_cookie(response: Response, scope: RequestScope) -> None:
    ident = scope.id_for_cookie()
    if ident is None or is_public(response.headers.get("Cache-Control", "")):
        return
    settings = scope.settings
    response.set_cookie(
        settings.anonymous_cookie,
        ident,
        max_age=int(settings.anonymous_cookie_max_age),
        secure=settings.is_secure_cookie(scope.request),
        httponly=True,
        samesite="Lax",
    )


class _Reader:
    """Reads Django's request."""

    def header(self, request: HttpRequest, name: str) -> str | None:
        value = request.META.get(variable(name))
        return value if isinstance(value, str) else None

    def method(self, request: HttpRequest) -> str | None:
        method: str | None = request.method
        return method

    def path(self, request: HttpRequest) -> str:
        return str(request.path)

    def route(self, request: HttpRequest) -> str | None:
        match = getattr(request, "resolver_match", None)
        return None if match is None else f"/{match.route}"

    def is_secure(self, request: HttpRequest) -> bool:
        return bool(request.is_secure())


READER = _Reader()


def _note_error(sender: object, request: HttpRequest | None = None, **_: Any) -> None:  # noqa: ARG001
    """Django makes a response of an exception before a middleware sees it, and sends this signal."""
    scope, error = getattr(request, _ATTRIBUTE, None), sys.exc_info()[1]
    if scope is not None and error is not None:
        scope.fail(error)


got_request_exception.connect(_note_error, dispatch_uid="banyan_hp")
