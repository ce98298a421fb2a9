"""A page: a template with the headers that hold for all, and what becomes of exceptions on the way to one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from ..api.responses import Failure, failure_of
from .assets import address
from .texts import FILTERS
from .visitors import CSRF_FIELD, LoginNeededError, Visitor

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # what a page shows is not for the next user of the machine
}
_TITLES = {400: "That can't be shown", 403: "Not allowed", 404: "Not found", 409: "Changed meanwhile"}
_REFUSED = "Nothing was changed"  # instead of the first of them, where a form was sent


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = address
    environment.filters.update(FILTERS)
    return environment


_TEMPLATES = _environment()


def page(
    request: Request, template: str, visitor: Visitor | None, status: int = 200, **values: object
) -> HTMLResponse:
    """A template as a response.

    Args:
        request: what it responds to.
        template: its name without ``.html``.
        visitor: who looks; None: anybody.
        status: of the response.
        values: what the template shows.
    """
    text = _TEMPLATES.get_template(f"{template}.html").render(
        values, visitor=visitor, path=request.url.path, here=_here(request), csrf_field=_csrf_field(visitor)
    )
    return HTMLResponse(sendable(text), status, HEADERS)


def part(template: str, **values: object) -> str:
    """A template that is no page of its own: rows that are added to one."""
    return _TEMPLATES.get_template(f"{template}.html").render(values)


def plain(text: str) -> Response:
    """A text of somebody else's, which no browser takes for a page."""
    return PlainTextResponse(sendable(text), headers=HEADERS)


def sendable(text: str) -> bytes:
    """UTF-8; bodies may hold lone surrogates, which it can't."""
    return text.encode("utf-8", "replace")


def _csrf_field(visitor: Visitor | None) -> Markup:
    """What every form that changes something has inside."""
    value = visitor.csrf if visitor is not None else ""
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, value)


def redirect(path: str) -> Response:
    """Another page, to be had by GET: what a form's change ends in."""
    return RedirectResponse(path, 303, HEADERS)


def is_local(path: str) -> bool:
    """Whether it leads to this site: browsers take two slashes, or a backslash, for another one's name."""
    return path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()


def fragment(request: Request) -> bool:
    """Whether only a part of the page is wanted, by htmx, to be put into the page that is there."""
    return request.headers.get("hx-request") == "true"


class PageRoute(APIRoute):
    """A route whose failures are pages, too; without a login it leads to the login page and back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI, "Custom Request and APIRoute class"."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except LoginNeededError:
                return _to_login(request)
            except Exception as error:
                failure = failure_of(request, error)
                if failure is None:
                    raise
                return _failed(request, failure)

        return handle_page


def nowhere(request: Request, error: Exception) -> Response:
    """Nothing is at an address: a page says so to browsers, and JSON to programs."""
    failure = failure_of(request, error)
    if failure is None:
        raise error
    return _failed(request, failure) if "text/html" in request.headers.get("accept", "") else failure


def _failed(request: Request, failure: Failure) -> Response:
    """The page that says so; to whoever is known to look, with the way to all others."""
    status, visitor = failure.status_code, getattr(request.state, "visitor", None)
    sent = status == 400 and request.method == "POST"
    title = _REFUSED if sent else _TITLES.get(status, "That didn't work")
    return page(request, "error", visitor, status, title=title, reason=failure.reason)


def _to_login(request: Request) -> Response:
    wanted = _here(request) if request.method == "GET" and not fragment(request) else "/"
    login = f"/login?next={quote(wanted, safe='')}"
    if fragment(request):  # a redirect would put the login page into the middle of this one
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": login})
    return redirect(login)


def _here(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
