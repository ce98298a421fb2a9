"""Traces to which something came, and of which calls are made next: a queue of rows that are only inserted.

An arrival is a number. It waits from its first row, which has 1, to its second one, which has -1; merges drop
the two. A row that is inserted once more changes nothing: numbers are never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .client import ClickHouse
from .conditions import Conditions

_COLUMNS = ("project", "trace_id", "number", "waiting")


class Arrival(NamedTuple):
    """Something came to a trace."""

    project: str
    trace_id: str
    number: int


class Arrivals:
    """The arrivals of all projects."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def note(self, traces: Iterable[tuple[str, str]]) -> None:
        """Something came to these traces, given with their projects; it can be read already."""
        rows = [(*each, 1) for each in sorted(set(traces))]
        if rows:
            self._clickhouse.insert("spans_to_derive", ("project", "trace_id", "waiting"), rows)

    def note_all(self, project: str) -> int:
        """As if something had come to each trace of a project; how many these are."""
        asked = {"project": project}
        traces = "SELECT DISTINCT project, trace_id, 1 FROM spans WHERE project = {project:String}"
        self._clickhouse.do(f"INSERT INTO spans_to_derive (project, trace_id, waiting) {traces}", asked)
        (row,) = self._clickhouse.rows(f"SELECT count() AS n FROM ({traces})", asked)
        return int(row["n"])

    def first(self, limit: int, before: int | None = None) -> list[Arrival]:
        """Those that wait longest; `before`: with numbers below it."""
        asked = Conditions()
        if before is not None:
            asked.add("number < ?[UInt64]", before)
        return self._waiting(asked, f"ORDER BY number LIMIT {limit}")

    def of(self, project: str, traces: Sequence[str]) -> list[Arrival]:
        """Those of some traces."""
        asked = Conditions().add("project = ?[String]", project)
        return self._waiting(asked.add("trace_id IN ?[Array(String)]", list(traces)))

    def wait_all(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether all of these still wait."""
        numbers = [each.number for each in arrivals]
        return set(arrivals) <= set(self._waiting(Conditions().add("number IN ?[Array(UInt64)]", numbers)))

    def count(self) -> int:
        """How many wait."""
        (row,) = self._clickhouse.rows(
            "SELECT count() AS n FROM (SELECT number FROM spans_to_derive "
            "GROUP BY number, project, trace_id HAVING sum(waiting) > 0)"
        )
        return int(row["n"])

    def done(self, arrivals: Iterable[Arrival]) -> None:
        """These wait no more."""
        rows = [(*each, -1) for each in arrivals]
        if rows:
            self._clickhouse.insert("spans_to_derive", _COLUMNS, rows)

    def _waiting(self, asked: Conditions, end: str = "") -> list[Arrival]:
        rows = self._clickhouse.rows(
            f"SELECT project, trace_id, number FROM spans_to_derive WHERE {asked.sql} "
            f"GROUP BY number, project, trace_id HAVING sum(waiting) > 0 {end}",
            asked.parameters,
        )
        return [Arrival(row["project"], row["trace_id"], row["number"]) for row in rows]
