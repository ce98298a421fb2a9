"""The browser tests look at every page."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from tests.browser.addresses import ADDRESSES
from tests.support.app import LocalApp

# What scripts load, and is no page that somebody looks at.
NO_PAGES: set[str] = set()


def test_every_page_has_an_address_that_is_looked_at(application: LocalApp) -> None:
    """A route that is added fails here until `tests/browser/addresses.py` has a line for it."""
    paths = {each.partition("?")[0] for each in ADDRESSES}
    assert [
        route.path for route in pages(application) if not any(route.path_regex.match(path) for path in paths)
    ] == []


def pages(application: LocalApp) -> list[APIRoute]:
    """The routes that a person opens, by GET."""
    return [
        route
        for route in application.app.routes
        if isinstance(route, APIRoute)
        and route.endpoint.__module__.startswith("banyan_hp.server.ui.")
        and route.methods == {"GET"}
        and route.path not in NO_PAGES
    ]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_looked_at_is_a_page(application: LocalApp, address: str) -> None:
    """No line is left over when a page goes."""
    path = address.partition("?")[0]
    assert re.fullmatch(r"[/a-z{}]+", path)
    assert any(route.path_regex.match(path) for route in pages(application))
