"""What the tests of the API share: one application for a module on each database, a project for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import NewDatabase
from tests.support.app import LocalApp


@pytest.fixture(scope="module")
def application(new_database: NewDatabase) -> Iterator[LocalApp]:
    with LocalApp(new_database()) as running:
        yield running


@pytest.fixture
def app(application: LocalApp) -> LocalApp:
    """The application, for an admin of a project that is empty."""
    return application.in_new_project()
