"""Every page: in both themes, on wide screens and phones, with a screen reader, and against attackers."""

from __future__ import annotations

import re
from itertools import product
from typing import Any, Literal

import pytest
import requests
from playwright.sync_api import Page

from tests.browser.addresses import ADDRESSES, SECONDS
from tests.browser.conftest import DEMO_KEY, NAMES_KEY, NARROW, WIDE, Site, Visiting
from tests.browser.hostile_project import HOSTILE_KEY

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_SERIOUS = ("serious", "critical")
_AXE = "() => axe.run(document, {resultTypes: ['violations']})"
_OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
_HIDDEN = "(box) => box.scrollWidth - box.clientWidth"
_OUT_OF_SIGHT = "(cell) => cell.getBoundingClientRect().right - innerWidth"
_STRUCK = "() => [window.struck, document.querySelectorAll('.struck, [onerror], [onclick]').length]"
_LINKS = """() => ['href', 'src', 'action', 'hx-get'].flatMap((name) =>
    Array.from(document.querySelectorAll(`[${name}]`), (each) => each.getAttribute(name)))"""


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_is_whole(visit: Visiting, site: Site, axe: str, address: str) -> None:
    """No word on the console, no request to others; nothing sticks out, and nobody is shut out."""
    page = visit(key=None if address == "/login" else DEMO_KEY).go(site.known.fill(address))
    page.evaluate(axe)  # by the debugger, not by the page: its policy stays in force
    for theme, width in product(THEMES, (WIDE, NARROW)):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(_OVERFLOW) == 0, (theme, width)
        assert serious(page) == [], (theme, width)


def serious(page: Page) -> list[str]:
    """What shuts somebody out, on a page that has the accessibility checker."""
    found = page.evaluate(_AXE)["violations"]
    return [_said(each) for each in found if each["impact"] in _SERIOUS]


def _said(violation: dict[str, Any]) -> str:
    places = [(" ".join(each["target"]), each["failureSummary"]) for each in violation["nodes"][:5]]
    return f"{violation['id']}: {violation['help']}: {places}"


@pytest.mark.parametrize("address", [each for each in ADDRESSES if each != "/login" and "docs/" not in each])
def test_what_was_stored_stays_inert(visit: Visiting, site: Site, address: str) -> None:
    """Scripts, handlers, markup and links, in every field of calls and prompts and in the project's name."""
    page = visit(key=HOSTILE_KEY).go(site.hostile.fill(address))
    assert page.evaluate(_STRUCK) == [None, 0]
    assert [link for link in page.evaluate(_LINKS) if not re.match("/(?!/)|[#?]", link)] == []
    assert page.locator("h1").count() == 1


def test_the_hostile_texts_are_there(visit: Visiting, site: Site) -> None:
    """What is inert is shown, not left out."""
    page = visit(key=HOSTILE_KEY).go("/calls")
    assert page.get_by_text("<script>window.struck=1</script>").count() > 0
    assert page.get_by_text("=HYPERLINK(").count() > 0


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_without_a_space_leave_the_texts_in_sight(visit: Visiting, site: Site, width: int) -> None:
    """Wherever a call is listed; on a phone below them."""
    body = {"input": "in", "output": "out", "model": "m" * 200, "prompt_name": "p" * 200}
    headers = {"X-API-Key": NAMES_KEY, "Idempotency-Key": "unbroken"}
    metadata = {"session_id": "s" * 200, "user_id": "u" * 200}
    address = f"{site.url}/api/logs/prompt-usage"
    usage = {**body, "metadata": metadata}
    assert requests.post(address, json=usage, headers=headers, timeout=SECONDS).ok
    visiting = visit(width=width, key=NAMES_KEY)
    page = visiting.go("/calls")
    for cell in page.locator("tr[data-row] td").all():
        assert cell.bounding_box() is None or cell.evaluate(_OUT_OF_SIGHT) <= 0
    if width == WIDE:
        for path in ("/", "/sessions"):
            assert visiting.go(path).locator(".scroll").last.evaluate(_HIDDEN) == 0


def test_failures_are_pages_of_the_same_site(visit: Visiting, site: Site) -> None:
    """They say what is not there."""
    visiting = visit()
    page = visiting.go("/calls/no-such-call")
    assert "no-such-call" in page.locator("main").inner_text()
    assert [each for each in visiting.troubles if "404" not in each] == []
    visiting.troubles.clear()  # Chromium puts each 404 on the console
