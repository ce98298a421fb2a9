"""Directories that real engines have left behind during an outage, and the command line over them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.main import main
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.sync import Clock
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer, batching

KEY = "psk_local"
DESTINATION = r"[0-9a-f]{16}-[0-9a-f]{16}"


class Spools:
    """What is below the base directory, and the command line that looks at it."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base = base
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._capsys.readouterr()
        try:
            code = main(["spool", *words])
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: str) -> list[dict[str, Any]]:
        code, out, err = self.run(*words, "--json")
        assert (code, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    def directory(self) -> Path:
        (only,) = (self.base / "spool").iterdir()
        return only

    def segments(self) -> list[Path]:
        return sorted((self.base / "spool").glob("*/*-*-*.jsonl"))

    def quarantine(self) -> Quarantine:
        return Quarantine(self.directory(), Clock())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


def acknowledge(path: Path, number: int) -> None:
    """As a process does that has delivered this record and dies."""
    segment = Segment.adopt(path)
    assert segment is not None
    segment.index()
    segment.acknowledge([number])
    segment.close()


def numbers(server: ScriptedServer) -> list[int]:
    return [body["metadata"]["number"] for _, body in server.records()]
