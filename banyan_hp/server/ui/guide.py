"""The users' guide, for everybody: in the frame of the pages at `/docs`, and as one text at `/llms.txt`.

It needs no login, and its pages load no script.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request, Response
from markupsafe import Markup
from starlette.responses import PlainTextResponse

from ... import guide
from ..docs import contents, rendered, whole
from .rendering import HEADERS as OF_PAGES
from .rendering import PageRoute, page
from .visitors import LoginNeededError, Visitor, current

HEADERS: Mapping[str, str] = {
    **OF_PAGES,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/docs")
def listed(request: Request) -> Response:
    """The list of all pages."""
    return _page(request, "The guide", contents())


@router.get("/docs/{topic}")
def one(request: Request, topic: str) -> Response:
    """One page."""
    if topic not in guide.TOPICS:
        pages = ", ".join(guide.TOPICS)
        raise HTTPException(404, f"The guide has no page {topic[:40]!r}; its pages are {pages}.")
    return _page(request, guide.page(topic).title, rendered(topic), topic)


@router.get("/llms.txt")
def text() -> Response:
    """All of it, for programs."""
    return PlainTextResponse(whole(), headers=HEADERS)


def _page(request: Request, title: str, html: str, topic: str | None = None) -> Response:
    body = Markup(html)  # noqa: S704 - ours, and without HTML in its Markdown: see `docs.py`
    visitor, topics = _visitor(request), guide.pages()
    response = page(request, "guide", visitor, title=title, body=body, topic=topic, topics=topics)
    response.headers.update(HEADERS)
    return response


def _visitor(request: Request) -> Visitor | None:
    """Who looks, if it is somebody who is logged in."""
    try:
        return current(request)
    except (LoginNeededError, HTTPException):
        return None
