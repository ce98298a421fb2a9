"""The users' guide as HTML and as one text.

Its Markdown becomes HTML without scripts, images or anything from another host. `ui/guide.py` has the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .. import guide

SUMMARY = "Logs LLM traffic from Python applications in the background, and loses no record silently."
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_PAGE_LINK = re.compile(r"(\w+)\.md(#.*)?")


@cache
def whole() -> str:
    """All pages as one Markdown text, after a list of them."""
    listed = "\n".join(f"- {page.title}: /docs/{page.topic}" for page in guide.pages())
    opening = f"# banyan_hp: the users' guide\n\n> {SUMMARY}\n\n{listed}"
    return "\n\n".join([opening, *(page.text.strip() for page in guide.pages())]) + "\n"


@cache
def contents() -> str:
    """The list of the pages, each with its first paragraph."""
    entries = "".join(
        f'<dt><a href="/docs/{page.topic}">{escape(page.title)}</a></dt><dd>{_opening(page)}</dd>'
        for page in guide.pages()
    )
    return f"<h1>The guide</h1><p>{escape(SUMMARY)}</p><dl>{entries}</dl>"


@cache
def rendered(topic: str) -> str:
    """One page as HTML."""
    page = guide.page(topic)
    tokens = _MARKDOWN.parse(page.text)
    _give_headings_their_anchors(tokens)
    _point_links_to_pages(tokens)
    html: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return html


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
