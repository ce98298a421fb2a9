"""Calls that come while somebody looks at the list, and long texts: nothing jumps or freezes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from banyan_hp import PromptStackLogger
from tests.browser.addresses import SECONDS
from tests.browser.conftest import DEMO_KEY, Site, Visiting

Log = Callable[[str, str], None]
BLOCKED_MS = 2_000  # of the page's only thread, with two cores shared with much else
MEGABYTE = 1_000_000
LONG_AGO = "2026-01-01T00:00:00Z"  # at the end of all lists, whose pages they would fill
_WATCH = """() => {
    window.blocked = 0;
    new PerformanceObserver((list) => {
        for (const each of list.getEntries()) window.blocked += each.duration;
    }).observe({type: "longtask", buffered: true});
}"""


@pytest.fixture
def log(site: Site) -> Iterator[Log]:
    """Log a call of a model by the library, and wait until the backend has it."""
    with PromptStackLogger(api_key=DEMO_KEY, base_url=site.url) as application:

        def logged(model: str, text: str) -> None:
            assert application.log_prompt(input=text, output="out", model=model)
            assert application.flush(timeout=SECONDS)

        yield logged


def top(row: Locator) -> float:
    """Where it is in the window."""
    return float(row.evaluate("(row) => row.getBoundingClientRect().top"))


def rows(page: Page) -> Locator:
    return page.locator("tr[data-row]")


def test_new_calls_wait_behind_a_button_until_the_list_is_followed(visit: Visiting, log: Log) -> None:
    """A pause holds them, and going on shows them; what was there stays where it was."""
    log("live", "first")
    page = visit().go("/calls?model=live")
    page.get_by_role("button", name="Follow live").wait_for()
    place = top(rows(page).first)
    log("live", "second")
    waiting = page.get_by_role("button", name="1 new call")
    expect(waiting).to_be_visible()
    expect(rows(page)).to_have_count(1)
    assert top(rows(page).first) == place
    waiting.click()
    expect(rows(page).first).to_contain_text("second")
    expect(waiting).to_be_hidden()
    page.keyboard.press("l")
    log("live", "third")
    expect(rows(page).first).to_contain_text("third")
    page.keyboard.press("l")
    log("live", "fourth")
    expect(waiting).to_be_visible()
    expect(rows(page).first).to_contain_text("third")
    page.get_by_role("button", name="Follow live").click()
    expect(rows(page).first).to_contain_text("fourth")
    expect(rows(page)).to_have_count(4)


def test_calls_of_others_stay_out_of_a_filtered_list(visit: Visiting, log: Log) -> None:
    """The tail has the filters of the list."""
    log("mine", "first")
    page = visit().go("/calls?model=mine")
    page.get_by_role("button", name="Follow live").click()
    log("others", "not this one")
    log("mine", "second")
    expect(rows(page).first).to_contain_text("second")
    expect(rows(page)).to_have_count(2)


def test_whoever_reads_further_down_is_not_moved(visit: Visiting, log: Log) -> None:
    """Rows that come in above push nothing away."""
    page = visit().go("/calls")
    page.get_by_role("button", name="Follow live").click()
    page.mouse.wheel(0, 900)
    page.wait_for_function("scrollY > 500")
    read = rows(page).nth(25)
    place, number = top(read), read.get_attribute("data-call")
    log("above", "somewhere above")
    expect(rows(page).first).to_contain_text("somewhere above")
    assert abs(top(page.locator(f"tr[data-call='{number}']")) - place) < 2


CHAT = [{"role": "user", "content": "word " * 10_000}] * 20
TEXTS = {
    "a text": "word " * (MEGABYTE // 5),
    "one line without a space": "w" * MEGABYTE,
    "a chat": json.dumps(CHAT),
    "JSON": json.dumps({"rows": [{"name": "x" * 50, "value": number} for number in range(12_000)]}),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_megabyte_does_not_freeze_the_page(visit: Visiting, site: Site, kind: str) -> None:
    """In every field; it can be scrolled, opened and read to its end."""
    name, text = f"long-{list(TEXTS).index(kind)}", TEXTS[kind]
    body = {"input": text, "output": text, "model": "m", "metadata": {"text": text, "session_id": name}}
    headers = {"X-API-Key": DEMO_KEY, "Idempotency-Key": name, "X-Event-Time": LONG_AGO}
    address = f"{site.url}/api/logs/prompt-usage"
    assert requests.post(address, json=body, headers=headers, timeout=SECONDS).ok
    visiting = visit()
    visiting.page.add_init_script(f"({_WATCH})()")
    for path in (f"/calls/{name}", f"/sessions/{name}", f"/review?session={name}"):
        page = visiting.go(path)
        for summary in page.locator("main details > summary").all()[:3]:
            if summary.is_visible():
                summary.click()
        page.keyboard.press("End")
        page.mouse.wheel(0, -400)
        assert (
            page.evaluate("() => new Promise((done) => setTimeout(() => done(window.blocked)))") < BLOCKED_MS
        )
    page = visiting.go(f"/calls/{name}/text?part=output")
    assert len(page.locator("body").inner_text()) > 0.8 * len(text)
