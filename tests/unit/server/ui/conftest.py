"""What the tests of the pages share: one application for a module, and a browser logged in to a project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.app import LocalApp
from tests.support.browsing import Browser


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalApp]:
    """On SQLite: what asks a database has tests of its own on both."""
    with LocalApp(tmp_path_factory.mktemp("pages")) as running:
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
