"""Making calls of spans: which traces to look at together, and what changes among the calls.

A step takes arrivals, reads the whole traces that they belong to and those of possible twins, asks the rule
for their calls, and puts these in the place of what was made before. What stayed the same is left alone. One
process at a time makes a step: it is elected for each. A crash anywhere leaves the arrivals, which are taken
again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Row, delete, select, update

from .calls import Call
from .database import Database
from .rows import row_of as row_of_call
from .span_rows import events_of_traces, parts, rows_of_traces, with_bodies
from .spans import (
    LONGEST,
    SLACK,
    SOURCE,
    Derived,
    Key,
    Neighbourhood,
    Rule,
    StoredSpan,
    processed_id,
    record_of,
)
from .tables import spans, to_derive

MOST_TRACES = 2000  # that are looked at together
ROUNDS = (
    3  # of looking for traces that belong to those found before; alike calls in parallel would go on and on
)
_MOST_BESIDE = 50_000  # spans of a stretch of time among which twins are looked for
_DERIVING = 0x62616E79616F03  # an advisory lock
_BESIDE = (
    *("trace_id", "scope", "role", "start_time", "end_time"),
    *("input_tokens", "output_tokens", "response_id"),
)
_beside = [spans.c[name] for name in _BESIDE]


class _RemovedError(Exception):
    """Spans were removed since they were read. Nothing is written: all arrivals stay, and are taken again."""


class CallsOfSpans(Protocol):
    """What a store of calls does for spans, whose transaction it may take part in.

    One that does not has done its part when the transaction ends: a crash between leaves the arrivals, of
    which the same calls are made again.
    """

    def named_within(self, connection: Connection, project: str, ids: Sequence[str]) -> Sequence[Any]:
        """The rows of the calls with these ids, of any day; `parts` of ids at a time."""
        ...

    def remove_within(self, connection: Connection, rows: Sequence[Any]) -> object:
        """Remove calls, by such rows."""
        ...

    def append_within(self, connection: Connection, given: Sequence[Call]) -> object:
        """See `Calls.append`."""
        ...

    def ids_of(self, project: str, equal: Mapping[str, str]) -> Any:
        """The ids of calls, for an `in_`; by columns of `FILTERS` and what each holds."""
        ...


class Derivation:
    """Makes the calls of a database's spans."""

    def __init__(self, database: Database, calls_there: CallsOfSpans) -> None:
        self._database = database
        self._calls = calls_there

    def derive(self, limit: int, rule: Rule) -> int:
        """See `Spans.derive`. What the rule takes to decide holds up no intake."""
        with self._database.read() as reading:
            if not self._may(reading):
                return 0
            query = select(to_derive).order_by(to_derive.c.seq).limit(limit)
            arrivals = reading.execute(query).all()
            by_project: dict[str, list[Row[Any]]] = {}
            for row in arrivals:
                by_project.setdefault(row.project, []).append(row)
            for project, some in by_project.items():
                found = neighbourhood(reading, project, {row.trace_id for row in some})
                derived = rule(found)
                numbers = [row.seq for row in some]
                with suppress(_RemovedError):
                    self._database.write(
                        lambda connection, args=(found, derived, numbers): self._write(connection, *args)  # type: ignore[misc]
                    )
        return len(arrivals)

    def _may(self, connection: Connection) -> bool:
        """Whether no other process does so now, nor will during this transaction."""
        if not self._database.is_postgres:
            return True  # one process has the file
        taken = connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (_DERIVING,))
        return bool(taken.scalar_one())

    def _write(
        self, connection: Connection, found: Neighbourhood, derived: Sequence[Derived], numbers: Sequence[int]
    ) -> None:
        taken = 0
        for some in parts(numbers):
            taken += connection.execute(delete(to_derive).where(to_derive.c.seq.in_(some))).rowcount
        if taken < len(numbers):
            raise _RemovedError
        derived = [each for each in derived if any(trace not in found.edge for trace, _ in each.spans)]
        told = {key for each in derived for key in each.spans}
        own = [span for span in found.spans if span.trace_id not in found.edge or span.key in told]
        there = self._there(connection, found.project, own)
        native = {row.id for row in there if row.source != SOURCE}
        wanted = {each.call.id: each.call for each in derived if not _is_native(each, native)}
        kept = {row.id for row in there if row.id in wanted and _is_same(row, wanted[row.id])}
        gone = [row for row in there if row.source == SOURCE and row.id not in kept]
        _require(
            connection,
            found.project,
            {key for each in derived if each.call.id not in kept for key in each.spans},
        )
        self._calls.remove_within(connection, gone)
        self._calls.append_within(connection, [call for name, call in wanted.items() if name not in kept])
        self._note(
            connection,
            found.project,
            own,
            {key: _named(each, native) for each in derived for key in each.spans},
        )

    def _there(self, connection: Connection, project: str, own: Sequence[StoredSpan]) -> list[Row[Any]]:
        """Calls that any of the spans may be named after: made earlier, or logged by our own clients."""
        ids = [name for span in own if span.counted for name in _ids(span)]
        rows: list[Row[Any]] = []
        for some in parts(ids):
            rows += self._calls.named_within(connection, project, some)
        return rows

    def _note(
        self, connection: Connection, project: str, own: Sequence[StoredSpan], told: Mapping[Key, str]
    ) -> None:
        """Which call a span tells of, on the span."""
        changed: dict[str | None, list[Key]] = {}
        for span in own:
            if span.call_id != told.get(span.key):
                changed.setdefault(told.get(span.key), []).append(span.key)
        for call_id, keys in changed.items():
            for trace_id in {trace for trace, _ in keys}:
                names = [name for trace, name in keys if trace == trace_id]
                here = (spans.c.project == project, spans.c.trace_id == trace_id)
                for some in parts(names):
                    connection.execute(
                        update(spans).where(*here, spans.c.span_id.in_(some)).values(call_id=call_id)
                    )


def _ids(span: StoredSpan) -> Iterator[str]:
    yield f"{span.trace_id}-{span.span_id}"
    yield processed_id(span.key)
    record = record_of(span.span_id, span.body.get("attributes", {}))
    if record is not None:
        yield record


def _require(connection: Connection, project: str, keys: set[Key]) -> None:
    """Of spans that were removed since they were read no call may be made: it would outlive them.

    Raises:
        _RemovedError: one was.
    """
    there: set[Key] = set()
    for some in parts(sorted({trace for trace, _ in keys})):
        query = select(spans.c.trace_id, spans.c.span_id)
        query = query.where(spans.c.project == project, spans.c.trace_id.in_(some))
        there |= {(row.trace_id, row.span_id) for row in connection.execute(query)}
    if not keys <= there:
        raise _RemovedError


def _is_native(derived: Derived, native: set[str]) -> bool:
    """Whether our own client has sent it: under its own id, or made of one of its spans."""
    return _named(derived, native) in native


def _named(derived: Derived, native: set[str]) -> str:
    """The id of the call that is there, whoever sent it."""
    names = (derived.call.id, *map(processed_id, derived.spans))
    return next((name for name in names if name in native), derived.call.id)


def _is_same(row: Row[Any], call: Call) -> bool:
    """Whether a call is stored as it would be now; when it arrived does not count."""
    made = row_of_call(call)
    left_out = ("body", "seq", "deliveries", "received_at", "digest")
    return bytes(row.digest) == made["digest"] and all(
        getattr(row, name) == value for name, value in made.items() if name not in left_out
    )


# -- which traces belong together ----------------------------------------------------------------------------


def neighbourhood(connection: Connection, project: str, traces: set[str]) -> Neighbourhood:
    """Whole traces, with those of spans that may tell of the same calls, and so on."""
    rows: list[Row[Any]] = []
    seen: set[str] = set()
    last: set[str] = set()
    left = set(traces)
    for _ in range(ROUNDS):
        if not left or (seen and len(seen) + len(left) > MOST_TRACES):
            break
        seen |= left
        found = rows_of_traces(connection, project, left)
        rows += found
        last, left = left, _twins(connection, project, [row for row in found if row.counted_at is not None])
        left -= seen
    events = events_of_traces(connection, project, seen)
    edge = frozenset(last - traces) if left else frozenset[str]()
    return Neighbourhood(project, with_bodies(connection, rows, all_of=False), events, edge)


def _twins(connection: Connection, project: str, counted: Sequence[Row[Any]]) -> set[str]:
    """Traces with a span that may tell of the same call as one of these."""
    found: set[str] = set()
    scopes = {row.scope for row in counted}
    for first, last, some in _stretches(counted):
        query = select(*_beside).where(spans.c.project == project, spans.c.counted_at.between(first, last))
        if len(scopes) == 1:
            query = query.where(spans.c.scope != next(iter(scopes)))
        others = connection.execute(query.order_by(spans.c.counted_at).limit(_MOST_BESIDE)).all()
        starts = [row.start_time for row in others]
        for row in some:
            begin = bisect_left(starts, row.start_time - LONGEST)
            end = bisect_left(starts, row.end_time + SLACK)
            found |= {other.trace_id for other in others[begin:end] if _may_be_one(row, other)}
    return found


def _stretches(counted: Iterable[Row[Any]]) -> Iterator[tuple[int, int, list[Row[Any]]]]:
    """Stretches of time in which twins of the spans may have begun."""
    some: list[Row[Any]] = []
    first = last = 0
    for row in sorted(counted, key=lambda row: (row.start_time, row.seq)):
        if some and row.start_time - LONGEST > last:
            yield first, last, some
            some = []
        first = first if some else row.start_time - LONGEST
        last = max(last, row.end_time + SLACK)
        some.append(row)
    if some:
        yield first, last, some


def _may_be_one(mine: Row[Any], other: Row[Any]) -> bool:
    """By what the narrow rows know: nothing speaks against it."""
    if other.scope == mine.scope or other.role != mine.role or other.trace_id == mine.trace_id:
        return False
    if not _within(mine, other) and not _within(other, mine):
        return False
    if mine.response_id is not None and other.response_id is not None:
        return bool(mine.response_id == other.response_id)
    return not any(
        _unequal(getattr(mine, name), getattr(other, name)) for name in ("input_tokens", "output_tokens")
    )


def _within(inner: Row[Any], outer: Row[Any]) -> bool:
    return bool(inner.start_time >= outer.start_time - SLACK and inner.end_time <= outer.end_time + SLACK)


def _unequal(mine: object, theirs: object) -> bool:
    return mine is not None and theirs is not None and mine != theirs
