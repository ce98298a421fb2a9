"""What the spool's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disk import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A destination's directory, shared by several processes. Each kind of log line is said once."""
    disk = Disk(tmp_path / "spool" / "0123456789abcdef-00000001")
    yield disk
    for spool in disk.spools:
        spool.close()
