"""SIGTERM, where the application asks for it: the process ends as at the end of a script."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from ...errors import ConfigurationError
from ...logs import warn
from . import exit as process_exit
from .termination import Again, DrainFirst

__all__ = ["install_signal_handlers"]

_EXIT_STATUS = 128 + signal.SIGTERM
_AGAIN_SECONDS = 1.0
_Previous = Callable[[int, FrameType | None], object] | int | None


def install_signal_handlers() -> None:
    """Have SIGTERM end the process as the end of a script does: what was logged is delivered, or on disk.

    Without it, Python's default is to die on the spot, and what is in memory is lost. Call it from the main
    thread, once; a second call changes nothing. In a server that handles SIGTERM itself (gunicorn,
    uWSGI, Celery) it is not needed.

    When the signal comes, all loggers send at once what they have. A handler that was there before is
    called then, and decides; if there was none, `SystemExit(143)` is raised in the main thread, so that
    `finally` clauses and `atexit` functions run, ours among them. A process that ignores SIGTERM goes on
    ignoring it, and a handler that was not installed by Python stays.

    Raises:
        ConfigurationError: called on another thread than the main one; Python allows it nowhere else.
    """
    if threading.current_thread() is not threading.main_thread():
        name = threading.current_thread().name
        raise ConfigurationError(
            f"install_signal_handlers() must be called on the main thread, was called on {name!r}"
        )
    previous: _Previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _Terminate) or previous == signal.SIG_IGN:
        return
    if isinstance(previous, DrainFirst):
        previous = signal.SIG_DFL
    if previous is None:
        warn("signals", "SIGTERM has a handler that Python did not install; it stays")
        return
    signal.signal(signal.SIGTERM, _Terminate(previous))


class _Terminate:
    """The handler. It interrupts the main thread anywhere, so it takes no lock."""

    def __init__(self, previous: _Previous) -> None:
        self._previous = previous
        self._again = Again()
        self._raised_at = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._again.arrived()
        if process_exit.in_a_section() and not self._again.too_long:
            self._again.later(number)
            return
        if callable(self._previous):
            process_exit.prepare_for_end()
            self._previous(number, frame)
            return
        process_exit.stop_lingering()
        if not process_exit.leaving() and time.monotonic() > self._raised_at + _AGAIN_SECONDS:
            self._raised_at = time.monotonic()  # a second one must not break into the exit's beginning
            raise SystemExit(_EXIT_STATUS)
