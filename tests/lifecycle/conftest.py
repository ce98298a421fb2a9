"""What the tests with real servers share: one backend for each file, and a run of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.servers import ROOT, Arrivals


@pytest.fixture(scope="module")
def shared_backend() -> Iterator[Backend]:
    with Backend(seed=ROOT / "examples" / "seed.json") as backend:
        yield backend


@pytest.fixture
def backend(shared_backend: Backend, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> Backend:
    """A backend that the environment names, for the processes that a test starts."""
    monkeypatch.setenv("BANYAN_BASE_URL", shared_backend.url)
    monkeypatch.setenv("BANYAN_API_KEY", shared_backend.api_key)
    return shared_backend


@pytest.fixture
def arrivals(backend: Backend, tmp_path: Path) -> Arrivals:
    """What comes to the backend of this test's records."""
    return Arrivals(backend, f"{os.getpid()}-{tmp_path.name}")
