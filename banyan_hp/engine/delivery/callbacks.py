"""The application's callbacks: how they are called, and what `on_error` and `on_drop` have to be called with.

What a callback raises is counted and logged; one that blocks shows in `health()`. Calls of `on_error` and
`on_drop` are collected anywhere and made on our own threads.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import DeliveryError
from ...foreign import is_deliberate, type_name
from ...logs import suppressed, warn
from ..threads import start
from .shared import Shared

KEPT_ERRORS = 100


class OwnThread(threading.Thread):
    """A thread of ours: nobody else stops it by an exception, so whatever comes there is the callback's."""


class Raised(NamedTuple):
    """A callback did not return."""

    error: BaseException


class CountingCallback(ABC):
    """A `before_send` that also says what it has replaced, see `banyan_hp.redact`."""

    @abstractmethod
    def __call__(self, record: dict[str, Any], /) -> dict[str, Any] | None:
        """As any `before_send`."""

    @abstractmethod
    def counted(self, record: dict[str, Any]) -> tuple[dict[str, Any] | None, Mapping[str, int]]:
        """What calling it returns, and how many values of each kind it has replaced."""


class Hooks(NamedTuple):
    """The application's functions. What `before_send` returns is checked."""

    before_send: Callable[[dict[str, Any]], object] | None = None
    on_error: Callable[[DeliveryError], object] | None = None
    on_drop: Callable[[str, int], object] | None = None


class Callbacks:
    """Calls on any thread, without a lock held.

    Attributes:
        hooks: may be replaced by other objects for the same functions.
    """

    def __init__(self, shared: Shared, hooks: Hooks) -> None:
        self.hooks = hooks
        self._lock, self._clock = shared.lock, shared.clock
        self._counters = shared.ledger.counters
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


class Notices:
    """Pending calls of `on_error` and `on_drop`. Guarded by the engine's lock; it calls out without it."""

    def __init__(self, shared: Shared, callbacks: Callbacks) -> None:
        self._lock = shared.lock
        self._callbacks = callbacks
        self._errors: deque[DeliveryError] = deque(maxlen=KEPT_ERRORS)
        self._drops: Counter[str] = Counter()
        self.last_error: str | None = None
        self.last_failure: str | None = None  # the last error that is about the destination
        self.last_trouble = ""  # the same for a log line, see `logs`
        self.last_refusal: str | None = None  # the last error that is about one record
        self.last_discard: str | None = None  # why a part of a batch was last discarded

    @property
    def pending(self) -> bool:
        return bool(self._errors or self._drops)

    def dropped(self, reason: str, count: int) -> None:
        self._lock.assert_held()
        if self._callbacks.hooks.on_drop is not None:
            self._drops[reason] += count

    def failed(self, error: DeliveryError, trouble: str = "") -> None:
        """Call with the lock held. `trouble`: without a backend's words; empty if it is about one record."""
        self._lock.assert_held()
        self.last_error = str(error)
        if trouble:
            self.last_failure, self.last_trouble = self.last_error, trouble
        else:
            self.last_refusal = self.last_error
        if self._callbacks.hooks.on_error is not None:
            self._errors.append(error)

    def report(self) -> None:
        with self._lock:
            errors, self._errors = list(self._errors), deque(maxlen=KEPT_ERRORS)
            drops, self._drops = self._drops, Counter()
        _, on_error, on_drop = self._callbacks.hooks
        if on_error is not None:
            for error in errors:
                self._callbacks.call("on_error", on_error, error)
        if on_drop is not None:
            for reason, count in drops.items():
                self._callbacks.call("on_drop", on_drop, reason, count)

    def report_in_passing(self, patience: float) -> None:
        """`report` on a thread of its own, for at most `patience` seconds: a callback may block at exit."""
        if not self.pending:
            return
        try:
            reporter = OwnThread(target=self.report, name="banyan_hp-last-words", daemon=True)
            start(reporter)
        except RuntimeError:  # no threads any more: the interpreter is shutting down
            self.report()
            return
        reporter.join(patience)
