"""One fetch per question, however many ask: flights, and the threads that fly them."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from ..engine.delivery.stepwise import Event
from ..engine.http.transport import NoResponse, Response
from ..engine.policy.jitter import between
from ..engine.process import uwsgi
from ..engine.sync import Lock, ReleasingOnError
from ..logs import warn
from .memory import Entry
from .queries import Question, Value

MAX_FETCHERS = 16
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


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
        self._busy = 0

    def start(self, flight: Flight[Any]) -> None:
        with ReleasingOnError((self._lock,)), self._lock:
            self._waiting.append(flight)
            if self._busy >= MAX_FETCHERS:
                return
            self._busy += 1
        if not (self._threaded and uwsgi.threads_can_run() and self._new_thread()):
            self._work()

    def _new_thread(self) -> bool:
        try:
            threading.Thread(target=self._work, name="banyan_hp-prompts", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down, or the system has no threads left
            return False
        return True

    def _work(self) -> None:
        while (flight := self._next()) is not None:
            try:
                self._fly(flight)
            except Exception:  # noqa: BLE001 - the outermost loop of a thread
                warn("prompt fetcher", "fetching %r failed", flight.question.subject, exc_info=True)
            finally:
                flight.landed.set()

    def _next(self) -> Flight[Any] | None:
        with ReleasingOnError((self._lock,)), self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._busy -= 1
            return None


# -- failed fetches ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trouble:
    """Failed fetches, one after the other, whoever asked."""

    failures: int
    retry_at: float


class Troubles:
    """By the shared question. Pauses double up to `LONGEST_PAUSE`.

    Args:
        size: how many are remembered; the oldest go first.
        monotonic: the clock.
    """

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self._troubles: dict[Question[Any], _Trouble] = {}

    def __contains__(self, question: Question[Any]) -> bool:
        return question.shared in self._troubles

    def is_due(self, question: Question[Any], now: float) -> bool:
        """Whether it may be asked. Takes no lock."""
        trouble = self._troubles.get(question.shared)
        return trouble is None or now >= trouble.retry_at

    def note(self, question: Question[Any], *, slow: bool) -> None:
        """One more fetch has failed; a `slow` one had its callers wait."""
        key, now = question.shared, self._monotonic()
        earlier = self._troubles.get(key)
        if earlier is not None and now < earlier.retry_at:
            return  # several were under way at the same time
        failures = earlier.failures + 1 if earlier else 1
        pause = _pause(failures, slow=slow) * between(0.5, 1.0)
        self._troubles[key] = _Trouble(failures, now + pause)
        if len(self._troubles) > self._size:
            del self._troubles[next(iter(self._troubles))]

    def over(self, question: Question[Any]) -> None:
        self._troubles.pop(question.shared, None)

    def forget(self, subject: str | None) -> None:
        """Those about a prompt or experiment; None: all."""
        for key in [key for key in self._troubles if subject in (None, key.subject)]:
            del self._troubles[key]


def _pause(failures: int, *, slow: bool) -> float:
    """Seconds without a further fetch; none after a first failure that was quick to tell."""
    if failures == 1 and not slow:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))


# -- what came back ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, its size in bytes, the tag to ask with the next time, and its age in seconds."""

    answer: dict[str, Any]
    size: int
    etag: str | None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What was asked with its tag still holds, or did so many seconds ago."""

    age: float = 0.0


class Gone:
    """There is none, for any user."""


Reply = Told | Unchanged | Gone


def read(response: Response | NoResponse) -> Reply:
    """What it says.

    Raises:
        ValueError: nothing that can be used.
    """
    if isinstance(response, NoResponse):
        raise ValueError(response.detail)
    answer = _json_object(response)
    if response.status == 304:
        return Unchanged(_age(response))
    if response.status == 404 and answer is not None and ("error" in answer or "message" in answer):
        return Gone()
    if 200 <= response.status <= 201 and answer is not None:
        return Told(answer, len(response.body), _etag(response), _age(response))
    raise ValueError(f"it answered with {_described(response)}")


def _described(response: Response) -> str:
    if response.status in (401, 403):
        return f"status {response.status}: it refuses the API key"
    kind = response.headers.get("content-type", "no content type")
    return f"status {response.status} ({kind})"


def _etag(response: Response) -> str | None:
    """The tag, if it can travel back."""
    etag = response.headers.get("etag")
    return etag if etag and etag.isascii() and etag.isprintable() else None


def _age(response: Response) -> float:
    """Seconds since the backend said so: a cache on the way may have kept it (RFC 9111, 5.1)."""
    stated = response.headers.get("age", "").strip()
    return float(stated) if stated.isascii() and stated.isdecimal() and len(stated) <= 10 else 0.0


def _json_object(response: Response) -> dict[str, Any] | None:
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
