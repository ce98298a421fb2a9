"""The backend's last answers: fresh, then stale while one fetch is under way, then those on disk.

Owns the lock, and the way of a question: to what is in memory (`memory`), to a fetch (`flights`), to the disk
(`store`), and of the backend's reply (`replies`) back to those who asked.

Who reads an entry that is at hand takes no lock but the counters'. A caller waits for the backend only where
there is nothing to give it, or where it insists; never longer than the timeout. Trouble is counted and
logged, and keeps further fetches of that prompt away for a while, see `troubles`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from ..engine.delivery.stepwise import Steps, UntilSet, run
from ..engine.http.transport import (
    HTTPTransport,
    NoResponse,
    Request,
    Response,
    Transport,
    never_raising,
    text_filter,
)
from ..engine.policy.jitter import between
from ..engine.sync import Lock, ReleasingOnError
from ..logs import warn
from . import replies
from .data import Source
from .entry import NEVER, Entry
from .flights import MAX_FETCHERS, Fetchers, Flight
from .memory import Memory
from .questions import Asking, Audience, Question, Value
from .store import Store
from .troubles import Troubles

NEGATIVE_SECONDS = 5.0

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


_all: WeakSet[Answers] = WeakSet()


class Answers:
    """The answers of one destination. Thread-safe; usable in forked children.

    Args:
        asking: URL, key and headers.
        store: where answers outlive the process.
        ttl: seconds that an answer is fresh, less up to a fifth, by chance, so that not all are asked for
            again at the same time.
        pinned_ttl: the same for a version asked for by name.
        timeout: seconds that a caller waits at the most.
        size: how many answers are kept, of `memory.MAX_BYTES` together; those least recently used go first.
        threaded: False: no threads, callers fetch themselves, also what is stale.
        heard: called with each new answer's meaning, without a lock held.
        forked: called in a forked child before anything else.
        monotonic, wall: the clocks.
    """

    def __init__(
        self,
        asking: Asking,
        store: Store,
        *,
        ttl: float,
        pinned_ttl: float,
        timeout: float,
        size: int,
        threaded: bool,
        heard: Callable[[object], None] = lambda _: None,
        forked: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        connect: Callable[[str, float, int], Transport] = HTTPTransport,
    ) -> None:
        self._asking = asking
        self.clean = text_filter(asking.base_url, asking.headers)
        self._store = store
        self._ttl = ttl
        self._pinned_ttl = pinned_ttl
        self._timeout = timeout
        self.threaded = threaded
        self._heard = heard
        self._forked = forked
        self._monotonic = monotonic
        self._wall = wall
        self._connect = never_raising(connect)
        self._memory = Memory(size, monotonic)
        self._entries = self._memory.entries  # at hand for `at_hand`, which must be quick
        self._troubles = Troubles(size, monotonic)
        self._invalidated_at = NEVER  # by the wall clock, as the disk has it
        self._assemble()
        _all.add(self)

    def _assemble(self) -> None:
        """What a forked child must not share with its parent."""
        self._lock = Lock()  # guards everything above, the counters and the flights
        self._flights: dict[Question[Any], Flight[Any]] = {}
        self._fetchers = Fetchers(self._fly, threaded=self.threaded)
        self._transport: Transport | None = None
        self.counters = AnswerCounters()
        self._pid = os.getpid()

    def mind_forks(self) -> None:
        """Also for servers that bypass Python's fork hooks."""
        if os.getpid() != self._pid:
            self._assemble()
            self._forked()

    def count_error(self) -> None:
        """A call that came to nothing before anything could be asked."""
        self.mind_forks()
        with ReleasingOnError((self._lock,)), self._lock:
            self.counters.prompt_errors += 1

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
            with ReleasingOnError((self._lock,)), self._lock:
                self.counters.cache_hits += 1
            return entry, "cache"
        if entry.must_ask or entry.value is None or not self.threaded:
            return None
        if self._troubles.is_due(question, now):
            self._board(question, anew=False)
        return self._given(entry)

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
        return run(self.asking(question, use_cache=use_cache, patient=patient))

    def asking(
        self, question: Question[Value], *, use_cache: bool, patient: bool
    ) -> Steps[Found[Value] | None]:
        """`ask` for what is not at hand, one wait after the other."""
        self.mind_forks()
        with ReleasingOnError((self._lock,)), self._lock:
            self.counters.cache_misses += 1
        found = yield from self._fetched(question, anew=not use_cache, patient=patient)
        if found is not None:
            return found
        entry = self._memory.known(question)
        return None if entry is None else self._given(entry)

    def _fetched(self, question: Question[Value], *, anew: bool, patient: bool) -> Steps[Found[Value] | None]:
        """Wait for a flight, one's own or another's; None if none lands in time with an answer."""
        began = self._monotonic()
        if not anew and not self._troubles.is_due(question, began):
            return None
        impatient = not patient and not anew and question in self._troubles
        while True:
            flight = self._board(question, anew=anew)
            deadline = began if impatient else min(began + self._timeout, flight.overdue_at)
            yield UntilSet(flight.landed, max(0.0, deadline - self._monotonic()))
            if not flight.landed.is_set() or flight.entry is None:
                return None
            if flight.entry.key in (question, question.shared):
                return flight.entry, "backend" if flight.entry.origin == "backend" else "disk"
            # It was another user's, and the answer is for that one only: ask for this one.

    def _given(self, entry: Entry[Value]) -> Found[Value]:
        """A caller gets what is no longer fresh."""
        with ReleasingOnError((self._lock,)), self._lock:
            self.counters.prompts_stale += entry.origin == "backend"
            self.counters.prompts_from_disk += entry.origin == "disk"
        return entry, entry.old_source

    def start(self, question: Question[Value]) -> Flight[Value]:
        """Begin to fetch without waiting."""
        self.mind_forks()
        return self._board(question, anew=False)

    def holds(self, question: Question[Any]) -> bool:
        """Whether there is something to give, be it old."""
        return self._memory.known(question) is not None

    # -- forgetting -------------------------------------------------------------------------------------

    def invalidate(self, subject: str | None) -> None:
        """Have what is known of a prompt or experiment (None: of all) asked for again before it is given.

        It stays the next best answer, should the backend not answer.
        """
        self.mind_forks()
        with ReleasingOnError((self._lock,)), self._lock:
            self._invalidated_at = self._wall()
            self._memory.distrust(subject)
            self._troubles.forget(subject)
            for flight in list(self._flights.values()):
                if subject in (None, flight.key.subject):
                    self._outdate(flight)

    def clear(self) -> None:
        """Forget everything, on disk, too."""
        self.mind_forks()
        self._clear_memory()
        self._store.clear()
        self._clear_memory()  # of what a fetch that began in between read from the disk

    def _clear_memory(self) -> None:
        with ReleasingOnError((self._lock,)), self._lock:
            self._memory.clear()
            self._troubles.forget(None)
            for flight in list(self._flights.values()):
                flight.cleared = True
                self._outdate(flight)

    def close(self) -> None:
        """Close the connections; they are opened again when needed."""
        self.mind_forks()
        with ReleasingOnError((self._lock,)), self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _outdate(self, flight: Flight[Any]) -> None:
        flight.outdated = True
        del self._flights[flight.key]

    # -- flights ----------------------------------------------------------------------------------------

    def _board(self, question: Question[Value], *, anew: bool) -> Flight[Value]:
        """The flight that brings the answer: one on its way, or a new one."""
        with ReleasingOnError((self._lock,)), self._lock:
            key = self._memory.key(question)
            overdue_at = self._monotonic() + self._timeout
            flying: Flight[Value] | None = self._flights.get(key)
            if not anew:
                flying = flying or self._just_landed(question, key)
                if flying is not None:
                    return flying
            elif flying is not None:
                self._outdate(flying)
            flight = self._flights[key] = Flight(question, key, overdue_at)
        self._fetchers.start(flight)
        return flight

    def _just_landed(self, question: Question[Value], key: Question[Value]) -> Flight[Value] | None:
        """A flight that brought the answer after the caller found that there is none."""
        entry = self._memory.fresh(question)
        return None if entry is None else Flight(question, key, self._monotonic(), entry=entry)

    def _fly(self, flight: Flight[Any]) -> None:
        try:
            overdue = self._monotonic() >= flight.overdue_at  # it had to wait, and nobody waits for it
            if not overdue:
                self._read_from_disk(flight)
                self._read_answer(flight, self._send(self._request(flight)))
        finally:
            with ReleasingOnError((self._lock,)), self._lock:
                if self._flights.get(flight.key) is flight:
                    del self._flights[flight.key]

    def _read_from_disk(self, flight: Flight[Any]) -> None:
        """Have the next best answers ready. None is given as it is: any may have been corrected meanwhile."""
        question = flight.question
        for key in dict.fromkeys((question.shared, question, question.default)):
            entry = self._from_disk(key) if key not in self._memory else None
            if entry is None:
                continue
            entry.must_ask = entry.fetched_at <= self._invalidated_at
            self._have_ready(entry, flight)

    def _from_disk(self, key: Question[Any]) -> Entry[Any] | None:
        kept = self._store.load(key)
        try:
            if kept is None:
                return None
            return Entry(key, key.read(kept.answer), kept.etag, kept.fetched_at, "disk", kept.size)
        except (ValueError, RecursionError):  # written by another version of this library
            return None

    def _request(self, flight: Flight[Any]) -> Request:
        request: Request = flight.question.request(self._asking)
        headers = {**request.headers, "Cache-Control": "no-cache"}  # a cache on the way must ask, too
        known = self._entries.get(flight.key)
        if known is not None and known.etag is not None and known.value is not None:
            flight.known = known
            headers["If-None-Match"] = known.etag
        return Request(request.method, request.url, headers, request.body)

    def _send(self, request: Request) -> Response | NoResponse:
        with ReleasingOnError((self._lock,)), self._lock:
            if self._transport is None:
                self._transport = self._connect(self._asking.base_url, self._timeout, MAX_FETCHERS)
            transport = self._transport
        return transport.send(request, self._timeout)

    # -- answers ----------------------------------------------------------------------------------------

    def _read_answer(self, flight: Flight[Any], response: Response | NoResponse) -> None:
        try:
            self._take_in(flight, replies.read(response))
        except (ValueError, RecursionError) as error:
            slow = isinstance(response, NoResponse) and response.reason == "timeout"
            self._note_trouble(flight, str(error), slow=slow)

    def _take_in(self, flight: Flight[Any], reply: replies.Reply) -> None:
        """Raises ValueError where the reply says nothing that can be used."""
        if isinstance(reply, replies.Told):
            self._told(flight, reply)
        elif isinstance(reply, replies.Gone):
            self._gone(flight)
        elif flight.known is not None:
            self._confirmed(flight, flight.known, reply.age)
        else:
            raise ValueError("it answered with status 304, which was not asked for")

    def _confirmed(self, flight: Flight[Any], known: Entry[Any], age: float) -> None:
        entry = Entry(known.key, known.value, known.etag, self._wall() - age, "backend", known.size)
        if self._land(flight, entry, age):
            self._store.renew(known.key, known.etag, entry.fetched_at)

    def _gone(self, flight: Flight[Any]) -> None:
        """There is none, for any user."""
        question = flight.question
        if self._land(flight, Entry(question.shared, None, None, self._wall(), "backend")):
            for key in {question.shared, question, question.default}:
                self._store.forget(key)

    def _told(self, flight: Flight[Any], reply: replies.Told) -> None:
        question, answer, size = flight.question, reply.answer, reply.size
        audience = question.audience(answer)
        key = question.shared if audience is Audience.ALL else question
        entry = Entry(key, question.read(answer), reply.etag, self._wall() - reply.age, "backend", size)
        with ReleasingOnError((self._lock,)), self._lock:
            self.counters.prompts_fetched += 1
        self._heard(entry.value)
        if not self._land(flight, entry, reply.age):
            return
        if key != question.shared:
            self._store.forget(question.shared)
        if audience is Audience.ALL:  # only what is good for many is worth the disk
            self._keep(flight, key, answer, entry)
        elif audience is Audience.ONE_BY_DEFAULT:
            default = Entry(question.default, entry.value, None, entry.fetched_at, "backend", size)
            self._have_ready(default, flight)
            self._keep(flight, question.default, answer, default)

    def _keep(
        self, flight: Flight[Any], key: Question[Any], answer: dict[str, Any], entry: Entry[Any]
    ) -> None:
        self._store.keep(key, answer, entry.etag, entry.fetched_at)
        if flight.cleared:  # meanwhile; the file may be newer than that
            self._store.forget(key)

    def _land(self, flight: Flight[Any], entry: Entry[Any], age: float = 0.0) -> bool:
        """Give the answer to those who wait for it, and keep it; False if it is outdated.

        `age` is for how long a cache on the way has had it: that much less it is fresh here.
        """
        flight.entry = entry
        now = self._monotonic()
        entry.fresh_until = now + self._lifetime(entry) * between(0.8, 1.0) - age
        with ReleasingOnError((self._lock,)), self._lock:
            if flight.outdated:
                return False
            self._troubles.over(flight.question)
            self._memory.take_in(flight.question, entry)
        return True

    def _lifetime(self, entry: Entry[Any]) -> float:
        if entry.value is None:
            return min(self._ttl, NEGATIVE_SECONDS)
        return self._pinned_ttl if entry.key.pinned(entry.value) else self._ttl

    def _have_ready(self, entry: Entry[Any], flight: Flight[Any]) -> None:
        """A next best answer."""
        with ReleasingOnError((self._lock,)), self._lock:
            if not flight.outdated:
                self._memory.put_unless_fresh(entry)

    # -- trouble ----------------------------------------------------------------------------------------

    def _note_trouble(self, flight: Flight[Any], detail: str, *, slow: bool) -> None:
        with ReleasingOnError((self._lock,)), self._lock:
            self.counters.prompt_errors += 1
            if not flight.outdated:
                self._troubles.note(flight.question, slow=slow)
        base_url, subject = self._asking.base_url, flight.question.subject
        warn("prompt", "%r could not be fetched from %s: %s", subject, base_url, self.clean(detail))


def _after_fork_in_child() -> None:
    for answers in list(_all):
        answers.mind_forks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
