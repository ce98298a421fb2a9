"""SIGTERM, where the application asks for it: the process ends as at the end of a script."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from ..errors import ConfigurationError
from ..logs import warn
from . import lifecycle

_EXIT_STATUS = 128 + signal.SIGTERM
_SECTION_SECONDS = 0.001
_UNHEARD_SECONDS = 0.05
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
    if previous is None:
        warn("signals", "SIGTERM has a handler that Python did not install; it stays")
        return
    signal.signal(signal.SIGTERM, _Terminate(previous))


class _Terminate:
    """The handler. It interrupts the main thread anywhere, so it takes no lock."""

    def __init__(self, previous: _Previous) -> None:
        self._previous = previous
        self._postponed = False
        self._raised_at = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if lifecycle.in_a_section():
            self._postpone(number)
            return
        self._postponed = False
        lifecycle.hasten()
        if callable(self._previous):
            self._previous(number, frame)
        elif not lifecycle.leaving() and time.monotonic() > self._raised_at + _AGAIN_SECONDS:
            self._raised_at = (
                time.monotonic()
            )  # a second one at once must not break into the exit's beginning
            raise SystemExit(_EXIT_STATUS)

    def _postpone(self, number: int) -> None:
        """Have the main thread interrupted anew when its section is over; they take microseconds."""
        if not self._postponed:
            self._postponed = True
            with suppress(RuntimeError):  # no threads any more: the process is at its end already
                _thread.start_new_thread(self._send_again, (number,))

    def _send_again(self, number: int) -> None:
        """Until it is heard: a signal that comes just before a system call is not heard before its end."""
        main = threading.main_thread().ident
        time.sleep(_SECTION_SECONDS)
        while self._postponed and main is not None:
            signal.pthread_kill(main, number)
            time.sleep(_UNHEARD_SECONDS)
