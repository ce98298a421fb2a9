"""eventlet's hub runs what a signal handler has started at its next event only: a byte in a pipe is one.

The hub of the main thread watches the pipe from the first logger on, and in a forked child, which makes a
pipe of its own, from the first record on. If the application replaces its hub later, the pipe is not watched.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

_MANY = 4096


class _Watched(NamedTuple):
    """A pipe, and the hub that watches it."""

    pid: int
    hub: Any
    reads: int
    writes: int

    def empty(self, _: int) -> None:
        with suppress(BlockingIOError):
            _plain_os().read(self.reads, _MANY)


_watched: _Watched | None = None


def watch() -> None:
    """Have this thread's hub watch a pipe; nothing if it does, or if this is not the main thread."""
    global _watched
    hub = _hub()
    if hub is None or _is_watching(hub):
        return
    reads, writes = os.pipe()
    for end in (reads, writes):
        os.set_blocking(end, False)
    _watched = _Watched(os.getpid(), hub, reads, writes)
    # It notifies waiters for a descriptor when that is closed; this one has none.
    hub.add("read", reads, _watched.empty, lambda *_: None, lambda *_: None)


def wake() -> bool:
    """Have the hub look for work; returns whether it will. For a signal handler: takes no lock."""
    watched = _watched
    if watched is None or not _is_watching(_hub()):
        return False
    with suppress(BlockingIOError):  # full: then it wakes anyway
        _plain_os().write(watched.writes, b"\0")
    return True


def _plain_os() -> Any:
    """Its functions can be called from the hub: they switch to no other greenlet."""
    return sys.modules["eventlet.patcher"].original("os")


def _hub() -> Any:
    """The main thread's; None on other threads."""
    patcher, hubs = sys.modules.get("eventlet.patcher"), sys.modules.get("eventlet.hubs")
    if patcher is None or hubs is None:
        return None
    threading = patcher.original("threading")  # the threads, not the greenlets
    return hubs.get_hub() if threading.current_thread() is threading.main_thread() else None


def _is_watching(hub: Any) -> bool:
    return _watched is not None and _watched.pid == os.getpid() and _watched.hub is hub
