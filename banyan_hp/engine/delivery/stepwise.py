"""What a call waits for, one wait after the other, driven by a thread or by an event loop.

A call that waits is written once, as a generator of waits. `run` goes through it on the calling thread,
`loops.drive` on an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Protocol, TypeVar

from ..sync import WakeUp

T = TypeVar("T")


class Wakes(Protocol):
    """A wake-up of any kind: a thread's, an event loop's."""

    def wake(self) -> None:
        """Something has changed. Called on any thread; must not block."""


class Wait(Protocol):
    """For something that our threads do, until a deadline."""

    def over(self) -> bool:
        """Whether it has happened. Does not block."""

    def seconds_left(self) -> float:
        """Until the deadline."""

    def begin(self, wake_up: Wakes) -> bool:
        """Wake at every change, until `end`. False if no thread works towards it."""

    def end(self, wake_up: Wakes) -> None:
        """Undo `begin`."""

    def block(self) -> None:
        """Wait on the calling thread, and do the work if nobody else does."""

    def stop(self) -> None:
        """Have `block`, on another thread, return as soon as it can."""


Steps = Generator[Wait, None, T]


def run(steps: Steps[T]) -> T:
    """Go through the steps on the calling thread."""
    try:
        while True:
            try:
                wait = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            wait.block()
    finally:
        steps.close()


class Watchers:
    """Wake-ups of all that wait for something. Takes no lock: each step is atomic under the GIL."""

    def __init__(self) -> None:
        self._wake_ups: set[Wakes] = set()

    def __bool__(self) -> bool:
        return bool(self._wake_ups)

    def watch(self, wake_up: Wakes) -> None:
        self._wake_ups.add(wake_up)

    def unwatch(self, wake_up: Wakes) -> None:
        self._wake_ups.discard(wake_up)

    def wake(self) -> None:
        for wake_up in tuple(self._wake_ups):
            wake_up.wake()


class Event(Watchers):
    """An event that threads and event loops wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self.wake()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, seconds: float) -> bool:
        """On the calling thread, until it is set; whether it is."""
        wake_up, deadline = WakeUp(), time.monotonic() + seconds
        self.watch(wake_up)  # first: a `set` after the look wakes it
        try:
            while not self._is_set and (left := deadline - time.monotonic()) > 0:
                wake_up.wait(left)
        finally:
            self.unwatch(wake_up)
        return self._is_set


class UntilSet:
    """A wait for an event."""

    def __init__(self, event: Event, seconds: float) -> None:
        self._event = event
        self._deadline = time.monotonic() + seconds
        self.over = event.is_set
        self.end = event.unwatch

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def begin(self, wake_up: Wakes) -> bool:
        self._event.watch(wake_up)
        return True

    def block(self) -> None:
        self._event.wait(self.seconds_left())

    def stop(self) -> None:
        """Nothing blocks where somebody else sets the event."""
