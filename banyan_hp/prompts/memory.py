"""The cache's entries in memory, bounded in number and bytes, and for which users each is valid.

Changed under the lock of `state`, read without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from .data import Source
from .queries import Query, Value

NEVER = float("-inf")
MAX_BYTES = 64 * 1024 * 1024  # of responses, as they came


class Entry(Generic[Value]):
    """The last result of a query. `value` is None where the backend says that it has none.

    Fresh until `fresh_until` on the monotonic clock. `size` is that of the backend's response, in bytes.
    Written by one thread at a time; read by any.
    """

    __slots__ = (
        "_marked",
        "etag",
        "fetched_at",
        "fresh_until",
        "key",
        "must_fetch",
        "origin",
        "size",
        "used",
        "value",
    )

    def __init__(
        self,
        key: Query[Value],
        value: Value | None,
        etag: str | None,
        fetched_at: float,
        origin: Source,
        size: int = 0,
    ) -> None:
        self.key = key
        self.value = value
        self.etag = etag
        self.fetched_at = fetched_at
        self.origin: Source = origin
        self.size = size
        self.fresh_until = NEVER
        self.must_fetch = False  # before it is given again
        self.used = 0.0
        self._marked: tuple[Source, Value | None] = ("given", None)

    def marked(self, source: Source) -> Value | None:
        """The value marked with where it comes from; made once for each change of that."""
        last_source, value = self._marked
        if last_source != source:
            value = None if self.value is None else self.value.marked(source, self.fetched_at)
            self._marked = (source, value)
        return value

    @property
    def source_when_old(self) -> Source:
        """Where it comes from, once it is no longer fresh."""
        return "disk" if self.origin == "disk" else "stale"


class Memory:
    """Entries by query.

    Args:
        size: how many are kept, of `MAX_BYTES` together; those least recently used go first.
        monotonic: the clock.
    """

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self.entries: dict[Query[Any], Entry[Any]] = {}
        self._bytes = 0  # of all entries
        self._personal: set[Query[Any]] = set()  # those with a result of its own for each user

    def __contains__(self, query: Query[Any]) -> bool:
        return query in self.entries

    def next_best(self, query: Query[Value]) -> Entry[Value] | None:
        """The closest entry with a value, however old."""
        for key in (query.shared, query, query.default):
            entry = self.entries.get(key)
            if entry is not None and entry.value is not None:
                return entry
        return None

    def fresh(self, query: Query[Value]) -> Entry[Value] | None:
        """The entry, if it need not be fetched."""
        entry = self.entries.get(query.shared) or self.entries.get(query)
        return entry if entry is not None and self._monotonic() < entry.fresh_until else None

    def key(self, query: Query[Value]) -> Query[Value]:
        """The query whose result is this one's, too, as far as is known."""
        return query if query.shared in self._personal else query.shared

    def store(self, query: Query[Any], entry: Entry[Any]) -> None:
        """Keep the result of a query; without a value the backend has none for any user."""
        if entry.value is None:
            self._drop_all_of(query)
            self._doubt_versions_of(query)
        self._note_users(query, entry)
        self._put(entry)

    def store_unless_fresh(self, entry: Entry[Any]) -> None:
        """Keep a next best entry, unless there is a fresh one."""
        earlier = self.entries.get(entry.key)
        if earlier is None or self._monotonic() >= earlier.fresh_until:
            self._put(entry)

    def require_fetch(self, subject: str | None) -> None:
        """Entries of a prompt or experiment (None: all) must be fetched again before they are given."""
        for entry in self.entries.values():
            if subject in (None, entry.key.subject):
                entry.must_fetch, entry.fresh_until = True, NEVER

    def clear(self) -> None:
        self.entries.clear()
        self._bytes = 0
        self._personal.clear()

    def _drop_all_of(self, query: Query[Any]) -> None:
        """The entries of all users."""
        about, default = query.subject, query.default
        for key in [key for key in self.entries if key.subject == about and key.default == default]:
            self._drop(key)

    def _doubt_versions_of(self, query: Query[Any]) -> None:
        """Where there is no prompt there may be no version of it either: they must be fetched again."""
        for key, entry in self.entries.items():
            if key.whole == query.default:
                entry.must_fetch, entry.fresh_until = True, NEVER

    def _note_users(self, query: Query[Any], entry: Entry[Any]) -> None:
        """Remember whether the result is one user's or everybody's."""
        if entry.key == query.shared:
            self._personal.discard(query.shared)
            return
        if len(self._personal) >= self._size:
            self._personal.clear()
        self._personal.add(query.shared)
        self._drop(query.shared)

    def _put(self, entry: Entry[Any]) -> None:
        entry.used = self._monotonic()
        earlier = self.entries.get(entry.key)
        self.entries[entry.key] = entry  # in one step: readers take no lock
        self._bytes += entry.size - (earlier.size if earlier is not None else 0)
        if len(self.entries) > self._size or self._bytes > MAX_BYTES:
            self._make_room(entry.key)

    def _make_room(self, newest: Query[Any]) -> None:
        """Down to nine tenths of both bounds, as sorting takes its time; the newest stays in any case."""
        size, most = self._size - self._size // 10, MAX_BYTES - MAX_BYTES // 10
        for key in sorted(self.entries, key=lambda key: self.entries[key].used):
            if len(self.entries) <= size and self._bytes <= most:
                return
            if key != newest:
                self._drop(key)

    def _drop(self, key: Query[Any]) -> None:
        entry = self.entries.pop(key, None)
        self._bytes -= entry.size if entry is not None else 0
