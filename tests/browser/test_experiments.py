"""Experiments, step by step: made on a page, run by an application, looked at, released; with refusals."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, expect

from banyan_hp import PromptStackLogger
from tests.browser.conftest import DEMO_KEY, Site, Visiting
from tests.browser.test_pages import serious
from tests.browser.test_use import TTL_SECONDS, became, content

USERS = 160
THREADS = 4
WINDOW_HOURS = "0.0014"  # five seconds: as long as this test waits for figures
FIGURES_SECONDS = 30.0


@pytest.mark.parametrize("scripts", [True, False])
def test_an_experiment_is_made_run_looked_at_and_its_winner_released(
    visit: Visiting, site: Site, scripts: bool
) -> None:
    """An application that runs gets the winner within its time to live."""
    name = f"reply-{'with' if scripts else 'without'}"
    page = visit(scripts=scripts).go("/prompts")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Text").fill("Answer {{question}}.")
    page.get_by_role("button", name="Save as a draft").click()
    page.get_by_role("button", name="Release: version 1.0").click()
    page.get_by_label("Version", exact=True).fill("1.1")
    page.get_by_label("Text").fill("Answer {{question}}, and ask back.")
    page.get_by_role("button", name="Save as a draft").click()

    page.goto(f"{site.url}/experiments")
    page.get_by_role("link", name="Make an experiment").click()
    page.get_by_label("On prompt").select_option(label=name)
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Id, or nothing").fill(f"{name}-asks")
    for version in ("1.0", "1.1"):
        page.get_by_label(f"Exact traffic of {version}").fill("50")
    page.get_by_label("Primary metric").fill("thumbs")
    page.get_by_label("A user counts for").fill(WINDOW_HOURS)
    page.get_by_role("button", name="Start it").click()
    expect(page.get_by_text("No user has come yet").first).to_be_visible()

    with PromptStackLogger(api_key=DEMO_KEY, base_url=site.url, prompt_cache_ttl=TTL_SECONDS) as application:
        send_traffic(application, name)
        old = content(application, name)
        expect(page.get_by_role("button", name="Release 1.1 and finish")).to_have_count(0)
        until_won(page, site, name)
        expect(page.get_by_role("img", name="Differences to the control in thumbs")).to_be_visible()
        expect(page.get_by_role("img", name="The difference of 1.1 to the control over time")).to_be_visible()
        page.get_by_role("button", name="Release 1.1 and finish").click()
        expect(page.get_by_text("It is live: 1.1")).to_be_visible()
        assert old == "Answer {{question}}."
        assert became("Answer {{question}}, and ask back.", application, name) < TTL_SECONDS + 1
    expect(page.get_by_role("heading", level=1)).to_contain_text("finished")


def send_traffic(application: PromptStackLogger, name: str) -> None:
    """From several threads: each user gets a version, and most like the second one better."""

    def visit_of(number: int) -> None:
        user = {"user_id": f"{name}-{number}"}
        prompt = application.get_prompt(name, sticky_context=user)
        assert prompt is not None
        application.log_prompt(input="Hi", output="Hello", prompt_data=prompt, duration_ms=100 + number % 9)
        likes = 9 if prompt.version == "1.1" else 2  # of ten
        application.score("thumbs", number % 10 < likes, sticky_context=user)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(visit_of, range(USERS)))
    assert application.flush(timeout=30).delivered


def until_won(page: Page, site: Site, name: str) -> None:
    """Look again until the windows are over."""
    until = time.monotonic() + FIGURES_SECONDS
    while page.get_by_text("1.1 won in thumbs").count() == 0:
        assert time.monotonic() < until, page.locator("main").inner_text()
        page.wait_for_timeout(500)
        page.goto(f"{site.url}/experiments/{name}-asks")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_refused_experiment_stays_in_its_form(visit: Visiting, axe: str, scripts: bool) -> None:
    """And the browser shows which field is wrong, and why."""
    visiting = visit(scripts=scripts)
    page = visiting.go("/experiments-new")
    page.get_by_label("On prompt").select_option(label="quickstart")
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Id, or nothing").fill("support-tone")
    page.get_by_label("Exact traffic of 1.1").fill("12.5")
    page.get_by_label("Primary metric").fill("smiles")
    page.get_by_role("button", name="Save as a draft").click()
    field = page.get_by_label("Id, or nothing")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("experiment 'support-tone' already exists.")
    expect(page.get_by_label("Exact traffic of 1.1")).to_have_value("12.5")
    expect(page.get_by_label("Primary metric")).to_have_value("smiles")
    if scripts:
        page.evaluate(axe)
        assert serious(page) == []
    visiting.troubles[:] = [each for each in visiting.troubles if "409 (Conflict)" not in each]


@pytest.mark.parametrize("scripts", [True, False])
def test_traffic_is_moved_by_sliders_and_tried_before(visit: Visiting, axe: str, scripts: bool) -> None:
    """What it would move is said first; with scripts slider and number go together."""
    page = visit(scripts=scripts).go("/experiments/description-length")
    page.get_by_text("Change the traffic").click()
    slider = page.get_by_label("Traffic of 1.2-short", exact=True)
    now = f"{int(slider.input_value()) + 1}"
    slider.press("ArrowRight")
    page.get_by_role("button", name="What would it move?").click()
    expect(page.get_by_text("The experiment does not run, so nobody has one now.")).to_be_visible()
    expect(slider).to_have_value(now)
    if scripts:
        page.evaluate(axe)
        assert serious(page) == []
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("tr", has_text="1.2-short").first).to_contain_text(f"{now} %")
