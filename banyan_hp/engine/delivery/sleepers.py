"""The threads that sleep, and which of them wakes up. Guarded by the engine's lock, but for `disturb`."""

from __future__ import annotations

from ..sync import EngineLock, WakeUp


class Sleepers:
    """Idle threads by their wake-ups, the one that fell asleep last at the end.

    At most one of them is *on watch*: it sleeps a moment only, and then looks whether a request hangs.
    """

    def __init__(self, lock: EngineLock) -> None:
        self._lock = lock
        self._watch: WakeUp | None = None
        self.idle: list[WakeUp] = []

    @property
    def is_watched(self) -> bool:
        return self._watch is not None

    def add(self, wake_up: WakeUp, *, on_watch: bool = False) -> None:
        self._lock.assert_held()
        self.idle.append(wake_up)
        if on_watch:
            self._watch = wake_up

    def remove(self, wake_up: WakeUp) -> None:
        self._lock.assert_held()
        if wake_up in self.idle:
            self.idle.remove(wake_up)
        self._relieve(wake_up)

    def wake_one(self) -> None:
        self._lock.assert_held()
        if self.idle:
            self.idle[-1].wake()  # before it is taken out: Ctrl-C between the two must not leave it asleep
            self._relieve(self.idle.pop())

    def wake_all(self) -> None:
        while self.idle:
            self.wake_one()

    def disturb(self) -> None:
        """Have sleeping threads look around. Takes no lock: the copy is atomic, also without the GIL."""
        for wake_up in tuple(self.idle):
            wake_up.wake()

    def _relieve(self, wake_up: WakeUp) -> None:
        if wake_up is self._watch:
            self._watch = None
