"""What happens to engines when the process forks or ends."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine

_engines: set[Engine] = set()
_children: set[int] = set()


def register(engine: Engine) -> None:
    """From its first record on an engine lives until it is shut down, at the latest at exit."""
    _engines.add(engine)
    _drain_at_the_end_of_a_child()


def _drain_at_the_end_of_a_child() -> None:
    """Children of multiprocessing leave by `os._exit`, past atexit, but run their finalizers."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None or os.getpid() in _children:
        return
    _children.add(os.getpid())
    from multiprocessing.util import Finalize

    Finalize(None, _at_exit, exitpriority=100)


def spool_closed(directory: Path) -> None:
    """An engine of this process has let go of its segments: another of the same destination may send them."""
    for engine in list(_engines):
        engine.look_on_disk(directory)


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
