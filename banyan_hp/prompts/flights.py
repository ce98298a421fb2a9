"""One fetch per question, however many ask: flights, and the threads that fly them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic

from ..engine.delivery.stepwise import Event
from ..engine.process import uwsgi
from ..engine.sync import Lock, ReleasingOnError
from ..engine.threads import ThreadStart
from ..logs import warn
from .entry import Entry
from .questions import Question, Value

MAX_FETCHERS = 16


class Flight(Generic[Value]):
    """A question on its way. Once `landed`, `entry` is what came back, or None if nothing did.

    `outdated` means that its answer must not be kept: it was invalidated, or asked again, meanwhile;
    `cleared`, that everything was to be forgotten, also on disk. From `overdue_at` on nobody waits for it.
    `known` is the answer that the backend may confirm.
    """

    def __init__(
        self,
        question: Question[Value],
        key: Question[Value],
        overdue_at: float,
        *,
        entry: Entry[Value] | None = None,
    ) -> None:
        self.question = question
        self.key = key
        self.overdue_at = overdue_at
        self.outdated = False
        self.cleared = False
        self.known: Entry[Value] | None = None
        self.entry = entry
        self.landed = Event()
        if entry is not None:
            self.landed.set()


class Fetchers:
    """Daemon threads, at most `MAX_FETCHERS`, that end when there is nothing left to fetch.

    Args:
        fly: fetches; called once for each flight.
        threaded: False fetches on the caller's thread.
    """

    def __init__(self, fly: Callable[[Flight[Any]], None], *, threaded: bool) -> None:
        self._fly = fly
        self._threaded = threaded
        self._lock = Lock()
        self._waiting: deque[Flight[Any]] = deque()
        self._places: set[object] = set()  # taken by a thread, or by a caller that fetches

    def start(self, flight: Flight[Any]) -> None:
        self._waiting.append(flight)
        if not (self._threaded and uwsgi.threads_can_run() and self._on_a_thread()):
            self._on_this_thread()

    def _on_a_thread(self) -> bool:
        """Whether threads do it."""
        place = object()
        try:
            thread = threading.Thread(target=self._work, args=(place,), name="banyan_hp-prompts", daemon=True)
            with ThreadStart(thread, partial(self._places.discard, place)) as begun:
                if self._taken(place):
                    begun.make()
        except RuntimeError:  # the interpreter is shutting down, or the system has no threads left
            return False
        return True

    def _on_this_thread(self) -> None:
        place = object()
        try:
            if self._taken(place):
                self._work(place)
        finally:
            self._places.discard(place)

    def _taken(self, place: object) -> bool:
        """Take a place, if one is free."""
        with ReleasingOnError((self._lock,)), self._lock:
            if len(self._places) >= MAX_FETCHERS:
                return False
            self._places.add(place)
            return True

    def _work(self, place: object) -> None:
        try:
            while (flight := self._next(place)) is not None:
                self._flown(flight)
        finally:
            self._places.discard(place)

    def _flown(self, flight: Flight[Any]) -> None:
        try:
            self._fly(flight)
        except Exception:  # noqa: BLE001 - the outermost loop of a thread
            warn("prompt fetcher", "fetching %r failed", flight.question.subject, exc_info=True)
        finally:
            flight.landed.set()

    def _next(self, place: object) -> Flight[Any] | None:
        with ReleasingOnError((self._lock,)), self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._places.discard(place)
            return None
