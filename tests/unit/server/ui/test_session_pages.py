"""Sessions on pages: who was active, and what was said."""

from __future__ import annotations

import pytest

from banyan_hp.server.ui.texts import milliseconds
from tests.support.app import LocalApp
from tests.support.browsing import Browser

from .test_call_pages import logged


def test_an_empty_list_says_how_to_name_a_session(browser: Browser) -> None:
    page = browser.get("/sessions")
    assert "No call names a session yet" in page.text
    assert "session_id=" in page.text


def test_sessions_lead_to_their_conversation(app: LocalApp, browser: Browser) -> None:
    for number in range(3):
        metadata = {"session_id": "chat/1", "user_id": "ada", "error": "late" if number == 1 else None}
        logged(app, f"c{number}", input=f"question {number}", model="m 1", metadata=metadata)
    listed = browser.get("/sessions")
    assert "/calls?session=chat/1&failed=true" in listed.links
    assert "/sessions?user=ada" in listed.links
    page = browser.get(next(each for each in listed.links if each.startswith("/sessions/")))
    at = [page.text.index(f"question {number}") for number in range(3)]
    assert at == sorted(at)
    assert {"/calls/c0", "/calls/c1", "/calls/c2", "/calls?model=m%201"} <= set(page.links)


def test_sessions_are_those_of_a_user(app: LocalApp, browser: Browser) -> None:
    logged(app, "a", metadata={"session_id": "s1", "user_id": "ada"})
    logged(app, "b", metadata={"session_id": "s2", "user_id": "bob"})
    assert "/sessions/s2" not in browser.get("/sessions?user=ada").links
    assert "/sessions/s2" in browser.get("/sessions?user=").links


@pytest.mark.parametrize(
    ("ms", "words"),
    [(999, "999 ms"), (1500, "1.5 s"), (90e3, "1.5 min"), (5.4e6, "1.5 h"), (129.6e6, "1.5 days")],
)
def test_a_pause_is_told_in_the_unit_that_suits_it(ms: float, words: str) -> None:
    assert milliseconds(ms) == words


def test_a_long_session_comes_in_pages(app: LocalApp, browser: Browser) -> None:
    for number in range(52):
        logged(app, f"c{number}", metadata={"session_id": "s"})
    page = browser.get("/sessions/s")
    (earlier,) = {each for each in page.links if "after=" in each}
    assert "/calls/c0" not in page.links
    first = browser.get(earlier)
    assert {"/calls/c0", "/calls/c1", "/sessions/s"} <= set(first.links)
    assert "/calls/c2" not in first.links


def test_a_session_that_is_not_there_is_said_to_be_none(application: LocalApp, browser: Browser) -> None:
    other = application.in_new_project()
    logged(other, "a", metadata={"session_id": "s"})
    page = browser.get("/sessions/s")
    assert (page.status, "There is no call of session 's'." in page.text) == (404, True)


def test_what_was_said_stays_text(app: LocalApp, browser: Browser) -> None:
    attack = "<script>alert(1)</script>"
    steps = [{"id": 1, "type": attack, "user_question": attack, "response_time": 1}]
    logged(
        app,
        "a",
        input=f'[{{"role": "{attack}", "content": "{attack}"}}]',
        output=attack,
        metadata={"session_id": attack, "user_id": attack, "step_data": steps, attack: attack},
    )
    session = next(each for each in browser.get("/sessions").links if each.startswith("/sessions/"))
    for path in ("/sessions", session, "/calls/a"):
        page = browser.get(path)
        assert page.status == 200
        assert attack in page.text
        assert attack not in page.response.text


def test_what_nobody_told_is_not_zero(app: LocalApp, browser: Browser) -> None:
    """Neither on the session's page nor on the call's; where some are known, their sum is shown."""
    logged(app, "a", metadata={"session_id": "s"})
    for path in ("/sessions/s", "/calls/a"):
        assert browser.get(path).text.count("not known") == 3
    for number in range(2):
        logged(app, f"b{number}", metadata={"session_id": "s", "input_tokens": 5}, duration_ms=70)
    assert "10 in, unknown out" in browser.get("/sessions/s").text
    assert "p50 70 ms, p95 70 ms" in browser.get("/sessions/s").text
