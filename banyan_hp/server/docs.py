"""The users' guide, for browsers at `/docs` and as one text at `/llms.txt`. It needs no key.

Its Markdown becomes HTML without scripts, images or anything from another host: it works offline, and the
Content-Security-Policy allows nothing but our own style sheet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from .. import guide

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STYLE = "/docs/style.css"
SUMMARY = "Logs LLM traffic from Python applications in the background, and loses no record silently."
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_PAGE_LINK = re.compile(r"(\w+)\.md(#.*)?")


def docs_routes() -> list[Route]:
    """The pages, their style sheet, and the whole guide as text."""
    return [
        Route("/docs", _contents, methods=["GET"]),
        Route(STYLE, _style, methods=["GET"]),
        Route("/docs/{topic}", _page, methods=["GET"]),
        Route("/llms.txt", _text, methods=["GET"]),
    ]


async def _contents(_request: Request) -> Response:
    return HTMLResponse(contents(), headers=HEADERS)


async def _page(request: Request) -> Response:
    topic = request.path_params["topic"]
    if topic not in guide.TOPICS:
        pages = ", ".join(guide.TOPICS)
        raise HTTPException(404, f"the guide has no page of this name; its pages are {pages}")
    return HTMLResponse(rendered(topic), headers=HEADERS)


async def _style(_request: Request) -> Response:
    text = (files(__package__) / "docs.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css", headers=HEADERS)


async def _text(_request: Request) -> Response:
    return PlainTextResponse(whole(), headers=HEADERS)


# -- text and HTML -------------------------------------------------------------------------------------------


@cache
def whole() -> str:
    """All pages as one Markdown text, after a list of them."""
    listed = "\n".join(f"- {page.title}: /docs/{page.topic}" for page in guide.pages())
    opening = f"# banyan_hp: the users' guide\n\n> {SUMMARY}\n\n{listed}"
    return "\n\n".join([opening, *(page.text.strip() for page in guide.pages())]) + "\n"


@cache
def contents() -> str:
    """The page that lists the others, each with its first paragraph."""
    entries = "".join(
        f'<dt><a href="/docs/{page.topic}">{escape(page.title)}</a></dt><dd>{_opening(page)}</dd>'
        for page in guide.pages()
    )
    return _document("The guide", f"<h1>banyan_hp</h1><p>{escape(SUMMARY)}</p><dl>{entries}</dl>")


@cache
def rendered(topic: str) -> str:
    """One page as HTML."""
    page = guide.page(topic)
    tokens = _MARKDOWN.parse(page.text)
    _give_headings_their_anchors(tokens)
    _point_links_to_pages(tokens)
    return _document(page.title, _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}), topic)


def _opening(page: guide.Page) -> str:
    """The first paragraph, without its links: it stands in a list of them."""
    paragraph = page.text.split("\n\n")[1]
    rendered: str = _MARKDOWN.renderInline(_LINK.sub(r"\1", paragraph))
    return rendered


def _give_headings_their_anchors(tokens: Sequence[Token]) -> None:
    """As GitHub makes them, so that links between pages work in both places."""
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            title = "".join(each.content for each in inline.children or [])
            opening.attrSet("id", re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"))


def _point_links_to_pages(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.children is not None:
            token.children = list(_with_links_to_pages(token.children))


def _with_links_to_pages(inline: Iterable[Token]) -> Iterator[Token]:
    """A link to a page leads to its address; one to a file of the repository, not served here, is text."""
    served = True
    for token in inline:
        if token.type == "link_open":
            href = str(token.attrGet("href"))
            page = _PAGE_LINK.fullmatch(href)
            served = page is not None or href.startswith(("#", "http://", "https://"))
            if page is not None:
                token.attrSet("href", f"/docs/{page[1]}{page[2] or ''}")
        if served or token.type not in ("link_open", "link_close"):
            yield token


def _document(title: str, body: str, current: str | None = None) -> str:
    entries = "".join(
        f'<li><a href="/docs/{page.topic}"{_marked(page.topic == current)}>{escape(page.title)}</a></li>'
        for page in guide.pages()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · banyan_hp</title>
<link rel="stylesheet" href="{STYLE}">
</head>
<body>
<nav aria-label="Pages">
<p><a href="/docs"{_marked(current is None)}>banyan_hp</a></p>
<ul>{entries}</ul>
</nav>
<main>
{body}
</main>
</body>
</html>
"""


def _marked(current: bool) -> str:
    return ' aria-current="page"' if current else ""
