"""Calling the application's functions: what one raises is counted and logged, one that blocks is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ...foreign import is_deliberate, type_name
from ...logs import suppressed, warn
from .shared import Shared


class OwnThread(threading.Thread):
    """A thread of ours: nobody else stops it by an exception, so whatever comes there is the callback's."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A callback did not return."""

    error: BaseException


class Callbacks:
    """Calls on any thread, without a lock held."""

    def __init__(self, shared: Shared) -> None:
        self._lock, self._clock, ledger = shared
        self._counters = ledger.counters
        self._running: dict[int, tuple[float, str]] = {}  # by thread; each touches only its own entry

    def call(self, name: str, callback: Callable[..., object], *args: object) -> object:
        """What the callback returns, or `Raised`.

        On one of our own threads that is true whatever it raises. Elsewhere what somebody raises on purpose,
        to stop the application's thread, passes.

        What it logs is about delivery, and does not become a record: one that logs for each record would
        never let us come to an end.
        """
        me = threading.get_ident()
        before = self._running.get(me)  # a callback that logs may have another one called
        self._running[me] = self._clock.monotonic(), name
        try:
            with suppressed():
                return callback(*args)
        except BaseException as error:
            if is_deliberate(error) and not isinstance(threading.current_thread(), OwnThread):
                raise
            self.count_error()
            warn(name, "the callback %s raised %s", name, type_name(error))
            return Raised(error)
        finally:
            if before is None:
                del self._running[me]
            else:
                self._running[me] = before

    def count_error(self) -> None:
        with self._lock:
            self._counters.callback_errors += 1

    def longest(self) -> tuple[float, str] | None:
        """The callback that has run for the longest time: since when (monotonic clock), and its name."""
        return min(tuple(self._running.values()), default=None)  # the copy is atomic under the GIL
