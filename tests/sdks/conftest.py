"""`--table PATH`: write what was seen of the matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdks import cells


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, default=None, help="where to write the table of what is recorded")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path: Path | None = session.config.getoption("--table")
    if path is not None:
        cells.write(path)
