"""The API and the pages, with the calls in ClickHouse: tests of both, once more."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from tests.support.app import LocalApp
from tests.support.browsing import Browser
from tests.unit.server import test_batches, test_results
from tests.unit.server.api import test_otlp, test_scores
from tests.unit.server.ui import (
    test_call_pages,
    test_overview,
    test_review,
    test_session_pages,
    test_trace_pages,
)

if TYPE_CHECKING:
    from pathlib import Path

_PAGES = (test_call_pages, test_overview, test_review, test_session_pages, test_trace_pages)
_FOR = {"app", "browser"}


def _take(module: ModuleType, given: frozenset[str] = frozenset()) -> None:
    """Its tests that ask for an application or a browser, and for these parameters, and nothing else."""
    short = module.__name__.rpartition(".")[2]
    for name, each in list(vars(module).items()):
        if not name.startswith("test_") or not inspect.isfunction(each):
            continue
        if set(inspect.signature(each).parameters) <= _FOR | given:
            globals()[f"{short}_{name.removeprefix('test_')}"] = each


for _module in (test_batches, test_results, test_scores, *_PAGES):
    _take(_module)
_take(test_otlp, frozenset({"attributes", "told", "value"}))


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, embedded_in: Path) -> Iterator[LocalApp]:
    with LocalApp(tmp_path_factory.mktemp("api"), calls=f"chdb://{embedded_in}") as running:
        yield running


@pytest.fixture
def app(application: LocalApp) -> LocalApp:
    """The application, for an admin of a project that is empty."""
    return application.in_new_project()


@pytest.fixture
def browser(app: LocalApp) -> Browser:
    """A browser that is logged in as that admin."""
    found = Browser(app)
    found.log_in()
    return found
