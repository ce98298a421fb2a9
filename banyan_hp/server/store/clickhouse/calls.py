"""Calls in ClickHouse: their way in, and pages of them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select

from .. import calls as contract
from ..calls import SHOWN, Call, CallFilter, Group, Keeper, Page, Stored, time_of
from ..cursors import Cursor
from ..database import BusyError, Database
from ..rows import ordered, row_of, within_bytes
from ..scores import SCORE, ScorePage
from ..search import words_in
from ..span_rows import note_processed, processed_in
from ..spans import SOURCE
from .client import INSERT_SECONDS, ClickHouse, Row
from .conditions import AT_PLACES, PLACE, Conditions, day_of, place_of, stored_day
from .hours import HOUR_COLUMNS, hour_columns
from .reading import first_of
from .removal import Removal
from .scores import SCORE_COLUMNS, score_columns, scores_page

# Whoever follows sees what is older: no insert takes longer, with clocks of ClickHouse's servers that differ.
SETTLE_SECONDS = INSERT_SECONDS + 20
_COLUMNS = (
    *(name for name in SHOWN if name not in ("body", "seq", "deliveries")),
    *("digest", "bytes", "output_length", "body", "words"),
    *SCORE_COLUMNS,
    *HOUR_COLUMNS,
)
_NARROW = ", ".join(name for name in SHOWN if name not in ("body", "deliveries")) + ", bytes"
_KEY = "project, day, id"


class ClickHouseCalls:
    """See `Calls`.

    Two processes that store the same call at the same moment both report it as new; it is stored once.
    """

    def __init__(
        self, clickhouse: ClickHouse, database: Database, *, settle_seconds: float | None = None
    ) -> None:
        self._clickhouse = clickhouse
        self._database = database
        self._settle = SETTLE_SECONDS if settle_seconds is None else settle_seconds
        self._removal = Removal(clickhouse, database, self.calls_of)
        self._one_at_a_time = threading.Lock()  # between looking for repeats and inserting what is new

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[Call]) -> list[Stored]:
        """See `Calls.append`."""
        rows = [_row(call) for call in given]
        with self._one_at_a_time:
            held = self._held(rows)
            told = [key for row in rows if (key := _key(row)) in held and self._told(held[key], row)]
            self._removal.remove([held.pop(key) for key in dict.fromkeys(told)])
            stored = [self._compared(row, held.setdefault(_key(row), row)) for row in rows]
            new = [row for row, each in zip(rows, stored, strict=True) if each is Stored.NEW]
            if new:
                values = [[row[name] for name in _COLUMNS] for row in new]
                self._clickhouse.insert("calls", _COLUMNS, values)
            self._note_processed(rows)
            self._count_repeats(
                [row for row, each in zip(rows, stored, strict=True) if each is Stored.REPEAT]
            )
        return stored

    def _note_processed(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Also of repeats: a crash may have come between the insert and this."""
        if traces := processed_in(rows):
            self._database.write(partial(note_processed, traces=traces))

    def _told(self, held: Row, row: Mapping[str, Any]) -> bool:
        """Whether a span told of it: what our own client sends says more, and takes its place."""
        return held.get("source") == SOURCE and row["source"] not in (SOURCE, SCORE)

    def _held(self, rows: Sequence[dict[str, Any]]) -> dict[Any, Row]:
        """What is stored under the same keys."""
        keys = [_key(row) for row in rows]
        found = self._clickhouse.rows(
            "SELECT project, day, id, event_time, digest, source, seq FROM call_ids FINAL "
            "WHERE (project, day, id) IN {keys:Array(Tuple(String, Date32, String))}",
            {"keys": keys},
        )
        return {_key(row): row for row in self._there(found)}

    def _there(self, rows: Sequence[Row]) -> list[Row]:
        """Those whose calls are stored: ids are in a table of their own, and a crash may leave one alone."""
        if not rows:
            return []
        asked = Conditions().add(AT_PLACES, [place_of(row) for row in rows])
        sql = f"SELECT {', '.join(PLACE)} FROM calls WHERE {asked.sql}"
        stored = {place_of(row) for row in self._clickhouse.rows(sql, asked.parameters)}
        return [row for row in rows if place_of(row) in stored]

    def _body(self, held: Row) -> str:
        asked = Conditions().add(AT_PLACES, [place_of(held)])
        found = self._clickhouse.rows(f"SELECT body FROM calls WHERE {asked.sql}", asked.parameters)
        if not found:
            raise BusyError("a call is removed while it comes again")
        return str(found[0]["body"])

    def _compared(self, row: dict[str, Any], held: Row) -> Stored:
        if held is row:
            return Stored.NEW
        same = held["digest"] == row["digest"]
        # The same body may be written in another order of its fields, which means nothing.
        if same or ordered(held.get("body") or self._body(held)) == ordered(row["body"]):
            return Stored.REPEAT
        return Stored.CONFLICT

    def _count_repeats(self, rows: Sequence[dict[str, Any]]) -> None:
        times = Counter(map(_key, rows))
        if times:
            values = [[*key, count] for key, count in times.items()]
            self._clickhouse.insert("call_repeats", ("project", "day", "id", "times"), values)

    # -- made of spans, which stay in the database --------------------------------------------------------

    def named_within(self, connection: Connection, project: str, ids: Sequence[str]) -> Sequence[Any]:
        """See `CallsOfSpans.named_within`."""
        asked = Conditions().add("project = ?[String]", project).add("id IN ?[Array(String)]", list(ids))
        rows = self._clickhouse.rows(
            f"SELECT * EXCEPT (body, words) FROM calls FINAL WHERE {asked.sql}", asked.parameters
        )
        return [SimpleNamespace(**{**row, "day": day_of(row["day"])}) for row in rows]

    def remove_within(self, connection: Connection, rows: Sequence[Any]) -> None:
        """See `CallsOfSpans.remove_within`."""
        self._removal.remove([{**vars(row), "day": stored_day(row.day)} for row in rows])

    def append_within(self, connection: Connection, given: Sequence[Call]) -> list[Stored]:
        """See `CallsOfSpans.append_within`."""
        return self.append(given)

    def ids_of(self, project: str, equal: Mapping[str, str]) -> list[str]:
        """See `CallsOfSpans.ids_of`."""
        asked = Conditions().of(CallFilter(project=project, equal=equal, scores=True))
        rows = self._clickhouse.rows(f"SELECT id FROM calls WHERE {asked.sql}", asked.parameters)
        return [row["id"] for row in rows]

    # -- read back ---------------------------------------------------------------------------------------

    def get(self, project: str, call_id: str) -> Call | None:
        """See `Calls.get`."""
        found = self.page(CallFilter(project=project, equal={"id": call_id}, scores=True), 1).calls
        return found[0] if found else None

    def page(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.page`."""
        asked = Conditions().of(chosen)
        if cursor is not None:
            last = Cursor.parse(cursor)
            asked.add("event_time <= ?[Int64]", last.major)
            asked.add("(event_time, seq) < (?[Int64], ?[UInt64])", *last)
        shown, more = self._shown(asked, "event_time DESC, seq DESC", limit)
        end = str(Cursor(shown[-1]["event_time"], shown[-1]["seq"])) if more else None
        return Page(self.calls_of(shown), end)

    def arrived(
        self,
        chosen: CallFilter,
        limit: int,
        *,
        after: str | None = None,
        before: str | None = None,
        newest: bool = False,
    ) -> Page:
        """See `Calls.arrived`."""
        asked = Conditions().of(chosen)
        for name, sign, bound in (("after", ">", after), ("before", "<", before)):
            if bound is not None:
                asked.add(f"seq {sign} ?[UInt64]", _number(bound, name))
        shown, more = self._shown(asked, "seq DESC" if newest else "seq", limit)
        return Page(self.calls_of(shown), _arrival(shown[-1]) if more else None)

    def follow(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.follow`."""
        last = Cursor.parse(cursor).seq if cursor is not None else 0
        furthest = self._furthest(chosen.project, last)
        asked = Conditions().of(chosen).add("seq > ?[UInt64]", last).add("seq <= ?[UInt64]", furthest)
        shown, more = self._shown(asked, "seq", limit)
        seen = shown[-1]["seq"] if more or len(shown) == limit else furthest
        calls = self.calls_of(shown)
        return Page(calls, str(Cursor(0, seen)), [str(Cursor(0, each.seq)) for each in calls])

    def _furthest(self, project: str, last: int) -> int:
        """The last of a project's next calls, whatever they are: a filter is asked about them only."""
        asked = Conditions().add("project = ?[String]", project).add("seq > ?[UInt64]", last)
        asked.add("seq < ?[UInt64]", self._settled())
        found = self._clickhouse.rows(
            f"SELECT max(seq) AS seq FROM (SELECT seq FROM calls WHERE {asked.sql} ORDER BY seq "
            f"LIMIT {contract.FOLLOWED_AT_ONCE})",
            asked.parameters,
        )
        return max(int(found[0]["seq"]), last)

    def end(self) -> str:
        """See `Calls.end`."""
        return str(Cursor(0, max(self._settled() - 1, 0)))

    def scores(
        self, project: str, equal: Mapping[str, str], limit: int, cursor: str | None = None
    ) -> ScorePage:
        """See `Calls.scores`."""
        return scores_page(self._clickhouse, project, equal, limit, cursor)

    # -- removed -----------------------------------------------------------------------------------------

    def delete(self, chosen: CallFilter, by: str | None = None) -> Iterator[int]:
        """See `Calls.delete`."""
        return self._removal.delete(chosen, by)

    def trim(self, before: datetime, keeper: Keeper | None = None) -> Iterator[int]:
        """See `Calls.trim`."""
        return self._removal.trim(before, keeper)

    def erase(self) -> None:
        """See `Calls.erase`: what is deleted leaves the parts when they are merged, here at once."""
        for table in ("calls", "call_repeats"):
            self._clickhouse.do(f"OPTIMIZE TABLE {table} FINAL")

    def maintain(self, now: datetime) -> None:
        """See `Calls.maintain`: parts make room for themselves."""

    # -- positions ---------------------------------------------------------------------------------------

    def _settled(self) -> int:
        """The first number that an insert under way may still get."""
        ago = {"ago": round(self._settle * 1000)}
        found = self._clickhouse.rows(
            "SELECT toUInt64(dateTime64ToSnowflakeID(now64(3) - toIntervalMillisecond({ago:Int64}))) AS seq",
            ago,
        )
        return int(found[0]["seq"]) + (1 << 22 if not self._settle else 0)

    def _shown(self, asked: Conditions, order: str, limit: int) -> tuple[Sequence[Any], bool]:
        """Narrow rows, as many as a page may have, and whether there are more."""
        rows = first_of(self._clickhouse, _NARROW, asked, order, limit + 1)
        shown = within_bytes([_Sized(row) for row in rows[:limit]])
        return shown, len(rows) > len(shown)

    def calls_of(self, rows: Sequence[Row]) -> list[Call]:
        """The calls of narrow rows, in their order."""
        if not rows:
            return []
        places = [place_of(row) for row in rows]
        asked = Conditions().add(AT_PLACES, places)
        bodies = self._clickhouse.rows(f"SELECT seq, body FROM calls WHERE {asked.sql}", asked.parameters)
        texts = {row["seq"]: row["body"] for row in bodies}
        again = self._repeats(rows)
        return [
            _call(row, texts[row["seq"]], 1 + again.get(_key(row), 0)) for row in rows if row["seq"] in texts
        ]

    def _repeats(self, rows: Sequence[Row]) -> dict[Any, int]:
        found = self._clickhouse.rows(
            f"SELECT {_KEY}, sum(times) AS times FROM call_repeats "
            f"WHERE ({_KEY}) IN {{keys:Array(Tuple(String, Date32, String))}} GROUP BY {_KEY}",
            {"keys": [_key(row) for row in rows]},
        )
        return {_key(row): row["times"] for row in found}

    # -- sums --------------------------------------------------------------------------------------------

    def count(self, chosen: CallFilter) -> tuple[int, int]:
        """See `Calls.count`."""
        (found,) = self.aggregate(chosen)
        return found.calls, found.deliveries

    def aggregate(self, chosen: CallFilter, by: Sequence[str] = ()) -> list[Group]:
        """See `Calls.aggregate`."""
        asked = Conditions().of(chosen)
        grouped = f"GROUP BY {', '.join(by)}" if by else ""
        rows = self._clickhouse.rows(
            f"SELECT {''.join(f'{name}, ' for name in by)}{_SUMS} FROM ("
            f"SELECT * EXCEPT (body, words), 1 + coalesce(times, 0) AS deliveries FROM calls FINAL "
            f"LEFT JOIN (SELECT {_KEY}, sum(times) AS times FROM call_repeats "
            f"WHERE project = {{of:String}} GROUP BY {_KEY}) AS again "
            f"USING ({_KEY}) WHERE {asked.sql}) AS c {grouped}",
            asked.parameters | {"of": chosen.project},
        )
        return [
            Group(by=tuple(row[name] for name in by), **{name: row[name] for name in _GROUPED})
            for row in rows
        ]

    # -- found by text -----------------------------------------------------------------------------------

    def index(self, limit: int) -> int:
        """See `Calls.index`: texts are found as soon as they are stored."""
        return 0

    def unindexed(self, most: int | None = None) -> int:
        """See `Calls.unindexed`. Whoever asks finds out whether both respond, as with one database."""
        self._clickhouse.rows("SELECT 1")
        with self._database.read() as connection:
            connection.execute(select(1))
        return 0


_GROUPED = [each.name for each in fields(Group) if each.name != "by"]


def _percentile(share: float) -> str:
    """The nearest rank: a latency that occurred, and the same one as in the other stores."""
    sorted_ = "arraySort(groupArray(assumeNotNull(latency_ms)) FILTER (WHERE latency_ms IS NOT NULL))"
    rank = f"toUInt64(ceil(count(latency_ms) * {share}))"
    return f"if(count(latency_ms) = 0, NULL, arrayElement({sorted_}, {rank}))"


_SUMS = f"""
toInt64(count()) AS calls, toInt64(sum(deliveries)) AS deliveries, toInt64(count(error)) AS errors,
{_percentile(0.5)} AS latency_p50, {_percentile(0.95)} AS latency_p95,
if(count(c.input_tokens) = 0, NULL, sum(c.input_tokens)) AS input_tokens,
if(count(c.output_tokens) = 0, NULL, sum(c.output_tokens)) AS output_tokens,
if(count(c.cost) = 0, NULL, sum(c.cost)) AS cost
"""


class _Sized(dict[str, Any]):
    """A row, with its size where `within_bytes` looks for it."""

    @property
    def bytes(self) -> int:
        return int(self["bytes"])


def _row(call: Call) -> dict[str, Any]:
    row = row_of(call)
    row["day"] = stored_day(call.day)
    row["words"] = f" {' '.join(words_in(call.body))} "
    return row | score_columns(row) | hour_columns(row)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["project"], row["day"], row["id"]


def _call(row: Row, body: str, deliveries: int) -> Call:
    given: dict[str, Any] = {name: row[name] for name in SHOWN if name not in ("body", "deliveries")}
    given |= {name: time_of(row[name]) for name in ("event_time", "received_at")}
    return Call(**{**given, "day": day_of(row["day"])}, body=json.loads(body), deliveries=deliveries)


def _arrival(row: Row) -> str:
    return str(Cursor(0, row["seq"]))


def _number(bound: str, name: str) -> int:
    return Cursor.parse(bound if "." in bound else f"0.{bound}", name).seq
