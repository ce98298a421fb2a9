"""What callers, commands and people are told of a search that is not over: how far it is, how to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from banyan_hp.cli.export import pages_of
from banyan_hp.cli.mcp.tools import SearchCalls
from tests.support.app import LocalApp
from tests.support.browsing import Browser

if TYPE_CHECKING:
    from pathlib import Path

    from banyan_hp.cli.api import Api

NOW = datetime.now(UTC).replace(microsecond=0)
PHRASE = '"wanted phrase"'
BATCH = "/api/logs/prompt-usage/batch"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, embedded_in: Path) -> Iterator[LocalApp]:
    with LocalApp(tmp_path_factory.mktemp("searches"), calls=f"chdb://{embedded_in}") as running:
        yield running


@pytest.fixture
def app(application: LocalApp, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    """A project with a call an hour, whose oldest is searched for; each page searches a minute."""
    from banyan_hp.server.store.clickhouse import searching

    monkeypatch.setattr(searching, "FIRST_WIDTH", 60_000_000)
    monkeypatch.setattr(searching, "PAGE_SECONDS", 0.0)
    app = application.in_new_project()
    times = [NOW - timedelta(hours=number) for number in range(4)]
    records = [
        {
            "id": f"call-{number}",
            "ts": time.isoformat(),
            "body": {
                "input": "wanted phrase" if number == 3 else "phrase wanted",
                "output": "",
                "metadata": {},
            },
        }
        for number, time in enumerate(times)
    ]
    assert app.call("POST", BATCH, {"records": records}).is_success
    return app


@pytest.fixture
def browser(app: LocalApp) -> Browser:
    found = Browser(app)
    found.log_in()
    return found


def searched_to(number: int) -> datetime:
    """Once the next call to be looked at is that one."""
    return NOW - timedelta(hours=number) + timedelta(microseconds=1)


def test_the_api_says_back_to_when(app: LocalApp) -> None:
    pages: list[Any] = [app.get("/api/calls", ("text", PHRASE))]
    while (after := pages[-1]["next"]) is not None:
        pages.append(app.get("/api/calls", ("text", PHRASE), ("after", after)))
    assert [len(page["calls"]) for page in pages] == [0, 0, 0, 1]
    told = [page["searched_to"] for page in pages]
    assert told[3] is None
    assert [datetime.fromisoformat(each) for each in told[:3]] == [searched_to(each) for each in (1, 2, 3)]
    assert app.get("/api/calls")["searched_to"] is None


def test_the_list_of_calls_leads_on(browser: Browser) -> None:
    """By a row, which is put in the place of the link, and by pages."""
    page = browser.get(f"/calls?text={PHRASE}")
    assert f"Searched back to {searched_to(1):%Y-%m-%d %H:%M:%S} UTC: search further" in page.text
    assert "No call has" not in page.text
    for _ in range(3):
        (more,) = {each for each in page.links if "after=" in each}
        rows = browser.get(more, hx_request="true")
        page = browser.get(more)
        assert ("/calls/call-3" in page.links) == ("/calls/call-3" in rows.links)
    assert "/calls/call-3" in page.links
    assert "Searched back" not in page.text


def test_a_search_that_ends_with_nothing_says_so(browser: Browser) -> None:
    assert "No call has all of this" in browser.get("/calls?text=nothing").text
    page = browser.get('/calls?text="phrase phrase"')
    while more := {each for each in page.links if "after=" in each}:
        page = browser.get(more.pop())
    assert "No earlier call has all of this" in page.text


def test_a_queue_to_review_leads_on(browser: Browser) -> None:
    page = browser.get(f"/review?unrated=me&text={PHRASE}")
    for number in (1, 2, 3):
        assert f"Searched back to {searched_to(number):%Y-%m-%d %H:%M:%S} UTC" in page.text
        (further,) = {each for each in page.links if "after=" in each}
        page = browser.get(further)
    assert "/calls/call-3" in page.links


class _OverApp:
    """`Api`, as far as lists of calls ask for it, over an application in this process."""

    def __init__(self, app: LocalApp) -> None:
        self._app = app

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._app.get(path, *((name, str(each)) for name, each in params.items()))
        return found


def test_an_export_goes_on_and_says_how_far_it_is(app: LocalApp, capsys: pytest.CaptureFixture[str]) -> None:
    pages = list(pages_of(cast("Api", _OverApp(app)), {"text": PHRASE}))
    assert [each["id"] for page in pages for each in page] == ["call-3"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"banyan-hp: searched back to {searched_to(number):%Y-%m-%d %H:%M} UTC, going on"
        for number in (1, 2, 3)
    ]


def test_an_agent_is_told_where_to_go_on(app: LocalApp) -> None:
    first = json.loads(SearchCalls(text=PHRASE).answer(_OverApp(app).get))
    assert datetime.fromisoformat(first["searched_to"]) == searched_to(1)
    assert first["next"]
    assert first["calls"] == []
