"""An outage that leaves records on disk, and the backend that comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.spools import KEY, Spools


@pytest.fixture
def spools(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spools:
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "110")
    return Spools(tmp_path / "state", capsys)


@pytest.fixture
def port() -> int:
    with ScriptedServer() as reserved:
        return reserved.port


@pytest.fixture
def outage(make_logger: MakeLogger, port: int) -> Callable[..., None]:
    """Log so many records at a backend that is down, and end in good order."""

    def log(count: int, **options: Any) -> None:
        logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0, **options)
        for number in range(count):
            assert logger.log_prompt(input=f"question {number}", output="x", metadata={"number": number})
        logger.shutdown(timeout=5)

    return log


@pytest.fixture
def up(port: int) -> Iterator[Callable[[], ScriptedServer]]:
    """Bring the backend up again."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(ScriptedServer(batching(), port=port))
