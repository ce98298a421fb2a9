"""The browser tests look at every page."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest
from fastapi.routing import APIRoute

from banyan_hp.server import ui
from tests.browser.addresses import ADDRESSES

# What scripts load, and is no page that somebody looks at.
NO_PAGES = {
    "/llms.txt",
    "/calls/tail",
    "/calls/{call_id:path}/text",
    "/traces/{trace_id}/spans/{span_id}/text",
}


def test_every_page_has_an_address_that_is_looked_at() -> None:
    """A route that is added fails here until `tests/browser/addresses.py` has a line for it."""
    paths = {each.partition("?")[0] for each in ADDRESSES}
    unseen = [route.path for route in pages() if not any(route.path_regex.match(path) for path in paths)]
    assert unseen == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_looked_at_is_a_page(address: str) -> None:
    """No line is left over when a page goes."""
    assert any(route.path_regex.match(address.partition("?")[0]) for route in pages())


def pages() -> list[APIRoute]:
    """The routes that a person opens, by GET."""
    modules = [import_module(f"{ui.__name__}.{each.name}") for each in iter_modules(ui.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return [route for route in routes if route.methods == {"GET"} and route.path not in NO_PAGES]
