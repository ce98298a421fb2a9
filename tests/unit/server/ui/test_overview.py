"""The overview: its figures are those of the calls, its links lead to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from banyan_hp.server.store.hours import DAY, HOUR, Period, hour_of
from banyan_hp.server.ui.overview import Shown
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page

USAGE = "/api/logs/prompt-usage"
NOW = datetime(2026, 3, 10, 14, 25, tzinfo=UTC)


def log(app: LocalApp, ago: timedelta = HOUR, **fields: Any) -> None:
    time = (datetime.now(UTC) - ago).isoformat()
    metadata = {"input_tokens": 1000, "output_tokens": 10, "cost": 0.5, **fields.pop("metadata", {})}
    body = {"input": "a", "output": "b", "duration_ms": 100, "metadata": metadata, **fields}
    sent = app.call("POST", USAGE, body, headers={"X-Event-Time": time})
    assert sent.status_code == 201, sent.text


def count(app: LocalApp) -> None:
    """Have all that is there counted, whether the application's own thread has done so or not."""
    while app.app.state.stores.hours.uncounted():
        app.app.state.stores.calls.index(500)


@pytest.fixture
def logged(app: LocalApp) -> LocalApp:
    for number in range(10):
        log(app, prompt_name="greet", model="m1", metadata={"error": "e"} if number == 0 else {})
    log(app, prompt_name="ask & tell", model="m2", duration_ms=9000)
    log(app, 8 * DAY, prompt_name="greet", model="m1")
    count(app)
    return app


def charts(page: Page) -> list[dict[str, Any]]:
    return [json.loads(unescape(each)) for each in re.findall(r"data-chart='([^']*)'", page.response.text)]


def figures(page: Page) -> Iterator[tuple[str, str, str]]:
    """The tiles: label, value, change."""
    tiles = page.response.text.partition('<dl class="tiles">')[2].partition("</dl>")[0]
    for each in tiles.split("</div>")[:-1]:
        label, value, change = re.findall(r"<d[td][^>]*>(?:<a[^>]*>)?([^<]*)<", each)
        yield label, unescape(value), unescape(change)


def test_the_figures_are_those_of_the_time(logged: LocalApp, browser: Browser) -> None:
    """Against the period before: eight days ago there was one call."""
    page = browser.get("/")
    assert list(figures(page)) == [
        ("Calls", "11", "× 11"),
        ("Errors", "1 (9.1 %)", "+9.1 points"),
        ("Latency p50", "102 ms", "no change"),
        ("Latency p95", "9.0 s", "× 88"),
        ("Input tokens", "11.0 k", "× 11"),
        ("Output tokens", "110", "× 11"),
        ("Cost", "$5.50", "× 11"),
    ]
    assert "all that arrived is counted and can be found" in page.text


def test_a_chart_has_a_point_for_each_hour_or_day(logged: LocalApp, browser: Browser) -> None:
    for address, points, calls in (("/?range=24h", 24, 11), ("/", 168, 11), ("/?range=30d", 30, 12)):
        chart = charts(browser.get(address))[0]
        assert len(chart["times"]) == points
        assert [each["label"] for each in chart["series"]] == ["calls", "errors"]
        assert sum(chart["series"][0]["values"]) == calls


def test_rows_lead_to_the_calls_that_they_count(logged: LocalApp, browser: Browser) -> None:
    page = browser.get("/")
    for name, value, failed, many in (
        ("prompt_name", "greet", False, 10),
        ("prompt_name", "ask & tell", False, 1),
        ("model", "m1", True, 1),
    ):
        address = next(each for each in page.links if leads(each, name, value, failed=failed))
        assert len(re.findall(r"<tr data-row\b", browser.get(address).response.text)) == many


def leads(address: str, name: str, value: str, *, failed: bool) -> bool:
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    return parts.path == "/calls" and query.get(name) == [value] and ("failed" in query) == failed


def test_one_prompt_or_model_has_an_overview_of_its_own(logged: LocalApp, browser: Browser) -> None:
    page = browser.get("/")
    address = next(each for each in page.links if each.startswith("/?") and "ask" in each)
    own = browser.get(address)
    assert "Overview of prompt ask & tell" in own.text
    counted = [parse_qs(urlsplit(each).query) for each in own.links if each.startswith("/calls?")]
    assert [each.get("failed") for each in counted] == [None, None, ["true"]]  # beside the heading, and tiles
    assert {each["prompt_name"][0] for each in counted} == {"ask & tell"}
    assert next(figures(own)) == ("Calls", "1", "nothing before")
    assert "By prompt" not in own.text
    made = logged.call("POST", "/api/logs/cli/prompts", {"name": "ask & tell", "content": "x"})
    assert f"/prompts/{made.json()['id']}" in browser.get(address).links
    refused = browser.get("/?prompt_name=greet&model=m1")
    assert (refused.status, "of one prompt, or of one model" in refused.text) == (400, True)


def test_an_empty_project_is_told_what_to_do(browser: Browser) -> None:
    page = browser.get("/")
    assert 'banyan.configure(base_url="http://local", api_key="psk_…")' in page.text
    assert not charts(page)


def test_an_empty_time_is_told_apart(logged: LocalApp, browser: Browser) -> None:
    page = browser.get("/?since=2020-01-01&until=2020-01-02")
    assert "There are no calls in this time" in page.text
    assert "Nothing has been logged yet" not in page.text


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ({"range": "24h"}, "2026-03-09T15:00", "2026-03-10T15:00"),
        ({}, "2026-03-03T15:00", "2026-03-10T15:00"),
        ({"range": "30d"}, "2026-02-09T00:00", "2026-03-10T15:00"),
        ({"since": "2026-03-01", "until": "2026-03-02"}, "2026-03-01T00:00", "2026-03-03T00:00"),
        ({"since": "2026-03-01T02:30:00Z", "until": ""}, "2026-03-01T02:00", "2026-03-10T15:00"),
        (
            {"since": "2026-03-01T02:30:00Z", "until": "2026-03-01T05:10:00+02:00"},
            "2026-03-01T02:00",
            "2026-03-01T04:00",
        ),
        ({"until": "2026-03-01T05:00:00Z"}, "2026-02-22T05:00", "2026-03-01T05:00"),
    ],
)
def test_a_time_is_of_whole_hours(query: dict[str, str], since: str, until: str) -> None:
    """A day is meant as a whole."""
    first, end = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (since, until))
    assert Shown.model_validate(query).period(NOW) == Period(since=first, until=end)
    assert hour_of(first) == first


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=yesterday", "since must be a day, 2026-03-01, or an ISO-8601 time, was 'yesterday'"),
        ("range=1y", "range must be 24h, 7d or 30d, was '1y'"),
        ("since=2026-03-02&until=2026-03-01", "since must be before until"),
        ("since=2020-01-01", "since must be at most 366 days before until"),
        ("since=0001-01-01&until=0001-01-02", "beyond the calendar"),
        ("since=9999-12-31&until=9999-12-31", "beyond the calendar"),
    ],
)
def test_what_can_t_be_shown_is_said(logged: LocalApp, browser: Browser, query: str, words: str) -> None:
    page = browser.get(f"/?{query}")
    assert page.status == 400
    assert words in page.text


def test_what_was_logged_stays_a_text(app: LocalApp, browser: Browser) -> None:
    log(app, prompt_name="<script>alert('x')</script>", model="' onclick='x")
    count(app)
    page = browser.get("/")
    assert "<script>alert" not in page.response.text
    assert "onclick" not in page.attributes
    for address in page.links:
        if address.startswith("/?") and "script" in address:
            assert "<script>alert" not in browser.get(address).response.text


def test_nobody_sees_another_project_s_calls(logged: LocalApp, application: LocalApp) -> None:
    other = Browser(application.in_new_project())
    other.log_in()
    assert "greet" not in other.get("/").text


def test_the_list_of_prompts_says_how_each_does(logged: LocalApp, browser: Browser) -> None:
    for name in ("greet", "idle"):
        logged.call("POST", "/api/logs/cli/prompts", {"name": name, "content": "x"})
    rows = browser.get("/prompts").text
    assert re.search(r"greet\s.*?10\s+10\.0 %\s+102 ms", rows, re.DOTALL)
    assert re.search(r"idle\s.*?0\s+–\s+–", rows, re.DOTALL)
