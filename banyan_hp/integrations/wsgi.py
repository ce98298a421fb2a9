"""`WSGIMiddleware`: the context of each request of a WSGI application, Flask among them.

app.wsgi_app = WSGIMiddleware(app.wsgi_app)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..tracking.span import CLOSED_EARLY
from .request_scope import RequestScope, note_error
from .web import WebSettings, health_answer, is_public

if TYPE_CHECKING:
    from typing import Unpack
    from wsgiref.types import StartResponse, WSGIApplication

    from .web import WebOptions

__all__ = ["WSGIMiddleware"]

Environ = dict[str, Any]
Headers = list[tuple[str, str]]


class WSGIMiddleware:
    """Surrounds each request with a `context()` of its own, until its response has been sent.

    In the metadata of all that is logged meanwhile, by either client: `request_id`, `method`, `path` (with
    Flask the route's pattern), `user_id`, `session_id`, and of a `traceparent` header `trace_id` and
    `span_id`. What a call, or a `context()` inside, gives itself wins. `get_prompt` takes `user_id` and
    `session_id` for its sticky context. The code of a streamed response is covered, up to its `close()`.

    Args:
        app: the WSGI application.
        options: by keyword, of the request's environ: `user`, `session`, `request_id_header`,
            `anonymous_cookie`, `anonymous_cookie_max_age`, `health_path`, `interaction`, `logger`; see
            `WebOptions` and the guide's page (`banyan-hp help web`).

    Raises:
        ConfigurationError: an option is wrong; the message names it.
    """

    def __init__(self, app: WSGIApplication, **options: Unpack[WebOptions[Environ]]) -> None:
        self._app = app
        self._settings = settings = WebSettings.from_options(READER, options)
        self._health_path = settings.health_path
        self._waits_for_start = settings.anonymous_cookie is not None or settings.interaction is not False
        _listen_to_flask()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        if self._health_path is not None and environ.get("PATH_INFO") == self._health_path:
            return _health(self._settings, environ, start_response)
        scope = RequestScope(self._settings, environ)
        environ["banyan_hp.interaction"] = scope.interaction
        if self._waits_for_start:
            start_response = _starting(scope, start_response)
        before = scope.resume()
        try:
            response = self._app(environ, start_response)
            if type(response) in _NO_CODE or _is_a_file(response, environ):
                scope.finish()
                return response
            return ScopedBody(response, scope)
        except BaseException as error:
            scope.finish(error)
            raise
        finally:
            scope.pause(before)


_NO_CODE = (list, tuple)  # servers ask for their length


def _is_a_file(response: object, environ: Environ) -> bool:
    """Whether the server sends it in its own way, as a file; none of the application's code runs then."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)


class ScopedIterator:
    """A response's parts, each made in the request's scope."""

    __slots__ = ("_exhausted", "_iterator", "scope")

    def __init__(self, body: Iterable[bytes], scope: RequestScope) -> None:
        self.scope = scope
        self._iterator: Iterator[bytes] = iter(body)
        self._exhausted = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        scope = self.scope
        before = scope.resume()
        try:
            return next(self._iterator)
        except StopIteration:
            self._exhausted = True
            raise
        except BaseException as error:
            scope.fail(error)
            raise
        finally:
            scope.pause(before)

    def end(self, close: Callable[[], object] | None) -> None:
        """Close the response in the scope, and end that."""
        scope = self.scope
        before = scope.resume()
        try:
            if close is not None:
                close()
        except BaseException as error:
            scope.fail(error)
            raise
        finally:
            scope.pause(before)
            scope.finish(ended=None if self._exhausted else CLOSED_EARLY)


class ScopedBody(ScopedIterator):
    """A body as a server wants it, which calls `close()` at the end, whatever that was."""

    __slots__ = ("_close",)

    def __init__(self, body: Iterable[bytes], scope: RequestScope) -> None:
        self._close: Callable[[], object] | None = getattr(body, "close", None)
        super().__init__(body, scope)

    def close(self) -> None:
        """Close the response's body, and end the request's scope."""
        self.end(self._close)

    def __del__(self) -> None:
        """For servers that forget to close it."""
        scope = getattr(self, "scope", None)  # none, if the body could not be iterated over
        if scope is not None and not scope.ended:
            scope.finish(ended=None if self._exhausted else CLOSED_EARLY)


class _Reader:
    """Reads an environ."""

    def header(self, request: Environ, name: str) -> str | None:
        value = request.get(variable(name))
        return value if type(value) is str else None

    def method(self, request: Environ) -> str:
        return str(request.get("REQUEST_METHOD", ""))

    def path(self, request: Environ) -> str:
        path: str = request.get("SCRIPT_NAME", "") + request.get("PATH_INFO", "")
        return path if path.isascii() else decoded(path)

    def route(self, request: Environ) -> str | None:
        """Flask's: Werkzeug leaves its request in the environ."""
        flasks = request.get("werkzeug.request")
        if flasks is None:
            return None
        rule = getattr(getattr(flasks, "url_rule", None), "rule", None)
        return decoded(request.get("SCRIPT_NAME", "")) + rule if isinstance(rule, str) else None

    def is_secure(self, request: Environ) -> bool:
        return request.get("wsgi.url_scheme") == "https"


READER = _Reader()


@cache
def variable(header: str) -> str:
    """The name that a header has in an environ. There are few: those of the options, and our own."""
    return "HTTP_" + header.upper().replace("-", "_")


def decoded(path: str) -> str:
    """A path as text: WSGI has its bytes as characters."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _starting(scope: RequestScope, start_response: StartResponse) -> StartResponse:
    """`start_response` that adds the visitor's cookie where there is one to set."""

    def start(status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], object]:
        scope.read_in_time()
        ident = scope.id_for_cookie()
        if ident is not None and not is_public(_cache_control(headers)):
            cookie = scope.settings.cookie_header(ident, scope.request)
            headers = [*headers, ("Set-Cookie", cookie)]
        return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

    return start


def _cache_control(headers: Headers) -> str:
    return ",".join(value for name, value in headers if name.lower() == "cache-control")


def _health(settings: WebSettings, environ: Environ, start_response: StartResponse) -> list[bytes]:
    status, headers, body = health_answer(settings, environ.get("REQUEST_METHOD"))
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


# -- Flask ---------------------------------------------------------------------------------------------------


def _listen_to_flask() -> None:
    """Flask makes a response of an exception, and a middleware never sees it: Flask's signal does."""
    flask: Any = sys.modules.get("flask")
    if flask is not None:
        flask.got_request_exception.connect(_note_flasks_error)


def _note_flasks_error(_app: object, exception: BaseException, **_: Any) -> None:
    note_error(exception)
