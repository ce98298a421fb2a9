"""The list of calls, and one call in full."""

from __future__ import annotations

from tests.support.app import LocalApp
from tests.support.browsing import Browser


def logged(app: LocalApp, call_id: str, **fields: object) -> None:
    body = {"input": "in", "output": "out", "metadata": {}, **fields}
    answer = app.call("POST", "/api/logs/prompt-usage", body, headers={"Idempotency-Key": call_id})
    assert answer.is_success, answer.text


def test_an_empty_list_says_how_to_log_a_first_call(browser: Browser) -> None:
    page = browser.get("/calls")
    assert "Nothing has been logged yet" in page.text
    assert 'configure(base_url="http://local")' in page.text


def test_each_call_leads_to_itself_and_to_its_likes(app: LocalApp, browser: Browser) -> None:
    logged(app, "a/b", model="gpt-4o-mini", prompt_name="e mail")
    page = browser.get("/calls")
    assert "/calls?prompt_name=e%20mail" in page.links
    assert "/calls?model=gpt-4o-mini" in page.links
    assert browser.get(next(each for each in page.links if each.startswith("/calls/"))).status == 200


def test_filters_are_in_the_address_and_misspelt_ones_refused(app: LocalApp, browser: Browser) -> None:
    logged(app, "one", model="m1")
    logged(app, "two", model="m2")
    assert "/calls/one" in browser.get("/calls?model=m1&failed=&text=").links
    assert "/calls/two" not in browser.get("/calls?model=m1").links
    assert browser.get("/calls?modle=m1").status == 400


def test_more_calls_come_as_rows_and_as_a_page(app: LocalApp, browser: Browser) -> None:
    for number in range(3):
        logged(app, f"call {number}")
    page = browser.get("/calls?limit=2")
    (more,) = {each for each in page.links if "after=" in each}
    assert "/calls/call%200" in browser.get(more).links
    rows = browser.get(more, hx_request="true")
    assert "/calls/call%200" in rows.links
    assert "<html" not in rows.response.text


def test_what_was_logged_stays_text(app: LocalApp, browser: Browser) -> None:
    attack = "<script>alert(1)</script>"
    logged(app, "x", input=attack, output=attack, metadata={"session_id": attack}, model=attack)
    for page in (browser.get("/calls"), browser.get("/calls/x")):
        assert attack in page.text
        assert attack not in page.response.text
