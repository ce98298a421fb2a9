"""What happens to engines when the process forks or ends."""

from __future__ import annotations

import atexit
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine

_engines: set[Engine] = set()


def register(engine: Engine) -> None:
    """From its first record on an engine lives until it is shut down, at the latest at exit."""
    _engines.add(engine)


def unregister(engine: Engine) -> None:
    _engines.discard(engine)


@atexit.register
def _at_exit() -> None:
    """Drain every engine within its `exit_timeout`; what is left by then is on disk."""
    began = time.monotonic()
    for engine in list(_engines):
        spent = time.monotonic() - began
        engine.shutdown(max(0.0, engine.settings.exit_timeout - spent))


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
