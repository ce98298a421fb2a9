"""Traces as pages show them: their spans without what they say, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .cursors import Cursor
from .spans import StoredSpan

FAILED = 2  # the status of a span that failed
_MOST_ABOVE = 30  # spans around each other, that are looked for above a part of a trace
MOST_TOLD = 1_000
MOST_LOGS = 100
OUTLINE = (
    *("seq", "trace_id", "span_id", "parent_id", "name", "role", "model", "status"),
    *("start_time", "end_time"),
)
"""The columns of a span that an outline is made of, with `call_id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """A span without what it says; the fields are those of a `StoredSpan`."""

    span_id: str
    parent_id: str | None
    name: str
    role: str
    model: str | None
    start: int
    end: int
    failed: bool
    call_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Some spans of a trace, and what all of them amount to. Times are microseconds since 1970.

    Attributes:
        spans: by their start.
        above: the spans around these that are not among them.
        next: the cursor of those that start later; None: there are none.
        count, failed: how many spans there are, and how many of them failed.
        calls: how many calls they tell of.
        session, user: that one of them names.
    """

    trace_id: str
    spans: Sequence[Outlined]
    above: Sequence[Outlined]
    next: str | None
    count: int
    failed: int
    calls: int
    began: int
    ended: int
    session: str | None
    user: str | None


class Told(NamedTuple):
    """A span that tells of a call; `before`: the cursor from which a part of its trace begins with it."""

    call_id: str
    trace_id: str
    span_id: str
    before: str


class Traces(Protocol):
    """The traces of all projects."""

    def of_calls(self, project: str, call_ids: Collection[str]) -> list[Told]:
        """The spans that tell of calls, by their start."""
        ...

    def part(self, project: str, trace_id: str, most: int, cursor: str | None = None) -> Trace | None:
        """Up to `most` spans of a trace, by their start, with those around them; None: there is none.

        Raises:
            UnusableCursorError: the cursor is none of such a part.
        """
        ...

    def beginnings(self, project: str, trace_ids: Collection[str], most: int) -> dict[str, Trace]:
        """The first spans of several traces: up to `most` of each. Those that are not there are left out."""
        ...

    def span(self, project: str, trace_id: str, span_id: str) -> StoredSpan | None:
        """One span with all that it says.

        Raises:
            BusyError: it is being moved.
        """
        ...

    def logs(self, project: str, trace_id: str, span_id: str) -> list[Any]:
        """The bodies of the first log events that belong to a span."""
        ...


# -- of rows, as each store has them -------------------------------------------------------------------------


def told(row: Any) -> Told:
    """Where the span of a row is."""
    return Told(row.call_id, row.trace_id, row.span_id, str(Cursor(row.start_time, max(row.seq - 1, 0))))


def trace_of(sums: Any, rows: Sequence[Any], above: Sequence[Any], most: int) -> Trace:
    """A trace of its sums, up to one more span than are shown, and what is around them."""
    shown = rows[:most]
    more = len(rows) > most
    return Trace(
        trace_id=sums.trace_id,
        spans=[_outlined(row) for row in shown],
        above=[_outlined(row) for row in above],
        next=str(Cursor(shown[-1].start_time, shown[-1].seq)) if more else None,
        count=sums.many,
        failed=int(sums.failed),
        calls=sums.calls,
        began=sums.began,
        ended=sums.ended,
        session=sums.session,
        user=sums.user,
    )


def above(rows: Sequence[Any], named: Callable[[Sequence[str]], Sequence[Any]]) -> list[Any]:
    """The spans around these, and around those, that are not among them; `named` has those with some ids."""
    known = {row.span_id for row in rows}
    found: list[Any] = []
    inner = rows
    for _ in range(_MOST_ABOVE):
        wanted = sorted({row.parent_id for row in inner if row.parent_id is not None} - known)
        inner = named(wanted) if wanted else []
        known |= set(wanted)
        found += inner
        if not inner:
            break
    return found


def _outlined(row: Any) -> Outlined:
    return Outlined(
        span_id=row.span_id,
        parent_id=row.parent_id,
        name=row.name,
        role=row.role,
        model=row.model,
        start=row.start_time,
        end=row.end_time,
        failed=row.status == FAILED,
        call_id=row.call_id,
    )
