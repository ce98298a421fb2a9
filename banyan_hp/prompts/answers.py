"""The backend's last answers: fresh, then stale while one fetch is under way, then those on disk.

Who reads an entry that is at hand takes no lock but the counters'. A caller waits for the backend only where
there is nothing to give it, or where it insists; never longer than the timeout. Trouble is counted and
logged, and keeps further fetches of that question away for a while, doubling up to `LONGEST_PAUSE`.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from ..engine.log import warn
from ..engine.transport import HTTPTransport, NoAnswer, Request, Response
from .data import Source
from .entry import FOR_EVER, NEVER, Entry
from .flights import MAX_FETCHERS, Fetchers, Flight
from .questions import Asking, Audience, Question, Value
from .store import Store

NEGATIVE_SECONDS = 5.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

Found = tuple[Entry[Value], Source]


@dataclass(slots=True)
class AnswerCounters:
    """What `get_stats()` tells of them."""

    prompts_fetched: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    prompts_stale: int = 0
    prompts_from_disk: int = 0
    prompt_errors: int = 0


@dataclass(slots=True)
class _Trouble:
    """Failed fetches of one question, one after the other."""

    failures: int
    retry_at: float


_all: WeakSet[Answers] = WeakSet()


class Answers:
    """The answers of one destination. Thread-safe; usable in forked children.

    Args:
        asking: URL, key and headers.
        store: where answers outlive the process.
        ttl: seconds that an answer is fresh, less up to a fifth, by chance, so that not all are asked for
            again at the same time.
        timeout: seconds that a caller waits at the most.
        size: how many answers are kept; those least recently used go first.
        threaded: False: no threads, callers fetch themselves.
        heard: called with each new answer's meaning, without a lock held.
        monotonic, wall: the clocks.
    """

    def __init__(
        self,
        asking: Asking,
        store: Store,
        *,
        ttl: float,
        timeout: float,
        size: int,
        threaded: bool,
        heard: Callable[[object], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._asking = asking
        self._store = store
        self._ttl = ttl
        self._timeout = timeout
        self._size = size
        self._threaded = threaded
        self._heard = heard
        self._monotonic = monotonic
        self._wall = wall
        self.counters = AnswerCounters()
        self._entries: dict[Question[Any], Entry[Any]] = {}
        self._troubles: dict[Question[Any], _Trouble] = {}
        self._personal: set[Question[Any]] = set()  # what the backend answers to each user differently
        self._assemble()
        _all.add(self)

    def _assemble(self) -> None:
        """What a forked child must not share with its parent."""
        self._lock = threading.RLock()  # guards everything above, and the flights
        self._flights: dict[Question[Any], Flight[Any]] = {}
        self._fetchers = Fetchers(self._fly, threaded=self._threaded)
        self._transport: HTTPTransport | None = None
        self._pid = os.getpid()

    def mind_forks(self) -> None:
        """For servers that bypass Python's fork hooks."""
        if os.getpid() != self._pid:
            self._assemble()

    # -- asking -----------------------------------------------------------------------------------------

    def at_hand(self, question: Question[Value]) -> Found[Value] | None:
        """What can be given without waiting; starts a fetch in the background if that is stale."""
        if os.getpid() != self._pid:
            self.mind_forks()
        entry = self._entries.get(question.shared) or self._entries.get(question)
        if entry is None:
            return None
        now = entry.used = self._monotonic()
        if now < entry.fresh_until:
            with self._lock:
                self.counters.cache_hits += 1
            return entry, "cache"
        if entry.must_ask or entry.value is None:
            return None
        with self._lock:
            self.counters.prompts_stale += 1
        if self._is_due(question, now):
            self._board(question, anew=False)
        return entry, entry.old_source

    def ask(
        self, question: Question[Value], *, use_cache: bool = True, patient: bool = True
    ) -> Found[Value] | None:
        """The answer to a question, or the next best one.

        Args:
            question: what to ask.
            use_cache: False asks the backend in any case.
            patient: False does not wait again for a backend that has just failed to answer this.

        Returns:
            None if nothing is known. An entry without a value: the backend says that there is none.
        """
        found = self.at_hand(question) if use_cache else None
        if found is not None:
            return found
        with self._lock:
            self.counters.cache_misses += 1
        return self._fetched(question, anew=not use_cache, patient=patient) or self._last_known(question)

    def _fetched(self, question: Question[Value], *, anew: bool, patient: bool) -> Found[Value] | None:
        """Wait for a flight, one's own or another's; None if none lands in time with an answer."""
        deadline = self._monotonic() + self._timeout
        troubled = self._trouble_of(question) is not None
        if troubled and not anew and not self._is_due(question, self._monotonic()):
            return None
        while True:
            flight = self._board(question, anew=anew)
            if troubled and not patient and not anew:
                return None
            if not flight.landed.wait(max(0.0, deadline - self._monotonic())) or flight.entry is None:
                return None
            if flight.entry.key in (question, question.shared):
                return flight.entry, "backend" if flight.entry.origin == "backend" else "disk"
            # It was another user's, and the answer is for that one only: ask for this one.

    def _last_known(self, question: Question[Value]) -> Found[Value] | None:
        for key in (question.shared, question, question.default):
            entry = self._entries.get(key)
            if entry is not None and entry.value is not None:
                with self._lock:
                    self.counters.prompts_stale += entry.origin == "backend"
                    self.counters.prompts_from_disk += entry.origin == "disk"
                return entry, entry.old_source
        return None

    def start(self, question: Question[Value]) -> Flight[Value]:
        """Begin to fetch without waiting."""
        self.mind_forks()
        return self._board(question, anew=False)

    # -- forgetting -------------------------------------------------------------------------------------

    def invalidate(self, subject: str | None) -> None:
        """Have what is known of a prompt or experiment (None: of all) asked for again before it is given.

        It stays the next best answer, should the backend not answer.
        """
        with self._lock:
            for entry in list(self._entries.values()):
                if subject in (None, entry.key.subject):
                    entry.fresh_until, entry.must_ask = NEVER, True
            for key in [key for key in self._troubles if subject in (None, key.subject)]:
                del self._troubles[key]
            for flight in list(self._flights.values()):
                if subject in (None, flight.key.subject):
                    self._outdate(flight)

    def clear(self) -> None:
        """Forget everything, on disk, too."""
        with self._lock:
            self._entries.clear()
            self._troubles.clear()
            self._personal.clear()
            for flight in list(self._flights.values()):
                self._outdate(flight)
        self._store.clear()

    def close(self) -> None:
        """Close the connections; they are opened again when needed."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _outdate(self, flight: Flight[Any]) -> None:
        flight.outdated = True
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    # -- flights ----------------------------------------------------------------------------------------

    def _key(self, question: Question[Value]) -> Question[Value]:
        """What a flight is for: everybody, until the backend is known to answer each user differently."""
        return question if question.shared in self._personal else question.shared

    def _board(self, question: Question[Value], *, anew: bool) -> Flight[Value]:
        with self._lock:
            key = self._key(question)
            flying: Flight[Value] | None = self._flights.get(key) or self._just_landed(question, key)
            if flying is not None and not anew:
                return flying
            if flying is not None:
                self._outdate(flying)
            flight = self._flights[key] = Flight(question, key, insists=anew)
        self._fetchers.start(flight)
        return flight

    def _just_landed(self, question: Question[Value], key: Question[Value]) -> Flight[Value] | None:
        """A flight that brought the answer after the caller found that there is none."""
        entry = self._entries.get(question.shared) or self._entries.get(question)
        if entry is None or self._monotonic() >= entry.fresh_until:
            return None
        return Flight(question, key, entry=entry)

    def _fly(self, flight: Flight[Any]) -> None:
        try:
            if not self._read_from_disk(flight):
                self._read_answer(flight, self._send(self._request(flight)))
        finally:
            with self._lock:
                if self._flights.get(flight.key) is flight:
                    del self._flights[flight.key]

    def _read_from_disk(self, flight: Flight[Any]) -> bool:
        """Have the next best answers ready; True if one of them never changes and so is the answer."""
        question = flight.question
        for key in dict.fromkeys((question.shared, question, question.default)):
            kept = self._store.load(key) if key not in self._entries else None
            if kept is None:
                continue
            try:
                entry = Entry(key, key.read(kept.answer), kept.etag, kept.fetched_at, "disk")
            except ValueError:
                continue
            self._put(entry, flight)
            if question.unchanging and not flight.insists:
                entry.fresh_until = FOR_EVER
                flight.entry = entry
        return flight.entry is not None

    def _request(self, flight: Flight[Any]) -> Request:
        request: Request = flight.question.request(self._asking)
        known = self._entries.get(flight.key)
        if known is None or known.etag is None or known.value is None:
            return request
        headers = {**request.headers, "If-None-Match": known.etag}
        return Request(request.method, request.url, headers, request.body)

    def _send(self, request: Request) -> Response | NoAnswer:
        with self._lock:
            if self._transport is None:
                self._transport = HTTPTransport(self._asking.base_url, self._timeout, MAX_FETCHERS)
            transport = self._transport
        return transport.send(request, self._timeout)

    # -- answers ----------------------------------------------------------------------------------------

    def _read_answer(self, flight: Flight[Any], response: Response | NoAnswer) -> None:
        try:
            entry = self._entry_from(flight, response)
        except (ValueError, RecursionError) as error:
            slow = isinstance(response, NoAnswer) and response.reason == "timeout"
            self._note_trouble(flight, str(error), slow=slow)
            return
        flight.entry = entry
        self._renew(entry)
        self._put(entry, flight)

    def _entry_from(self, flight: Flight[Any], response: Response | NoAnswer) -> Entry[Any]:
        """What the answer says.

        Raises:
            ValueError: nothing that can be used.
        """
        if isinstance(response, NoAnswer):
            raise ValueError(response.detail)
        known = self._entries.get(flight.key)
        if response.status == 304 and known is not None:
            return Entry(known.key, known.value, known.etag, self._wall(), "backend")
        answer = _json_object(response)
        if response.status == 404 and answer is not None and ("error" in answer or "message" in answer):
            self._store.forget(flight.key)
            return Entry(flight.key, None, None, self._wall(), "backend")
        if not 200 <= response.status <= 201 or answer is None:
            raise ValueError(f"{self._asking.base_url} answered with {_described(response)}")
        return self._kept(flight, answer, response.headers.get("etag"))

    def _kept(self, flight: Flight[Any], answer: dict[str, Any], etag: str | None) -> Entry[Any]:
        question = flight.question
        audience = question.audience(answer)
        personal = audience is not Audience.ALL
        key = question if personal else question.shared
        entry = Entry(key, question.read(answer), etag, self._wall(), "backend")
        self._note_whose(question, personal=personal)
        self._heard(entry.value)
        if (
            audience is not Audience.ONE and not flight.outdated
        ):  # only what is good for many is worth the disk
            worth = question.default if personal else key
            self._store.keep(worth, answer, etag, entry.fetched_at)
        return entry

    def _note_whose(self, question: Question[Any], *, personal: bool) -> None:
        with self._lock:
            self.counters.prompts_fetched += 1
            if not personal:
                self._personal.discard(question.shared)
                return
            if len(self._personal) >= self._size:
                self._personal.clear()
            self._personal.add(question.shared)
            outdated = self._entries.pop(question.shared, None)
        if outdated is not None:
            self._store.forget(question.shared)

    def _renew(self, entry: Entry[Any]) -> None:
        now = self._monotonic()
        ttl = self._ttl if entry.value is not None else min(self._ttl, NEGATIVE_SECONDS)
        forever = entry.key.unchanging and entry.value is not None
        entry.fresh_until = FOR_EVER if forever else now + ttl * random.uniform(0.8, 1.0)
        entry.used = now

    def _put(self, entry: Entry[Any], flight: Flight[Any]) -> None:
        with self._lock:
            if flight.outdated:
                return
            self._entries[entry.key] = entry
            if entry.origin == "backend":
                self._troubles.pop(flight.key, None)
            while len(self._entries) > self._size:
                del self._entries[min(self._entries, key=lambda key: self._entries[key].used)]

    # -- trouble ----------------------------------------------------------------------------------------

    def _note_trouble(self, flight: Flight[Any], detail: str, *, slow: bool) -> None:
        with self._lock:
            self.counters.prompt_errors += 1
            earlier = self._troubles.pop(flight.key, None)
            failures = earlier.failures + 1 if earlier else 1
            pause = _pause(failures, slow=slow) * random.uniform(0.5, 1.0)
            self._troubles[flight.key] = _Trouble(failures, self._monotonic() + pause)
            while len(self._troubles) > self._size:
                del self._troubles[next(iter(self._troubles))]
        warn("prompt", "%r could not be fetched: %s", flight.question.subject, detail)

    def _trouble_of(self, question: Question[Any]) -> _Trouble | None:
        return self._troubles.get(self._key(question))

    def _is_due(self, question: Question[Any], now: float) -> bool:
        trouble = self._trouble_of(question)
        return trouble is None or now >= trouble.retry_at


def _pause(failures: int, *, slow: bool) -> float:
    """Seconds without a further fetch; none after a first failure that was quick to tell."""
    if failures == 1 and not slow:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))


def _described(response: Response) -> str:
    if response.status in (401, 403):
        return f"status {response.status}: it refuses the API key"
    kind = response.headers.get("content-type", "no content type")
    return f"status {response.status} ({kind})"


def _json_object(response: Response) -> dict[str, Any] | None:
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _after_fork_in_child() -> None:
    for answers in list(_all):
        answers.mind_forks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
