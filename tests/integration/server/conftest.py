"""A real backend over each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from banyan_hp.cli.main import main
from tests.conftest import NewDatabase
from tests.support.backend import Backend

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def backend(new_database: NewDatabase) -> Iterator[Backend]:
    """A backend over an empty database of each kind; a module's tests share it."""
    with Backend(db=new_database()) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


@pytest.fixture
def command(backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command line for that backend: its exit code, what it says and what it complains of."""
    monkeypatch.setenv("BANYAN_BASE_URL", backend.url)
    monkeypatch.setenv("BANYAN_API_KEY", backend.api_key)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
