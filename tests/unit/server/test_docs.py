"""The guide as the local backend serves it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urldefrag

import httpx
import pytest

from banyan_hp.guide import TOPICS, page, pages
from banyan_hp.server.ui.assets import address as asset
from banyan_hp.server.ui.guide import HEADERS
from tests.support.app import LocalApp
from tests.support.browsing import Browser

ADDRESSES = ("/docs", *(f"/docs/{topic}" for topic in TOPICS))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalApp]:
    with LocalApp(tmp_path_factory.mktemp("docs")) as running:
        yield running


class Parsed(HTMLParser):
    """What a page of HTML consists of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name == "href" and value]
        self.anchors |= {value for name, value in attrs if name == "id" and value}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def parsed(app: LocalApp) -> dict[str, Parsed]:
    """Each page by its address."""
    return {address: Parsed(got(app, address).text) for address in ADDRESSES}


def got(app: LocalApp, address: str) -> httpx.Response:
    """A response to somebody who has no key."""
    answer = app.call("GET", address, headers={"X-API-Key": "none"})
    assert answer.status_code == 200
    return answer


@pytest.mark.parametrize("address", [*ADDRESSES, "/llms.txt"])
def test_nothing_may_run_or_come_from_elsewhere(app: LocalApp, address: str) -> None:
    """The policy says so, on each response."""
    headers = got(app, address).headers
    assert {name: headers[name] for name in HEADERS} == dict(HEADERS)
    assert "script" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_needs_nothing_but_its_style_sheets(parsed: dict[str, Parsed], address: str) -> None:
    """No script, no picture, no inline style: it works offline and under its own policy."""
    page = parsed[address]
    assert not page.tags & {"script", "style", "img", "iframe", "object", "form"}
    assert not {name for name in page.attributes if name in ("style", "src") or name.startswith("on")}
    sheets = [asset(name) for name in ("icon.svg", "pico.classless.min.css", "app.css", "guide.css")]
    assert [link for link in page.links if link.startswith("/static/")] == sheets


@pytest.mark.parametrize("address", ADDRESSES)
def test_links_lead_to_pages_and_headings_that_are_there(parsed: dict[str, Parsed], address: str) -> None:
    """Those to files of the repository, which are not served, are text."""
    for link in parsed[address].links:
        target, anchor = urldefrag(link)
        if target.startswith(("http", "/static/", "/login")):
            continue
        assert not anchor or anchor in parsed[target or address].anchors, link
        assert (target or address) in parsed, link


def test_what_looks_like_html_is_text(parsed: dict[str, Parsed]) -> None:
    """A placeholder in angle brackets is seen, and no tag."""
    assert "spool/<URL and project>-<key>/" in parsed["/docs/spool"].text
    assert "url" not in parsed["/docs/spool"].tags


def test_tables_are_tables(parsed: dict[str, Parsed]) -> None:
    """Also with a `|` in a cell."""
    assert "table" in parsed["/docs/prompts"].tags
    assert "{{name|upper}}" in parsed["/docs/prompts"].text


def test_the_contents_list_every_page_with_what_it_is_for(parsed: dict[str, Parsed]) -> None:
    """In the guide's order, each with its first paragraph."""
    contents = parsed["/docs"]
    assert [link for link in contents.links if link in ADDRESSES[1:]] == 2 * list(ADDRESSES[1:])
    assert "\n".join(page("settings").text.splitlines()[2:3]) in contents.text


def test_the_whole_guide_is_one_text(app: LocalApp) -> None:
    """For whoever reads it with a program."""
    answer = got(app, "/llms.txt")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert all(each.text in answer.text for each in pages())


def test_an_unknown_page_is_a_404_that_names_those_there_are(app: LocalApp) -> None:
    """No path leads out of the guide's folder."""
    for name in ("nonsense", "README", "..%2F__init__", "settings.md"):
        answer = app.call("GET", f"/docs/{name}")
        assert answer.status_code == 404
    assert ", ".join(TOPICS) in app.call("GET", "/docs/nonsense").text


def test_who_is_logged_in_sees_the_frame_of_all_pages(app: LocalApp) -> None:
    """With the way back to them; whoever is not gets one to the login, and comes back."""
    browser = Browser(app)
    assert "/login?next=/docs/calls" in browser.get("/docs/calls").links
    browser.log_in()
    page = browser.get("/docs/calls")
    assert {"/calls", "/settings", "/docs"} <= set(page.links)
    assert page.form("/logout")
    assert "/docs" in browser.get("/calls").links
