"""The fixtures for pytest, which finds them by an entry point.

Every run of pytest where the package is installed loads this file, so nothing is imported before a fixture is
used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .capturing import CapturedRecords
    from .fake_backend import FakeBackend


@pytest.fixture
def captured_records() -> Iterator[CapturedRecords]:
    """The records that the test logs, which stay in the process; see `banyan_hp.testing.capture`."""
    from .capturing import capture

    with capture() as records:
        yield records


@pytest.fixture
def banyan_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeBackend]:
    """A `banyan_hp.testing.FakeBackend` that clients find by themselves, through the environment.

    For the test, clients that are made without arguments speak to it, the module functions have no default
    logger until one is made, and the on-disk queue is in `tmp_path`.
    """
    import secrets

    from .default_logger import fresh_default_logger
    from .fake_backend import FakeBackend

    with FakeBackend(api_key=f"psk_{secrets.token_urlsafe(32)}") as backend:
        for name, value in backend.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("BANYAN_PROJECT_ID", "HUGGINGPLACE_MODE", "BANYAN_HP_DISABLED"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", str(tmp_path / "banyan_hp"))
        with fresh_default_logger():
            yield backend
