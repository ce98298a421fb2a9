"""What is remembered of one answer."""

from __future__ import annotations

from typing import Generic

from .data import Source
from .questions import Question, Value

NEVER = float("-inf")


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
