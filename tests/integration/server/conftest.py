"""A real backend over each database."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend
from tests.support.postgres import MISSING, Postgres, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of a run; each makes a database of its own in it."""
    if programs() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with Postgres() as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend over an empty database of each kind; a module's tests share it."""
    db = request.getfixturevalue("postgres").new_database() if request.param == "postgres" else None
    with Backend(db=db) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr
