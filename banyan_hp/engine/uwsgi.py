"""What must be known of uWSGI, where the process is one of its workers.

Its fork hooks need no care here: an engine looks at the process id at each call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from .log import warn

_NO = ("", "0", "false", "no", "off", "none")


def threads_can_run() -> bool:
    """False in a uWSGI that was started without `--enable-threads`: between requests threads stand still."""
    uwsgi = _module()
    if uwsgi is None:
        return True
    options: Mapping[object, object] = getattr(uwsgi, "opt", {})
    if any(_is_on(options, name) for name in ("enable-threads", "threads")):
        return True
    warn(
        "uwsgi",
        "uWSGI runs without threads: records are delivered by the callers' threads. "
        "Start it with --enable-threads to have that done in the background",
    )
    return False


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


def _is_on(options: Mapping[object, object], name: str) -> bool:
    """An option's keys and values are text or bytes, by version; a flag without value is True."""
    value = options.get(name, options.get(name.encode(), ""))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().lower() not in _NO
