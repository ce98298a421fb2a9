"""The read-through cache: fresh entries, then stale ones while one fetch is under way, then those on disk.

The way of a query: to what is in memory (`state`, which has the lock), to a fetch (`fetching`), to the disk
(`store`), and from the backend's response back to the callers that wait.

Readers of a cached entry take no lock but the counters'. A caller waits for the backend only where the cache
has nothing to give, or where it asks for a fetch; never longer than the timeout. A failed fetch is counted
and logged, and puts off further fetches of that query (`fetching.FailedFetches`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from ..engine.delivery.stepwise import Steps, UntilSet, run
from ..engine.http.response import Response
from ..engine.http.transport import NoResponse
from ..engine.sync import Clock, ReleasingOnError
from ..logs import warn
from ..settings import PromptSettings
from .counters import CacheCounters
from .data import Source
from .fetching import Backend, Fetch, Fetched, FetchThreads, NotFound, read_response
from .memory import Entry
from .queries import Audience, Query, Value
from .state import CacheState
from .store import Store

Found = tuple[Entry[Value], Source]


_all: WeakSet[PromptCache] = WeakSet()


class PromptCache:
    """The cache of one destination. Thread-safe; usable in forked children.

    Args:
        backend: what sends queries.
        store: where results outlive the process.
        settings: how long an entry is fresh (less up to a fifth, by chance, so that not all are fetched again
            at the same time), how long a caller waits at most, and how many entries are kept, of
            `memory.MAX_BYTES` together; those least recently used go first.
        threaded: False: no threads, callers fetch themselves, also what is stale.
        on_result: called with each fetched value, or why a fetch failed, without a lock held.
        on_fork: called in a forked child.
        clock: the time.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        settings: PromptSettings,
        *,
        threaded: bool,
        on_result: Callable[[object], None] = lambda _: None,
        on_fork: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock()
        self._backend = backend
        self._store = store
        self._settings = settings
        self.threaded = threaded
        self._on_result = on_result
        self._on_fork = on_fork
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self._state = CacheState(settings, clock)
        self._memory = self._state.memory
        self._entries = self._memory.entries  # for `cached`, which must be quick
        self._failures = self._state.failures
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._threads = FetchThreads(self._run, threaded=self.threaded)
        self._pid = os.getpid()

    @property
    def counters(self) -> CacheCounters:
        """Its part of `get_stats()`."""
        return self._state.counters

    def check_fork(self) -> None:
        """In a forked child begin anew; also for servers that bypass Python's fork hooks."""
        if os.getpid() != self._pid:
            self._backend.forget_connections()
            self._state.begin_anew()
            self._begin()
            self._on_fork()

    def count_error(self) -> None:
        """Count a call that failed before anything could be fetched."""
        self.check_fork()
        with ReleasingOnError((self._state.lock,)), self._state.lock:
            self._state.counters.prompt_errors += 1

    # -- getting ----------------------------------------------------------------------------------------

    def cached(self, query: Query[Value]) -> Found[Value] | None:
        """What can be given without waiting; starts a fetch in the background if that is stale."""
        if os.getpid() != self._pid:
            self.check_fork()
        entry = self._entries.get(query.shared) or self._entries.get(query)
        if entry is None:
            return None
        now = entry.used = self._monotonic()
        if now < entry.fresh_until:
            with ReleasingOnError((self._state.lock,)), self._state.lock:
                self._state.counters.cache_hits += 1
            return entry, "cache"
        if entry.must_fetch or entry.value is None or not self.threaded:
            return None
        if self._failures.is_due(query, now):
            self._join(query, anew=False)
        return self._old(entry)

    def get(
        self, query: Query[Value], *, use_cache: bool = True, patient: bool = True
    ) -> Found[Value] | None:
        """The result of a query, or the next best entry.

        Args:
            query: what to fetch.
            use_cache: False fetches in any case.
            patient: False does not wait again for a backend that has just failed to answer this query.

        Returns:
            None if nothing is known. An entry without a value: the backend says that it has none.
        """
        found = self.cached(query) if use_cache else None
        if found is not None:
            return found
        return run(self.get_stepwise(query, use_cache=use_cache, patient=patient))

    def get_stepwise(
        self, query: Query[Value], *, use_cache: bool, patient: bool
    ) -> Steps[Found[Value] | None]:
        """`get` for what is not cached, one wait after the other."""
        self.check_fork()
        with ReleasingOnError((self._state.lock,)), self._state.lock:
            self._state.counters.cache_misses += 1
        found = yield from self._fetched(query, anew=not use_cache, patient=patient)
        if found is not None:
            return found
        entry = self._memory.next_best(query)
        return None if entry is None else self._old(entry)

    def _fetched(self, query: Query[Value], *, anew: bool, patient: bool) -> Steps[Found[Value] | None]:
        """Wait for a fetch, one's own or another caller's; None if none brings an entry in time."""
        began = self._monotonic()
        if not anew and not self._failures.is_due(query, began):
            return None
        impatient = not patient and not anew and query in self._failures
        while True:
            fetch = self._join(query, anew=anew)
            deadline = began if impatient else min(began + self._settings.prompt_timeout, fetch.deadline)
            yield UntilSet(fetch.done, max(0.0, deadline - self._monotonic()))
            if not fetch.done.is_set() or fetch.entry is None:
                return None
            if fetch.entry.key in (query, query.shared):
                return fetch.entry, "backend" if fetch.entry.origin == "backend" else "disk"
            # It was another user's, and the result is for that one only: fetch this one's.

    def _old(self, entry: Entry[Value]) -> Found[Value]:
        """An entry that is given although it is no longer fresh."""
        with ReleasingOnError((self._state.lock,)), self._state.lock:
            self._state.counters.prompts_stale += entry.origin == "backend"
            self._state.counters.prompts_from_disk += entry.origin == "disk"
        return entry, entry.source_when_old

    def kept(self, query: Query[Value]) -> Found[Value] | None:
        """What an earlier process has left on disk; asks nobody."""
        self.check_fork()
        entries = (self._from_disk(key) for key in dict.fromkeys((query.shared, query, query.default)))
        return next(((entry, "disk") for entry in entries if entry is not None), None)

    @property
    def problem(self) -> str | None:
        """Why the last fetch failed; None if it did not."""
        return self._state.problem

    def start(self, query: Query[Value]) -> Fetch[Value]:
        """Begin to fetch without waiting."""
        self.check_fork()
        return self._join(query, anew=False)

    def has(self, query: Query[Any]) -> bool:
        """Whether there is an entry to give, however old."""
        return self._memory.next_best(query) is not None

    # -- forgetting -------------------------------------------------------------------------------------

    def invalidate(self, subject: str | None) -> None:
        """Fetch entries of a prompt or experiment (None: all) again before they are given.

        They stay the next best, should the backend not answer.
        """
        self.check_fork()
        self._state.invalidate(subject)

    def clear(self) -> None:
        """Forget everything, on disk, too."""
        self.check_fork()
        self._state.clear()
        self._store.clear()
        self._state.clear()  # of what a fetch that began in between read from the disk

    def close(self) -> None:
        """Close the connections; they are opened again when needed."""
        self.check_fork()
        self._backend.close()

    # -- fetching ---------------------------------------------------------------------------------------

    def _join(self, query: Query[Value], *, anew: bool) -> Fetch[Value]:
        """The fetch under way, or a new one, started."""
        fetch, is_new = self._state.join(query, anew=anew)
        if is_new:
            self._threads.start(fetch)
        return fetch

    def _run(self, fetch: Fetch[Any]) -> None:
        """Fetch, on one of our threads."""
        try:
            late = self._monotonic() >= fetch.deadline  # it had to queue, and nobody waits for it any more
            if not late:
                self._read_from_disk(fetch)
                self._handle_response(fetch, self._backend.send(fetch.query, self._etag(fetch)))
        finally:
            self._state.end(fetch)

    def _etag(self, fetch: Fetch[Any]) -> str | None:
        """The tag of the entry that the backend may confirm."""
        entry = self._entries.get(fetch.key)
        if entry is None or entry.etag is None or entry.value is None:
            return None
        fetch.revalidated = entry
        return entry.etag

    def _read_from_disk(self, fetch: Fetch[Any]) -> None:
        """Read the next best entries. None is given as it is: any may have been corrected meanwhile."""
        query = fetch.query
        for key in dict.fromkeys((query.shared, query, query.default)):
            entry = self._from_disk(key) if key not in self._memory else None
            if entry is None:
                continue
            entry.must_fetch = entry.fetched_at <= self._state.invalidated_at
            self._state.store_as_next_best(entry, fetch)

    def _from_disk(self, key: Query[Any]) -> Entry[Any] | None:
        kept = self._store.load(key)
        try:
            if kept is None:
                return None
            return Entry(key, key.read(kept.answer), kept.etag, kept.fetched_at, "disk", kept.size)
        except (ValueError, RecursionError):  # written by another version of this library
            return None

    # -- what comes back --------------------------------------------------------------------------------

    def _handle_response(self, fetch: Fetch[Any], response: Response | NoResponse) -> None:
        try:
            result = read_response(response)
            if isinstance(result, Fetched) and not fetch.query.is_answered_by(result.content):
                self._handle_ignored_label(fetch)
            elif isinstance(result, Fetched):
                self._handle_fetched(fetch, result)
            elif isinstance(result, NotFound):
                self._handle_not_found(fetch)
            elif fetch.revalidated is not None:
                self._handle_not_modified(fetch, fetch.revalidated, result.age)
            else:
                raise ValueError("it answered with status 304, which was not asked for")
        except (ValueError, RecursionError) as error:  # it says nothing that can be used
            slow = isinstance(response, NoResponse) and response.reason == "timeout"
            self._record_failure(fetch, str(error), slow=slow)

    def _handle_not_modified(self, fetch: Fetch[Any], known: Entry[Any], age: float) -> None:
        entry = Entry(known.key, known.value, known.etag, self._wall() - age, "backend", known.size)
        if self._state.store(fetch, entry, age):
            self._store.renew(known.key, known.etag, entry.fetched_at)

    def _handle_not_found(self, fetch: Fetch[Any]) -> None:
        query = fetch.query
        if self._state.store(fetch, Entry(query.shared, None, None, self._wall(), "backend")):
            for key in {query.shared, query, query.default}:
                self._store.forget(key)

    def _handle_ignored_label(self, fetch: Fetch[Any]) -> None:
        """It gave what it gives without a label: as good as nothing."""
        self._handle_not_found(fetch)
        where = (
            f"{fetch.query.subject!r} was asked for by a label that {self._backend.endpoint.base_url} ignores"
        )
        problem = f"{where}: the response does not repeat the label, so it counts as not found"
        self._on_result(problem)
        warn("label", "%s", problem)

    def _handle_fetched(self, fetch: Fetch[Any], result: Fetched) -> None:
        query, content, size = fetch.query, result.content, result.size
        audience = query.audience(content)
        key = query.shared if audience is Audience.ALL else query
        entry = Entry(key, query.read(content), result.etag, self._wall() - result.age, "backend", size)
        with ReleasingOnError((self._state.lock,)), self._state.lock:
            self._state.counters.prompts_fetched += 1
        self._on_result(entry.value)
        if not self._state.store(fetch, entry, result.age):
            return
        if key != query.shared:
            self._store.forget(query.shared)
        if audience is Audience.ALL:  # only what many users share is worth the disk
            self._keep_on_disk(fetch, key, content, entry)
        elif audience is Audience.ONE_BY_DEFAULT:
            default = Entry(query.default, entry.value, None, entry.fetched_at, "backend", size)
            self._state.store_as_next_best(default, fetch)
            self._keep_on_disk(fetch, query.default, content, default)

    def _keep_on_disk(
        self, fetch: Fetch[Any], key: Query[Any], content: dict[str, Any], entry: Entry[Any]
    ) -> None:
        self._store.keep(key, content, entry.etag, entry.fetched_at)
        if fetch.cleared:  # meanwhile; the file may be newer than that
            self._store.forget(key)

    def _record_failure(self, fetch: Fetch[Any], detail: str, *, slow: bool) -> None:
        base_url, subject = self._backend.endpoint.base_url, fetch.query.subject
        problem = f"{subject!r} could not be fetched from {base_url}: {self._backend.clean(detail)}"
        self._state.record_failure(fetch, problem, slow=slow)
        self._on_result(problem)
        warn("prompt", "%s", problem)


def _after_fork_in_child() -> None:
    for cache in list(_all):
        cache.check_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
