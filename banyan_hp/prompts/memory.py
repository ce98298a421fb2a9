"""The answers in memory, bounded in number and bytes, and for whom each is good.

Changed under the lock of `answers`, read without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from .data import Source
from .queries import Question, Value

NEVER = float("-inf")
MAX_BYTES = 64 * 1024 * 1024  # of answers, as they came


class Entry(Generic[Value]):
    """The last answer to a question. `value` is None where the backend says that there is none.

    Fresh until `fresh_until` on the monotonic clock. `size` is that of the backend's answer, in bytes.
    Written by one thread at a time; read by any.
    """

    __slots__ = (
        "etag",
        "fetched_at",
        "fresh_until",
        "key",
        "must_ask",
        "origin",
        "seen",
        "size",
        "used",
        "value",
    )

    def __init__(
        self,
        key: Question[Value],
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
        self.must_ask = False
        self.used = 0.0
        self.seen: tuple[Source, Value | None] = ("given", None)

    def as_seen(self, source: Source) -> Value | None:
        """The value marked with where it comes from; made once for each change of that."""
        marked, value = self.seen
        if marked != source:
            value = None if self.value is None else self.value.seen(source, self.fetched_at)
            self.seen = (source, value)
        return value

    @property
    def old_source(self) -> Source:
        """Where it comes from, once it is no longer fresh."""
        return "disk" if self.origin == "disk" else "stale"


class Memory:
    """Entries by question.

    Args:
        size: how many are kept, of `MAX_BYTES` together; those least recently used go first.
        monotonic: the clock.
    """

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self.entries: dict[Question[Any], Entry[Any]] = {}
        self._bytes = 0  # of all entries
        self._personal: set[Question[Any]] = set()  # what the backend answers to each user differently

    def __contains__(self, question: Question[Any]) -> bool:
        return question in self.entries

    def known(self, question: Question[Value]) -> Entry[Value] | None:
        """The next best answer, however old."""
        for key in (question.shared, question, question.default):
            entry = self.entries.get(key)
            if entry is not None and entry.value is not None:
                return entry
        return None

    def fresh(self, question: Question[Value]) -> Entry[Value] | None:
        """The answer, if it need not be asked for."""
        entry = self.entries.get(question.shared) or self.entries.get(question)
        return entry if entry is not None and self._monotonic() < entry.fresh_until else None

    def key(self, question: Question[Value]) -> Question[Value]:
        """The question that stands for this one, as far as is known."""
        return question if question.shared in self._personal else question.shared

    def take_in(self, question: Question[Any], entry: Entry[Any]) -> None:
        """The backend's answer to a question; without a value: there is none for any user."""
        if entry.value is None:
            self._drop_all_of(question)
            self._doubt_versions_of(question)
        self._note_whose(question, entry)
        self._put(entry)

    def put_unless_fresh(self, entry: Entry[Any]) -> None:
        """Have a next best answer ready."""
        earlier = self.entries.get(entry.key)
        if earlier is None or self._monotonic() >= earlier.fresh_until:
            self._put(entry)

    def distrust(self, subject: str | None) -> None:
        """What is about a prompt or experiment (None: all) must be asked for before it is given."""
        for entry in self.entries.values():
            if subject in (None, entry.key.subject):
                entry.must_ask, entry.fresh_until = True, NEVER

    def clear(self) -> None:
        self.entries.clear()
        self._bytes = 0
        self._personal.clear()

    def _drop_all_of(self, question: Question[Any]) -> None:
        """What any user was told about it."""
        about, default = question.subject, question.default
        for key in [key for key in self.entries if key.subject == about and key.default == default]:
            self._drop(key)

    def _doubt_versions_of(self, question: Question[Any]) -> None:
        """Where there is no prompt there may be no version of it either: the backend must be asked."""
        for key, entry in self.entries.items():
            if key.whole == question.default:
                entry.must_ask, entry.fresh_until = True, NEVER

    def _note_whose(self, question: Question[Any], entry: Entry[Any]) -> None:
        if entry.key == question.shared:
            self._personal.discard(question.shared)
            return
        if len(self._personal) >= self._size:
            self._personal.clear()
        self._personal.add(question.shared)
        self._drop(question.shared)

    def _put(self, entry: Entry[Any]) -> None:
        entry.used = self._monotonic()
        earlier = self.entries.get(entry.key)
        self.entries[entry.key] = entry  # in one step: readers take no lock
        self._bytes += entry.size - (earlier.size if earlier is not None else 0)
        if len(self.entries) > self._size or self._bytes > MAX_BYTES:
            self._make_room(entry.key)

    def _make_room(self, newest: Question[Any]) -> None:
        """Down to nine tenths of both bounds, as sorting takes its time; the newest stays in any case."""
        size, most = self._size - self._size // 10, MAX_BYTES - MAX_BYTES // 10
        for key in sorted(self.entries, key=lambda key: self.entries[key].used):
            if len(self.entries) <= size and self._bytes <= most:
                return
            if key != newest:
                self._drop(key)

    def _drop(self, key: Question[Any]) -> None:
        entry = self.entries.pop(key, None)
        self._bytes -= entry.size if entry is not None else 0
