"""Making calls of spans in SQLite or PostgreSQL: what a step reads and writes; see `derivation.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Row, delete, select, update

from .calls import Call
from .database import Database
from .derivation import BESIDE, MOST_BESIDE, Proposal, neighbourhood
from .span_rows import events_of_traces, parts, rows_of_traces, with_bodies
from .spans import Key, Rule, StoredSpan
from .tables import spans, to_derive

_DERIVING = 0x62616E79616F03  # an advisory lock
_beside = [spans.c[name] for name in BESIDE]


class _RemovedError(Exception):
    """Spans were removed since they were read. Nothing is written: all arrivals stay, and are taken again."""


class CallsOfSpans(Protocol):
    """What a store of calls does for spans, in their transaction."""

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


class _Reading:
    """See `Reading`."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def rows_of(self, traces: Iterable[str]) -> Sequence[Row[Any]]:
        return rows_of_traces(self._connection, self._project, traces)

    def beside(self, first: int, last: int, without: str | None) -> Sequence[Row[Any]]:
        query = select(*_beside).where(
            spans.c.project == self._project, spans.c.counted_at.between(first, last)
        )
        if without is not None:
            query = query.where(spans.c.scope != without)
        return self._connection.execute(query.order_by(spans.c.counted_at).limit(MOST_BESIDE)).all()

    def whole(self, rows: Sequence[Row[Any]]) -> Sequence[StoredSpan]:
        return with_bodies(self._connection, rows, all_of=False)

    def events_of(self, traces: Iterable[str]) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        return events_of_traces(self._connection, self._project, traces)


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
                found = neighbourhood(_Reading(reading, project), project, {row.trace_id for row in some})
                decided = Proposal(found, rule(found))
                numbers = [row.seq for row in some]
                with suppress(_RemovedError):
                    self._database.write(
                        lambda connection, args=(project, decided, numbers): self._write(connection, *args)  # type: ignore[misc]
                    )
        return len(arrivals)

    def _may(self, connection: Connection) -> bool:
        """Whether no other process does so now, nor will during this transaction."""
        if not self._database.is_postgres:
            return True  # one process has the file
        taken = connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (_DERIVING,))
        return bool(taken.scalar_one())

    def _write(self, connection: Connection, project: str, decided: Proposal, numbers: Sequence[int]) -> None:
        taken = 0
        for some in parts(numbers):
            taken += connection.execute(delete(to_derive).where(to_derive.c.seq.in_(some))).rowcount
        if taken < len(numbers):
            raise _RemovedError
        there: list[Any] = []
        for names in parts(decided.names()):
            there += self._calls.named_within(connection, project, names)
        changes = decided.changes(there)
        _require(connection, project, changes.needed)
        self._calls.remove_within(connection, changes.gone)
        self._calls.append_within(connection, changes.new)
        _note(connection, project, changes.noted)


def _note(connection: Connection, project: str, noted: Mapping[str | None, Sequence[Key]]) -> None:
    """Which call a span tells of, on the span."""
    for call_id, keys in noted.items():
        for trace_id in {trace for trace, _ in keys}:
            names = [name for trace, name in keys if trace == trace_id]
            here = (spans.c.project == project, spans.c.trace_id == trace_id)
            for some in parts(names):
                connection.execute(
                    update(spans).where(*here, spans.c.span_id.in_(some)).values(call_id=call_id)
                )


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
