"""What is on disk after an outage, and `banyan-hp spool` run on it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.main import main
from banyan_hp.engine.spool.lease import take_over
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.sync import Clock
from tests.support.scripted import ScriptedServer

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


def acknowledge(path: Path, number: int) -> None:
    """As a process does that has delivered this record and dies."""
    segment = take_over(path)
    assert segment is not None
    segment.read_index()
    segment.acknowledge([number])
    segment.close()


def numbers(server: ScriptedServer) -> list[int]:
    return [body["metadata"]["number"] for _, body in server.records()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
