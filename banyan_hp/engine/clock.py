"""Time, as everything in the engine gets it: handed in, so that tests can hand in another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import BuiltinFunctionType

from .bell import Bell

_ONE_TURN = 0.0001


class Clock:
    """The real clock: monotonic for durations, wall for timestamps, and the one way to wait."""

    # The C functions themselves: each record asks for both.
    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    wall: Callable[[], float] = staticmethod(time.time)

    def yield_(self) -> None:
        """Let other threads run, and other greenlets where `time` is patched.

        gevent's `sleep(0)` runs greenlets that are ready, again and again, and looks at no timer or socket.
        """
        sleep = time.sleep
        sleep(0 if isinstance(sleep, BuiltinFunctionType) else _ONE_TURN)

    def wait(self, bell: Bell, seconds: float) -> bool:
        """Wait until the bell rings, at most `seconds`; True if it rang."""
        return bell.wait(seconds)
