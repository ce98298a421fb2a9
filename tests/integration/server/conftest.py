"""A real backend over each database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import NewDatabase
from tests.support.backend import Backend


@pytest.fixture(scope="module")
def backend(new_database: NewDatabase) -> Iterator[Backend]:
    """A backend over an empty database of each kind; a module's tests share it."""
    with Backend(db=new_database()) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr
