"""What the cache's lock guards: entries in memory, failed fetches, fetches under way, counters.

A query never has more than one fetch that counts: `join` gives every caller the one under way.
"""

from __future__ import annotations

from typing import Any

from ..engine.policy.retry import between
from ..engine.sync import Clock, Lock, ReleasingOnError
from ..settings import PromptSettings
from .counters import CacheCounters
from .fetching import FailedFetches, Fetch
from .memory import NEVER, Entry, Memory
from .queries import Query, Value

NEGATIVE_SECONDS = 5.0


class CacheState:
    """The state of one cache. Each method takes the lock, unless it says otherwise.

    Attributes:
        lock: guards all of it. Readers of `memory` and `failures` go without.
        fetches: those under way, by the query that they stand for.
        problem: why the last fetch failed; None if it did not.
        invalidated_at: entries on disk up to this time must be fetched again; by the wall clock.
    """

    def __init__(self, settings: PromptSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.memory = Memory(settings.prompt_cache_size, clock.monotonic)
        self.failures = FailedFetches(settings.prompt_cache_size, clock.monotonic)
        self.invalidated_at = NEVER
        self.begin_anew()

    def begin_anew(self) -> None:
        """What a forked child must not share with its parent. Takes no lock: the child has one thread."""
        self.lock = Lock()
        self.fetches: dict[Query[Any], Fetch[Any]] = {}
        self.counters = CacheCounters()
        self.problem: str | None = None

    def join(self, query: Query[Value], *, anew: bool) -> tuple[Fetch[Value], bool]:
        """The fetch under way, or a new one; and whether it is new and to be started."""
        with ReleasingOnError((self.lock,)), self.lock:
            key = self.memory.key(query)
            now = self._clock.monotonic()
            under_way: Fetch[Value] | None = self.fetches.get(key)
            if not anew:
                under_way = under_way or self._just_done(query, key, now)
                if under_way is not None:
                    return under_way, False
            elif under_way is not None:
                self._supersede(under_way)
            fetch = self.fetches[key] = Fetch(query, key, now + self._settings.prompt_timeout)
        return fetch, True

    def _just_done(self, query: Query[Value], key: Query[Value], now: float) -> Fetch[Value] | None:
        """A fetch that brought the entry after the caller had found none."""
        entry = self.memory.fresh(query)
        return None if entry is None else Fetch(query, key, now, entry=entry)

    def end(self, fetch: Fetch[Any]) -> None:
        """The fetch is no longer under way."""
        with ReleasingOnError((self.lock,)), self.lock:
            if self.fetches.get(fetch.key) is fetch:
                del self.fetches[fetch.key]

    def store(self, fetch: Fetch[Any], entry: Entry[Any], age: float = 0.0) -> bool:
        """Give the entry to the callers that wait, and keep it; False if the fetch is superseded.

        `age` is how long a cache on the way has had the response: the entry is fresh for that much less.
        """
        fetch.entry = entry
        now = self._clock.monotonic()
        entry.fresh_until = now + self._lifetime(entry) * between(0.8, 1.0) - age
        with ReleasingOnError((self.lock,)), self.lock:
            self.problem = None
            if fetch.superseded:
                return False
            self.failures.reset(fetch.query)
            self.memory.store(fetch.query, entry)
        return True

    def _lifetime(self, entry: Entry[Any]) -> float:
        ttl = self._settings.prompt_cache_ttl
        if entry.value is None:
            return min(ttl, NEGATIVE_SECONDS)
        return self._settings.prompt_pinned_ttl if entry.key.pinned(entry.value) else ttl

    def store_as_next_best(self, entry: Entry[Any], fetch: Fetch[Any]) -> None:
        """Keep an entry that the fetch found beside its own, unless there is a fresh one."""
        with ReleasingOnError((self.lock,)), self.lock:
            if not fetch.superseded:
                self.memory.store_unless_fresh(entry)

    def record_failure(self, fetch: Fetch[Any], problem: str, *, slow: bool) -> None:
        """Count a failed fetch, and put off the next ones."""
        with ReleasingOnError((self.lock,)), self.lock:
            self.counters.prompt_errors += 1
            self.problem = problem
            if not fetch.superseded:
                self.failures.record(fetch.query, slow=slow)

    def invalidate(self, subject: str | None) -> None:
        """Entries of a prompt or experiment (None: all) must be fetched again before they are given."""
        with ReleasingOnError((self.lock,)), self.lock:
            self.invalidated_at = self._clock.wall()
            self.memory.require_fetch(subject)
            self.failures.forget(subject)
            for fetch in list(self.fetches.values()):
                if subject in (None, fetch.key.subject):
                    self._supersede(fetch)

    def clear(self) -> None:
        """Forget everything in memory."""
        with ReleasingOnError((self.lock,)), self.lock:
            self.memory.clear()
            self.failures.forget(None)
            for fetch in list(self.fetches.values()):
                fetch.cleared = True
                self._supersede(fetch)

    def _supersede(self, fetch: Fetch[Any]) -> None:
        """Call with the lock held."""
        self.lock.assert_held()
        fetch.superseded = True
        del self.fetches[fetch.key]
