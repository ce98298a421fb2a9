"""How long tests wait for what must come: only a fault takes so long, however busy the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 40.0  # seconds


def eventually(is_so: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as it is true; AssertionError if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.002)
