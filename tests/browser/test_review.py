"""Reviewing: a queue of calls, a key each, and what the application sees of it."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from banyan_hp import PromptStackLogger
from tests.browser.addresses import SECONDS
from tests.browser.conftest import DEMO_KEY, Site, Visiting
from tests.browser.test_pages import serious

NAME = "Ada Lovelace"


def logged(site: Site, model: str, count: int) -> list[str]:
    """Calls of a model, by the library; their ids, newest first."""
    with PromptStackLogger(api_key=DEMO_KEY, base_url=site.url) as application:
        for number in range(count):
            application.log_prompt(input=f"question {number}", output="answer", model=model)
        assert application.flush(timeout=SECONDS)
    found = ask(site, "/api/calls", model=model)["calls"]
    assert len(found) == count
    return [each["id"] for each in found]


def ask(site: Site, path: str, **query: str) -> Any:
    response = requests.get(site.url + path, params=query, headers={"X-API-Key": DEMO_KEY}, timeout=SECONDS)
    assert response.ok, response.text
    return response.json()


def scores(site: Site, call_id: str) -> list[tuple[str, object, str]]:
    """As the API has them."""
    found = ask(site, "/api/scores", record_id=call_id)["scores"]
    return [(each["name"], each["value"], each["rater"]) for each in found]


def reviewing(visit: Visiting, address: str, *, scripts: bool = True) -> Page:
    """The queue, to somebody who has given a name at the login."""
    page = visit(key=None, scripts=scripts).go(address)
    page.get_by_label("API key").fill(DEMO_KEY)
    page.get_by_label("Your name").fill(NAME)
    page.get_by_role("button", name="Log in").click()
    return page


def test_a_queue_is_worked_through_with_a_key_each(visit: Visiting, site: Site) -> None:
    """The next one comes by itself, the last one is said to be it; the API has who has said what."""
    ids = logged(site, "reviewed", 5)
    page = reviewing(visit, "/review?model=reviewed")
    for number, key in ((4, "u"), (3, "d"), (2, "4"), (1, "s"), (0, "1")):
        expect(page.get_by_text(f"question {number}", exact=True)).to_be_visible()
        page.keyboard.press(key)
    expect(page.get_by_text("That was the last one.")).to_be_visible()
    assert [scores(site, each) for each in ids] == [
        [("thumbs", True, NAME)],
        [("thumbs", False, NAME)],
        [("rating", 4, NAME)],
        [],
        [("rating", 1, NAME)],
    ]
    page.goto(f"{site.url}/review?model=reviewed&unrated=me")
    expect(page.get_by_text("question 1", exact=True)).to_be_visible()  # the one that was skipped
    page.keyboard.press("u")
    expect(page.get_by_text("question 1", exact=True)).to_be_hidden()
    assert scores(site, ids[3]) == [("thumbs", True, NAME)]


def test_keys_are_letters_while_a_comment_is_written(visit: Visiting, site: Site) -> None:
    """And Enter saves what was written, without a thumb that nobody gave."""
    (call_id,) = logged(site, "commented", 1)
    page = reviewing(visit, "/review?model=commented")
    page.get_by_label("Comment").fill("due, 5 days late")
    page.get_by_label("Category").press_sequentially("sud1")
    page.get_by_label("Category").press("Enter")
    expect(page.get_by_text("That was the last one.")).to_be_visible()
    assert scores(site, call_id) == [("category", "sud1", NAME)]
    (score,) = ask(site, "/api/scores", record_id=call_id)["scores"]
    assert score["comment"] == "due, 5 days late"


@pytest.mark.parametrize("scripts", [True, False])
def test_a_call_is_rated_on_its_own_page(visit: Visiting, site: Site, scripts: bool) -> None:
    """It stays there, and shows what was given."""
    (call_id,) = logged(site, f"rated-{scripts}", 1)
    page = reviewing(visit, f"/calls/{call_id}", scripts=scripts)
    page.get_by_role("button", name="Bad").click()
    expect(page.get_by_role("cell", name=NAME)).to_be_visible()
    assert scores(site, call_id) == [("thumbs", False, NAME)]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_comment_alone_comes_back_in_its_form(visit: Visiting, site: Site, axe: str, scripts: bool) -> None:
    """With what is missing; a press of a thumb then saves both, and leads on."""
    (call_id,) = logged(site, f"alone-{scripts}", 1)
    visiting = visit(scripts=scripts)
    page = visiting.go(f"/calls/{call_id}")
    page.get_by_label("Comment").fill("due, 5 days late")
    page.get_by_label("Comment").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("choose a thumb, a number or a category")
    expect(page.get_by_label("Comment")).to_have_value("due, 5 days late")
    if scripts:
        page.evaluate(axe)
        assert serious(page) == []
    page.get_by_role("button", name="Bad").click()
    expect(page.get_by_role("cell", name="due, 5 days late")).to_be_visible()
    visiting.troubles[:] = [each for each in visiting.troubles if "400 (Bad Request)" not in each]
