"""Making calls of spans in ClickHouse: what a step reads and writes. What a crash leaves: see `spans.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from ..calls import time_of
from ..database import Database
from ..derivation import BESIDE, MOST_BESIDE, Changes, Proposal, neighbourhood
from ..election import DERIVING, SPANS, elected, elected_soon
from ..span_rows import parts, span_of
from ..spans import Key, Rule, StoredSpan
from .arrivals import Arrival, Arrivals
from .calls import ClickHouseCalls
from .client import ClickHouse
from .conditions import Conditions
from .span_rows import COLUMNS, are_spans, events_of, in_traces, rows_of

_DAY = timedelta(days=1)
_READ = f"{COLUMNS}, if(counted_at IS NULL, '{{}}', body) AS body"


class _Reading:
    """See `Reading`. Bodies are read with their rows: a telling is whole."""

    def __init__(self, clickhouse: ClickHouse, project: str) -> None:
        self._clickhouse = clickhouse
        self._project = project

    def rows_of(self, traces: Iterable[str]) -> Sequence[Any]:
        found: list[Any] = []
        for some in parts(sorted(traces)):
            found += rows_of(self._clickhouse, self._project, _READ, in_traces(self._project, some))
        return found

    def beside(self, first: int, last: int, without: str | None) -> Sequence[Any]:
        asked = Conditions().add("project = ?[String]", self._project)
        asked.add("start_time BETWEEN ?[Int64] AND ?[Int64]", first, last)
        if without is not None:
            asked.add("scope != ?[String]", without)
        rows = self._clickhouse.rows(
            f"SELECT {', '.join(BESIDE)} FROM span_times WHERE {asked.sql} "
            f"ORDER BY start_time LIMIT {MOST_BESIDE}",
            asked.parameters,
        )
        return [SimpleNamespace(**row) for row in rows]

    def whole(self, rows: Sequence[Any]) -> Sequence[StoredSpan]:
        return [span_of(row, json.loads(row.body)) for row in rows]

    def events_of(self, traces: Iterable[str]) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        return events_of(self._clickhouse, self._project, traces)


class Derivation:
    """Makes the calls of ClickHouse's spans. The elections are held in `database`."""

    def __init__(self, clickhouse: ClickHouse, database: Database, calls_there: ClickHouseCalls) -> None:
        self._clickhouse = clickhouse
        self._database = database
        self._calls = calls_there
        self._arrivals = Arrivals(clickhouse)

    def derive(self, limit: int, rule: Rule) -> int:
        """See `Spans.derive`. What the rule takes to decide holds up neither intake nor removal."""
        with elected(self._database, DERIVING) as still:
            if still is None:
                return 0
            arrivals = self._arrivals.first(limit, self._before())
            by_project: dict[str, list[Arrival]] = {}
            for each in arrivals:
                by_project.setdefault(each.project, []).append(each)
            for project, some in by_project.items():
                reading = _Reading(self._clickhouse, project)
                found = neighbourhood(reading, project, {each.trace_id for each in some})
                decided = Proposal(found, rule(found))
                if not still():
                    return 0
                self._write(project, decided, some)
        return len(arrivals)

    def _before(self) -> int | None:
        """On a cluster a replica may have an arrival before its spans: until here, those asked have both."""
        return None if self._clickhouse.cluster is None else self._calls.settled()

    def _write(self, project: str, decided: Proposal, arrivals: Sequence[Arrival]) -> None:
        """Unless spans were removed since they were read: then all arrivals stay, and are taken again."""
        with elected_soon(self._database, SPANS) as still:
            if not self._arrivals.wait_all(arrivals):
                return
            changes = decided.changes(self._there(project, decided))
            if not self._are_there(project, changes.needed) or not still():
                return
            self._calls.remove(changes.gone)
            self._calls.append(changes.new)
            self._note(project, decided, changes)
            self._arrivals.done(arrivals)

    def _there(self, project: str, decided: Proposal) -> Sequence[Any]:
        if not decided.own:
            return []
        days = [time_of(span.start).date() for span in decided.own]
        period = (min(days) - _DAY, max(days) + _DAY)  # clocks of spans and records may differ
        return self._calls.named(project, decided.names(), period)

    def _are_there(self, project: str, keys: set[Key]) -> bool:
        there: set[Key] = set()
        for some in parts(sorted(keys)):
            asked = are_spans(project, some)
            rows = self._clickhouse.rows(
                f"SELECT trace_id, span_id FROM spans WHERE {asked.sql}", asked.parameters
            )
            there |= {(row["trace_id"], row["span_id"]) for row in rows}
        return keys <= there

    def _note(self, project: str, decided: Proposal, changes: Changes) -> None:
        began = {span.key: span.start for span in decided.own}
        rows = [
            (project, *key, call_id, began[key]) for call_id, keys in changes.noted.items() for key in keys
        ]
        if rows:
            columns = ("project", "trace_id", "span_id", "call_id", "start_time")
            self._clickhouse.insert("span_calls", columns, rows)
