"""What must be known of uvicorn, where an application is loaded while its signal handler is set.

That is so in its workers and under its reloader. At the end of a server it restores the handler from before,
which is the default action, and raises the signal again: the process ends there, past `atexit`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType


def listen(hear: Callable[[], None]) -> None:
    """Have `hear` called when uvicorn hears SIGTERM, before it does. Asking again changes nothing."""
    handler = signal.getsignal(signal.SIGTERM)
    server = type(getattr(handler, "__self__", None)).__module__
    if callable(handler) and server.partition(".")[0] == "uvicorn":
        with suppress(ValueError):  # on another thread than the main one
            signal.signal(signal.SIGTERM, _both(hear, handler))


def _both(
    hear: Callable[[], None], handler: Callable[[int, FrameType | None], object]
) -> Callable[[int, FrameType | None], None]:
    def call_both(number: int, frame: FrameType | None) -> None:
        hear()
        handler(number, frame)

    return call_both
