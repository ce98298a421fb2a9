"""What the application's callbacks are to be told: collected anywhere, told on our threads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from ...errors import DeliveryError
from .callbacks import Callbacks, OwnThread
from .shared import Shared

KEPT_ERRORS = 100


class Notices:
    """Pending calls of `on_error` and `on_drop`. Guarded by the engine's lock; it calls out without it."""

    def __init__(
        self,
        shared: Shared,
        callbacks: Callbacks,
        on_error: Callable[[DeliveryError], object] | None,
        on_drop: Callable[[str, int], object] | None,
    ) -> None:
        self._lock = shared.lock
        self._callbacks = callbacks
        self._on_error = on_error
        self._on_drop = on_drop
        self._errors: deque[DeliveryError] = deque(maxlen=KEPT_ERRORS)
        self._drops: Counter[str] = Counter()
        self.last_error: str | None = None
        self.last_failure: str | None = None  # the last error that is about the destination, not one record

    def reconfigure_callbacks(
        self, on_error: Callable[[DeliveryError], object] | None, on_drop: Callable[[str, int], object] | None
    ) -> None:
        """Other objects for the same functions."""
        self._on_error, self._on_drop = on_error, on_drop

    @property
    def pending(self) -> bool:
        return bool(self._errors or self._drops)

    def dropped(self, reason: str, count: int) -> None:
        """Call with the lock held."""
        if self._on_drop is not None:
            self._drops[reason] += count

    def failed(self, error: DeliveryError, *, of_one_record: bool = False) -> None:
        """Call with the lock held."""
        self.last_error = str(error)
        if not of_one_record:
            self.last_failure = self.last_error
        if self._on_error is not None:
            self._errors.append(error)

    def report(self) -> None:
        """Call the callbacks."""
        with self._lock:
            errors, self._errors = list(self._errors), deque(maxlen=KEPT_ERRORS)
            drops, self._drops = self._drops, Counter()
        if self._on_error is not None:
            for error in errors:
                self._callbacks.call("on_error", self._on_error, error)
        if self._on_drop is not None:
            for reason, count in drops.items():
                self._callbacks.call("on_drop", self._on_drop, reason, count)

    def report_in_passing(self, patience: float) -> None:
        """`tell` on a thread of its own, waiting at most `patience` seconds: a callback may block at exit."""
        if not self.pending:
            return
        try:
            teller = OwnThread(target=self.report, name="banyan_hp-last-words", daemon=True)
            teller.start()
        except RuntimeError:  # no threads any more: the interpreter is shutting down
            self.report()
            return
        teller.join(patience)
