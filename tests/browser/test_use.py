"""What people do on the pages, step by step: with the mouse, with keys alone, and without scripts."""

from __future__ import annotations

import os
import re
import time

import pytest
from playwright.sync_api import Page, expect

from banyan_hp import PromptStackLogger
from tests.browser.conftest import DEMO_KEY, READ_KEY, Site, Visiting
from tests.support.patience import PATIENCE
from tests.support.timing import assert_in_time

TTL_SECONDS = 1.0
_IN_A_BOX = """() => {
    const title = document.getElementById("keys-title").getBoundingClientRect();
    const box = document.querySelector("#keys article").getBoundingClientRect();
    return title.left > box.left && title.top > box.top && box.width < innerWidth;
}"""


@pytest.mark.parametrize("scripts", [True, False])
def test_a_visitor_logs_in_and_out(visit: Visiting, scripts: bool) -> None:
    """The page that was wanted comes after the login, and none without one."""
    page = visit(key=None, scripts=scripts).go("/calls?failed=true")
    page.get_by_label("API key").fill(DEMO_KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/calls\?failed=true$"))
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login"))
    page.goto(page.url.partition("/login")[0] + "/calls")
    expect(page).to_have_url(re.compile("/login"))


@pytest.mark.parametrize("scripts", [True, False])
def test_filters_are_in_the_address_and_the_back_button_undoes_them(visit: Visiting, scripts: bool) -> None:
    """A filter that is set by a value's link adds to the history like one of the form."""
    page = visit(scripts=scripts).go("/calls")
    page.get_by_label("Failed").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("failed=true"))
    expect(page.get_by_label("Failed")).to_have_value("true")
    assert set(states(page)) == {"error"}
    page.locator("tbody tr").first.get_by_role("link").nth(1).click()
    expect(page).to_have_url(re.compile("prompt_name="))
    page.go_back()
    expect(page.get_by_label("Failed")).to_have_value("true")
    page.go_back()
    assert "ok" in states(page)


def states(page: Page) -> list[str]:
    return list(page.locator("tbody tr[data-row] td:nth-child(2)").all_inner_texts())


@pytest.mark.parametrize("scripts", [True, False])
def test_more_calls_are_one_click_away(visit: Visiting, scripts: bool) -> None:
    """With scripts below those that are there, else on a page of their own."""
    page = visit(scripts=scripts).go("/calls")
    first = page.locator("tr[data-row]").first.inner_text()
    page.get_by_role("link", name="More").click()
    if scripts:
        expect(page.locator("tr[data-row]")).to_have_count(100)
    else:
        expect(page).to_have_url(re.compile("after="))
        assert page.locator("tr[data-row]").first.inner_text() != first


def test_keys_alone_search_move_and_open(visit: Visiting) -> None:
    """`?` lists the keys, `/` goes to the search, `j` and `k` move over the rows, Enter opens one."""
    page = visit().go("/calls")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    assert page.evaluate(_IN_A_BOX)
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr[data-row]").first.get_by_role("link").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("tr[data-row]").nth(1).get_by_role("link").first).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("/plant j")
    expect(page.locator("[data-search]")).to_have_value("/plant j")
    page.keyboard.press("Escape")
    page.locator("[data-search]").blur()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/calls/.+"))


def test_a_page_without_a_search_leads_to_that_of_calls(visit: Visiting) -> None:
    """`/` searches wherever one is."""
    page = visit().go("/prompts")
    page.keyboard.press("/")
    expect(page).to_have_url(re.compile("/calls"))
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("plant")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("text=plant"))


@pytest.mark.parametrize("scripts", [True, False])
def test_a_prompt_is_edited_and_released_and_an_application_gets_it(
    visit: Visiting, site: Site, scripts: bool, request: pytest.FixtureRequest
) -> None:
    """Within its time to live, without a restart; and it is released to nobody as long as it is a draft."""
    name = f"greeting-{'with' if scripts else 'without'}-{os.urandom(3).hex()}"
    page = visit(scripts=scripts).go("/prompts")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Text").fill("Say hello to {{name}}.")
    page.get_by_role("button", name="Save as a draft").click()
    page.get_by_role("button", name="Release: version 1.0").click()
    expect(page.get_by_text("Live: 1.0")).to_be_visible()
    with PromptStackLogger(api_key=DEMO_KEY, base_url=site.url, prompt_cache_ttl=TTL_SECONDS) as application:
        assert content(application, name) == "Say hello to {{name}}."
        page.get_by_label("Version", exact=True).fill("1.1")
        page.get_by_label("Text").fill("Greet {{name}} warmly.")
        page.get_by_label("What changed").fill("warmer")
        page.get_by_role("button", name="Save as a draft").click()
        expect(page).to_have_url(re.compile("version=1.1"))
        page.get_by_label("name", exact=True).fill("Ada")
        page.get_by_role("button", name="Try").click()
        expect(page.get_by_text("Greet Ada warmly.")).to_be_visible()
        assert content(application, name) == "Say hello to {{name}}."
        page.get_by_role("button", name="Release: version 1.1").click()
        expect(page.get_by_text("Live: 1.1")).to_be_visible()
        assert_in_time(became("Greet {{name}} warmly.", application, name), TTL_SECONDS + 1)


def content(application: PromptStackLogger, name: str) -> object:
    prompt = application.get_prompt(name)
    assert prompt is not None
    return prompt.content


def became(wanted: str, application: PromptStackLogger, name: str) -> float:
    """How long it took, as an application that asks again and again sees it."""
    begun = time.monotonic()
    while content(application, name) != wanted:
        assert time.monotonic() < begun + PATIENCE
        time.sleep(0.02)
    return time.monotonic() - begun


def test_a_reader_is_offered_no_change(visit: Visiting, site: Site) -> None:
    """Neither a form nor a button that would be refused."""
    visiting = visit(key=READ_KEY)
    for address in ("/prompts", site.known.fill("/prompts/{prompt}"), "/settings"):
        page = visiting.go(address)
        assert page.locator("main form[method=post]").count() == 0


@pytest.mark.parametrize("scripts", [True, False])
def test_a_key_is_made_shown_once_and_revoked(visit: Visiting, scripts: bool) -> None:
    """Its secret is on one page only, and in no address."""
    page = visit(scripts=scripts).go("/settings")
    page.get_by_label("Role").select_option("read")
    page.get_by_role("button", name="Make a key").click()
    secret = page.locator("#secret").inner_text().strip()
    assert secret
    assert secret not in page.url
    page.goto(page.url.partition("/settings")[0] + "/settings")
    assert secret not in page.content()
    page.locator("summary", has_text="Revoke").first.click()  # and nothing has happened yet
    page.get_by_role("button", name=re.compile("Revoke key .* for good")).click()
    expect(page.locator("summary", has_text="Revoke")).to_have_count(0)
