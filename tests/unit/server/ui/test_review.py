"""Ratings, and queues of calls to rate."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.server.store.keys import Keys, Role
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page

from .test_call_pages import logged


def scores(app: LocalApp, **about: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.get("/api/scores", *about.items())["scores"]
    return found


def rate(browser: Browser, page: Page, **values: str) -> Page:
    form = page.form("/scores").fields
    pressed = ("thumbs", "rating")
    return browser.post("/scores", {**{k: v for k, v in form.items() if k not in pressed}, **values})


def test_a_call_is_rated_on_its_page(app: LocalApp, browser: Browser) -> None:
    logged(app, "a/b")
    page = rate(browser, browser.get("/calls/a/b"), thumbs="down", category="tone", comment=" too long ")
    assert page.path == "/calls/a/b"
    assert "too long" in page.text
    found = {each["name"]: each for each in scores(app, record_id="a/b")}
    (key,) = Keys(app.database).listed(app.project)
    assert {name: each["value"] for name, each in found.items()} == {"thumbs": False, "category": "tone"}
    assert {(each["comment"], each["rater"]) for each in found.values()} == {("too long", key.id)}


def test_a_session_is_rated_on_its_page(app: LocalApp, browser: Browser) -> None:
    logged(app, "a", metadata={"session_id": "chat 1"})
    page = rate(browser, browser.get("/sessions/chat%201"), rating="4")
    assert page.path == "/sessions/chat%201"
    (score,) = scores(app, session_id="chat 1")
    assert (score["name"], score["value"], score["record_id"]) == ("rating", 4, None)


def test_the_rater_is_whoever_logged_in(app: LocalApp) -> None:
    browser = Browser(app)
    browser.send(browser.get("/login"), "/login", key=app.key, name=" Ada ")
    logged(app, "a")
    rate(browser, browser.get("/calls/a"), thumbs="up")
    assert scores(app, record_id="a")[0]["rater"] == "Ada"


def test_scores_are_not_calls(app: LocalApp, browser: Browser) -> None:
    logged(app, "a", metadata={"session_id": "s"})
    rate(browser, browser.get("/sessions/s"), thumbs="up")
    rate(browser, browser.get("/calls/a"), thumbs="up")
    links = browser.get("/calls").links
    assert [each for each in links if each.startswith("/calls/")] == ["/calls/a"]
    assert ">1</a>" in browser.get("/sessions").response.text


def test_a_queue_goes_on_by_itself_and_ends(app: LocalApp, browser: Browser) -> None:
    for number in range(3):
        logged(app, f"c{number}", model="m", input=f"question {number}")
    logged(app, "other", model="n")
    page = browser.get("/review?model=m")
    for number in (2, 1, 0):
        assert f"question {number}" in page.text
        page = rate(browser, page, thumbs="up")
    assert "That was the last one" in page.text
    assert {each["record_id"] for each in scores(app)} == {"c0", "c1", "c2"}


def test_a_call_is_skipped(app: LocalApp, browser: Browser) -> None:
    for number in range(2):
        logged(app, f"c{number}", input=f"question {number}")
    page = browser.get("/review")
    (skip,) = {each for each in page.links if "after=" in each}
    assert "question 0" in browser.get(skip).text
    assert not scores(app)


def test_a_queue_leaves_out_what_is_rated(app: LocalApp, browser: Browser) -> None:
    for number in range(3):
        logged(app, f"c{number}", input=f"question {number}")
    rate(browser, browser.get("/calls/c2"), rating="5")
    score = {"kind": "score", "v": 1, "name": "n", "value": True, "record_id": "c1", "rater": "Bob"}
    logged(app, "s", input="", output="", metadata={"banyan_hp": score})
    assert "question 2" in browser.get("/review").text
    assert "question 1" in browser.get("/review?unrated=me").text
    assert "question 0" in browser.get("/review?unrated=anyone").text


def test_a_queue_of_rated_calls_is_looked_through_in_steps(
    app: LocalApp, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banyan_hp.server.ui.review.LOOKED_AT", 2)
    monkeypatch.setattr("banyan_hp.server.ui.review.AT_ONCE", 2)
    for number in range(4):
        logged(app, f"c{number}", input=f"question {number}")
        if number:
            rate(browser, browser.get(f"/calls/c{number}"), thumbs="up")
    page = browser.get("/review?unrated=me")
    assert "Look further" in page.text
    (further,) = {each for each in page.links if "after=" in each}
    assert "question 0" in browser.get(further).text


def test_a_queue_that_is_none_is_refused_in_words(browser: Browser) -> None:
    page = browser.get("/review?unrated=x")
    assert (page.status, "unrated must be me or anyone, was 'x'" in page.text) == (400, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"thumbs": "up"}, "about one call or one session"),
        ({"record_id": "a", "session_id": "s", "thumbs": "up"}, "about one call or one session"),
        ({"record_id": "a", "rating": "6"}, "from 1 to 5, was '6'"),
        ({"record_id": "a", "category": "x" * 201}, "value must be"),
        ({"record_id": "a", "thumbs": "up", "comment": "x" * 2001}, "comment must be"),
    ],
)
def test_a_bad_rating_is_refused_in_words(
    app: LocalApp, browser: Browser, fields: dict[str, str], words: str
) -> None:
    csrf = browser.get("/calls").form("/logout").fields
    refused = browser.post("/scores", {**csrf, **fields})
    assert (refused.status, words in refused.text) == (400, True)
    assert not scores(app)


@pytest.mark.parametrize(
    ("address", "about"), [("/calls/a/b", "record_id"), ("/sessions/chat%201", "session_id")]
)
def test_a_comment_without_a_rating_stays_in_its_form(
    app: LocalApp, browser: Browser, address: str, about: str
) -> None:
    """Nothing is stored; the page says what is missing, and the rating then goes on where it would have."""
    logged(app, "a/b", metadata={"session_id": "chat 1"})
    again = rate(browser, browser.get(address), comment=' not "so" <good>')
    assert (again.status, scores(app)) == (400, [])
    assert "choose a thumb, a number or a category" in again.text
    form = again.form("/scores").fields
    assert form["comment"] == ' not "so" <good>'
    assert address in again.links
    page = rate(browser, again, thumbs="down")
    assert page.path == address
    (score,) = scores(app)
    assert (score["value"], score["comment"]) == (False, 'not "so" <good>')
    assert score[about] == ("a/b" if about == "record_id" else "chat 1")


def test_a_rating_leads_to_no_other_site(app: LocalApp, browser: Browser) -> None:
    logged(app, "a")
    page = rate(browser, browser.get("/calls/a"), thumbs="up", next="//evil.example")
    assert page.path == "/review"


def test_readers_rate_and_others_do_not(application: LocalApp) -> None:
    app = application.in_new_project()
    logged(app, "a")
    reader = Browser(application.in_project(app.project, Role.READ))
    reader.log_in()
    rate(reader, reader.get("/calls/a"), thumbs="up")
    assert len(scores(app)) == 1
    assert Browser(app).post("/scores", {"record_id": "a", "thumbs": "up"}).path.startswith("/login")


def test_empty_queues_say_what_to_do(browser: Browser) -> None:
    page = browser.get("/review")
    assert "No call is waiting here" in page.text
    assert any("failed=true" in each for each in page.links)
    assert browser.get("/review?unrated=nobody").status == 400


def test_enter_in_a_text_presses_no_thumb(app: LocalApp, browser: Browser) -> None:
    """Browsers take the first button of a form for it."""
    logged(app, "a")
    form = browser.get("/calls/a").response.text.partition('action="/scores"')[2]
    assert form.partition("<button")[2].startswith(' class="hidden"')
