"""What must be known of uWSGI, where the process is one of its workers.

Its fork hooks need no care here: an engine looks at the process id at each call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType

from ...logs import warn


def threads_can_run() -> bool:
    """False in a uWSGI without threads, and in the master, which forks its workers without a look at them.

    Before 2.0.27 a uWSGI is without threads unless started with `--enable-threads` or `--threads`; since then
    they always run, whatever the options say. `uwsgi.has_threads` is what it goes by itself.
    """
    uwsgi = _module()
    if uwsgi is None:
        return True
    if getattr(uwsgi, "has_threads", True):
        return not _is_master(uwsgi)
    warn(
        "uwsgi",
        "uWSGI runs without threads: records are delivered by the callers' threads. "
        "Start it with --enable-threads to have that done in the background",
    )
    return False


def _is_master(uwsgi: ModuleType) -> bool:
    """Whether workers are forked from here: a thread of ours might hold the GIL then, in them for ever."""
    masterpid: Callable[[], int] | None = getattr(uwsgi, "masterpid", None)
    return masterpid is not None and masterpid() == os.getpid()


def at_exit(drain: Callable[[], None]) -> None:
    """Have `drain` called when the uWSGI worker ends, before what was to be called until now."""
    uwsgi = _module()
    if uwsgi is None:
        return
    before: Callable[[], object] | None = getattr(uwsgi, "atexit", None)
    if before is not drain:
        uwsgi.atexit = drain if before is None else _both(drain, before)  # type: ignore[attr-defined]


def _both(first: Callable[[], None], second: Callable[[], object]) -> Callable[[], None]:
    def call_both() -> None:
        first()
        second()

    return call_both


def _module() -> ModuleType | None:
    """The module that exists inside uWSGI only."""
    return sys.modules.get("uwsgi")
