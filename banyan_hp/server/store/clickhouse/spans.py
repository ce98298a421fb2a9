"""Spans in ClickHouse, where several servers take them in at once and no transaction holds them together.

Who owns what. Servers insert into `spans` and `span_events`, and then into `spans_to_derive`; `span_times`
follows `spans` by itself. The process that makes calls (`derivation.py`), one of all at a time, inserts into
`span_calls`, and takes arrivals away. Removal (`span_removal.py`) deletes; a deletion that was asked for and
the writing half of a step exclude each other (`election.SPANS`).

The states of an arrival: none yet (its spans are there, its sender has no response), waiting, done.

What a crash leaves, `kill -9` of any process:

- before the spans are inserted: nothing; the sender has no response, and sends them again
- after that, before their arrival: spans without calls. The sender has no response, either: what it sends
  again is a repeat, which is not stored again, but noted as an arrival like any other
- between the arrival and the response: all of it; the repeat has the trace looked at once more, to no effect
- in a step: some calls removed, stored or noted on their spans, and all of its arrivals waiting. The next
  step finds the difference between what is there and what there should be. A call that changes is not there
  between its removal and its storing
- in a removal: some tables without the traces. Rows by which a trace is found go last: asked again, it goes
  on

Two servers that insert one span at the same moment leave two rows. The one that ends later counts, or else
the one with the greater digest: whatever the order in which they came, all readers see the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..calls import Stored
from ..database import Database
from ..rows import cut, within_bytes
from ..span_rows import event_row_of, parts, row_of, span_of
from ..spans import Key, Rule, SpanKeeper, StoredEvent, StoredSpan
from .arrivals import Arrivals
from .calls import ClickHouseCalls
from .client import ClickHouse
from .conditions import Conditions
from .derivation import Derivation
from .span_removal import SpanRemoval
from .span_rows import COLUMNS, events_of, in_traces, rows_of, with_bodies

_COLUMNS = {
    "spans": (
        *("project", "trace_id", "span_id", "version", "parent_id", "name", "role", "scope", "start_time"),
        *("end_time", "counted_at", "received_at", "status", "model", "input_tokens", "output_tokens"),
        *("response_id", "session", "user", "bytes", "body"),
    ),
    "span_events": ("project", "trace_id", "span_id", "digest", "name", "time", "received_at", "body"),
}
_DIGEST_BYTES = 8  # that decide between two tellings that end at the same time


class _Given(NamedTuple):
    """A row of a table, what it is known by there, and of several with this key the one that counts."""

    table: str
    row: Mapping[str, Any]
    key: tuple[Any, ...]
    version: int


class ClickHouseSpans:
    """See `Spans`."""

    def __init__(self, clickhouse: ClickHouse, database: Database, calls_there: ClickHouseCalls) -> None:
        self._clickhouse = clickhouse
        self._arrivals = Arrivals(clickhouse)
        self._derivation = Derivation(clickhouse, database, calls_there)
        self._removal = SpanRemoval(clickhouse, database)

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[StoredSpan | StoredEvent]) -> list[Stored]:
        """See `Spans.append`. Where it fails, some may be stored: senders repeat all of them."""
        rows = [_span(each) if isinstance(each, StoredSpan) else _event(each) for each in given]
        held = self._held(rows)
        stored = []
        new: dict[str, list[Mapping[str, Any]]] = {"span_events": [], "spans": []}
        for each in rows:
            stored.append(Stored.NEW if each.version > held.get(each.key, -1) else Stored.REPEAT)
            if stored[-1] is Stored.NEW:
                held[each.key] = each.version
                new[each.table].append(each.row)
        for table, some in new.items():
            if some:
                columns = _COLUMNS[table]
                self._clickhouse.insert(table, columns, [[row[name] for name in columns] for row in some])
        self._arrivals.note(each.key[:2] for each in rows)
        return stored

    def _held(self, rows: Sequence[_Given]) -> dict[tuple[Any, ...], int]:
        """The versions that are there, by the key."""
        found: dict[tuple[Any, ...], int] = {}
        for table, version, key in (
            ("spans", "max(version)", ("project", "trace_id", "span_id")),
            ("span_events", "0", ("project", "trace_id", "span_id", "digest")),
        ):
            names = ", ".join(key)
            for some in parts(sorted({each.key[:3] for each in rows if each.table == table})):
                asked = Conditions()
                asked.add("(project, trace_id, span_id) IN ?[Array(Tuple(String, String, String))]", some)
                query = f"SELECT {names}, {version} AS held FROM {table} WHERE {asked.sql} GROUP BY {names}"
                for row in self._clickhouse.rows(query, asked.parameters):
                    found[tuple(row[name] for name in key)] = row["held"]
        return found

    # -- read back ---------------------------------------------------------------------------------------

    def trace(self, project: str, trace_id: str) -> list[StoredSpan]:
        """See `Spans.trace`. Those that start last are without a body, where there is too much of them."""
        rows = rows_of(self._clickhouse, project, COLUMNS, in_traces(project, [cut(trace_id)]))
        shown = within_bytes(rows)
        left = [span_of(row, {}) for row in rows[len(shown) :]]
        return [*with_bodies(self._clickhouse, project, shown), *left]

    def events(self, project: str, trace_id: str) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        """See `Spans.events`."""
        return events_of(self._clickhouse, project, [cut(trace_id)])

    # -- made into calls ---------------------------------------------------------------------------------

    def derive(self, limit: int, rule: Rule) -> int:
        """See `Spans.derive`."""
        return self._derivation.derive(limit, rule)

    def underived(self) -> int:
        """See `Spans.underived`."""
        return self._arrivals.count()

    def rebuild(self, project: str) -> int:
        """See `Spans.rebuild`."""
        return self._arrivals.note_all(project)

    def maintain(self, now: datetime) -> None:
        """See `Spans.maintain`: parts make room for themselves."""

    # -- removed: see `span_removal` ---------------------------------------------------------------------

    def delete(self, project: str, equal: Mapping[str, str]) -> Iterator[int]:
        """See `Spans.delete`."""
        return self._removal.delete(project, equal)

    def trim(self, before: datetime, keeper: SpanKeeper | None = None) -> Iterator[int]:
        """See `Spans.trim`."""
        return self._removal.trim(before, keeper)


def _span(span: StoredSpan) -> _Given:
    row = row_of(span)
    version = max(span.end, 0) << 8 * _DIGEST_BYTES | int.from_bytes(row["digest"][:_DIGEST_BYTES], "big")
    return _Given("spans", {**row, "version": version}, (span.project, *span.key), version)


def _event(event: StoredEvent) -> _Given:
    row = event_row_of(event)
    key = (event.project, event.trace_id, event.span_id, row["digest"])
    return _Given("span_events", row, key, 0)
