"""Calls in ClickHouse: their way in, and pages of them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select

from .. import calls as contract
from ..calls import SHOWN, UNDATED, Call, CallFilter, Group, Keeper, Page, Stored, time_of
from ..cursors import Cursor
from ..database import BusyError, Database
from ..rows import ordered
from ..scores import SCORE, ScorePage
from ..span_rows import parts, processed_in
from ..spans import SOURCE
from .ages import kept_for, note_old
from .arrivals import Arrivals
from .call_rows import key_of, row_of_call, values_of
from .client import INSERT_SECONDS, ClickHouse, Row
from .conditions import AT_PLACES, PLACE, Conditions, day_of, place_of, stored_day
from .reading import first_of, fitting, folded
from .removal import Removal
from .scores import scores_page
from .searching import searched

# Whoever follows sees what is older: no insert takes longer, with clocks of ClickHouse's servers that differ.
SETTLE_SECONDS = INSERT_SECONDS + 20
_NARROW = ", ".join(each for each in SHOWN if each not in (*PLACE, "seq", "body", "deliveries")) + ", bytes"
_KEY = "project, day, id"
_HELD = ", ".join((*PLACE, "digest", "source"))


class ClickHouseCalls:
    """See `Calls`.

    Two processes that store the same call at the same moment both report it as new; it is stored once.
    """

    def __init__(
        self, clickhouse: ClickHouse, database: Database, *, settle_seconds: float | None = None
    ) -> None:
        self._clickhouse = clickhouse
        self._arrivals = Arrivals(clickhouse)
        self._settle = SETTLE_SECONDS if settle_seconds is None else settle_seconds
        self._database = database
        self._removal = Removal(clickhouse, database, self.calls_of)
        self._one_at_a_time = threading.Lock()  # between looking for repeats and inserting what is new

    # -- on their way in ---------------------------------------------------------------------------------

    def append(self, given: Sequence[Call]) -> list[Stored]:
        """See `Calls.append`."""
        return self.append_rows(self.rows(given))

    def rows(self, given: Sequence[Call]) -> list[dict[str, Any]]:
        """See `Calls.rows`."""
        return [row_of_call(call) for call in given]

    def append_rows(self, rows: Sequence[dict[str, Any]]) -> list[Stored]:
        """See `Calls.append_rows`."""
        with self._one_at_a_time:
            held = self._held(rows)
            told = [key for row in rows if (key := key_of(row)) in held and self._told(held[key], row)]
            self._removal.remove([held.pop(key) for key in dict.fromkeys(told)])
            stored = [self._compared(row, held.setdefault(key_of(row), row)) for row in rows]
            new = [row for row, each in zip(rows, stored, strict=True) if each is Stored.NEW]
            if new:
                self._clickhouse.insert("calls", *values_of(new))
            # Also of repeats: a crash may have come between the insert and this.
            self._arrivals.note(processed_in(rows))
            self._count_repeats(
                [row for row, each in zip(rows, stored, strict=True) if each is Stored.REPEAT]
            )
        return stored

    def _told(self, held: Row, row: Mapping[str, Any]) -> bool:
        """Whether a span told of it: what our own client sends says more, and takes its place."""
        return held.get("source") == SOURCE and row["source"] not in (SOURCE, SCORE)

    def _held(self, rows: Sequence[dict[str, Any]]) -> dict[Any, Row]:
        """What is stored under the same keys: of rows that are not folded yet the one that stays.

        By one column at a time, and without `FINAL`, which would read and merge all ids of these days.
        """
        asked = Conditions().add("project IN ?[Array(String)]", sorted({row["project"] for row in rows}))
        asked.add("day IN ?[Array(Date32)]", sorted({row["day"] for row in rows}))
        asked.add("id IN ?[Array(String)]", sorted({row["id"] for row in rows}))
        found = self._clickhouse.rows(
            f"SELECT {_HELD} FROM call_ids WHERE {asked.sql} ORDER BY seq DESC", asked.parameters
        )
        return {key_of(row): row for row in self._there(found)}

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
        found = self._clickhouse.rows(f"SELECT body FROM calls FINAL WHERE {asked.sql}", asked.parameters)
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
        times = Counter(map(key_of, rows))
        if times:
            values = [[*key, count] for key, count in times.items()]
            self._clickhouse.insert("call_repeats", ("project", "day", "id", "times"), values)

    # -- made of spans: see `derivation` -------------------------------------------------------------------

    def named(self, project: str, ids: Sequence[str], period: tuple[date, date]) -> list[Any]:
        """The rows of the calls with these ids, of some days or without one; columns are attributes.

        A removal that was killed may have left ids of calls that were made of spans, and are gone: they go,
        too, or the calls could not be made again. Of other calls an id may be there a moment before its call.
        """
        found: list[Row] = []
        for some in parts(ids):
            asked = Conditions().add("project = ?[String]", project).add("id IN ?[Array(String)]", list(some))
            days = (*map(stored_day, period), stored_day(UNDATED))
            asked.add("(day BETWEEN ?[Date32] AND ?[Date32] OR day = ?[Date32])", *days)
            known = self._clickhouse.rows(
                f"SELECT {', '.join(PLACE)}, source FROM call_ids FINAL WHERE {asked.sql}", asked.parameters
            )
            if not known:
                continue
            there = Conditions().add(AT_PLACES, [place_of(row) for row in known])
            rows = self._clickhouse.rows(
                f"SELECT * EXCEPT (content) FROM calls FINAL WHERE {there.sql}", there.parameters
            )
            places = {place_of(row) for row in rows}
            left = [row for row in known if place_of(row) not in places and row["source"] == SOURCE]
            self._removal.remove(left)
            found += rows
        return [SimpleNamespace(**{**row, "day": day_of(row["day"])}) for row in found]

    def remove(self, rows: Sequence[Any]) -> None:
        """Remove calls, by such rows."""
        for some in parts(rows):
            self._removal.remove([{**vars(row), "day": stored_day(row.day)} for row in some])

    # -- read back ---------------------------------------------------------------------------------------

    def get(self, project: str, call_id: str) -> Call | None:
        """See `Calls.get`."""
        found = self.page(CallFilter(project=project, equal={"id": call_id}, scores=True), 1).calls
        return found[0] if found else None

    def page(self, chosen: CallFilter, limit: int, cursor: str | None = None) -> Page:
        """See `Calls.page`."""
        last = Cursor.parse(cursor) if cursor is not None else None
        found = searched(self._clickhouse, _NARROW, chosen, last, limit + 1)
        shown = fitting(found.rows, limit)
        if len(found.rows) > len(shown):
            return Page(self.calls_of(shown), str(Cursor(shown[-1]["event_time"], shown[-1]["seq"])))
        if found.to is None:
            return Page(self.calls_of(shown), None)
        return Page(self.calls_of(shown), str(Cursor(found.to, 0)), searched_to=time_of(found.to))

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
        asked.add("seq < ?[UInt64]", self.settled())
        found = self._clickhouse.rows(
            f"SELECT max(seq) AS seq FROM (SELECT seq FROM calls WHERE {asked.sql} ORDER BY seq "
            f"LIMIT {contract.FOLLOWED_AT_ONCE})",
            asked.parameters,
        )
        return max(int(found[0]["seq"]), last)

    def end(self) -> str:
        """See `Calls.end`."""
        return str(Cursor(0, max(self.settled() - 1, 0)))

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
        if keeper is None and kept_for(self._clickhouse) is not None:
            return note_old(self._clickhouse, self._database, before)
        return self._removal.trim(before, keeper)

    def erase(self) -> None:
        """See `Calls.erase`: what is deleted leaves the parts when they are merged, here at once."""
        for table in ("calls", "call_repeats", "call_scores", "spans", "span_events"):
            self._clickhouse.do(f"OPTIMIZE TABLE {self._clickhouse.local(table)} FINAL")

    def maintain(self, now: datetime) -> None:
        """See `Calls.maintain`: parts make room for themselves."""

    # -- positions ---------------------------------------------------------------------------------------

    def settled(self) -> int:
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
        shown = fitting(rows, limit)
        return shown, len(rows) > len(shown)

    def calls_of(self, rows: Sequence[Row]) -> list[Call]:
        """The calls of narrow rows, in their order."""
        if not rows:
            return []
        places = [place_of(row) for row in rows]
        asked = Conditions().add(AT_PLACES, places)
        bodies = self._clickhouse.rows(f"SELECT seq, body FROM calls WHERE {asked.sql}", asked.parameters)
        texts = {row["seq"]: row["body"] for row in bodies}
        again = _repeats(self._clickhouse, rows)
        return [
            _call(row, texts[row["seq"]], 1 + again.get(key_of(row), 0))
            for row in rows
            if row["seq"] in texts  # else it was removed meanwhile
        ]

    # -- sums --------------------------------------------------------------------------------------------

    def count(self, chosen: CallFilter) -> tuple[int, int]:
        """See `Calls.count`."""
        asked = Conditions().of(chosen)
        (found,) = self._clickhouse.rows(
            f"SELECT count() AS n FROM calls FINAL WHERE {_meant(asked, chosen)}", asked.parameters
        )
        again = self._repeated(asked, chosen.project)
        return int(found["n"]), int(found["n"]) + again[()]

    def aggregate(self, chosen: CallFilter, by: Sequence[str] = ()) -> list[Group]:
        """See `Calls.aggregate`."""
        asked = Conditions().of(chosen)
        named = "".join(f"{name}, " for name in by)
        rows = self._clickhouse.rows(
            f"SELECT {named}{_SUMS} FROM (SELECT * FROM calls FINAL WHERE {_meant(asked, chosen)}) AS c "
            f"{_by(by)}",
            asked.parameters,
        )
        again = self._repeated(asked, chosen.project, by)
        return [
            Group(
                by=of,
                deliveries=row["calls"] + again.get(of, 0),
                **{name: row[name] for name in _GROUPED},
            )
            for row in rows
            for of in [tuple(row[name] for name in by)]
        ]

    def _repeated(
        self, asked: Conditions, project: str, by: Sequence[str] = ()
    ) -> dict[tuple[Any, ...], int]:
        """How many deliveries of the calls that are asked for were repeats; most calls have none."""
        rows = self._clickhouse.rows(
            f"SELECT {''.join(f'c.{name} AS {name}, ' for name in by)}sum(r.times) AS times "
            f"FROM (SELECT * FROM calls FINAL WHERE {asked.sql} AND ({_KEY}) IN ("
            f"SELECT {_KEY} FROM call_repeats WHERE project = {{of:String}})) AS c "
            f"INNER JOIN call_repeats AS r USING ({_KEY}) {_by(by)}",
            asked.parameters | {"of": project},
        )
        return {tuple(row[name] for name in by): int(row["times"]) for row in rows}

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


_FEW = frozenset({"id", "session", "user"})  # what chooses few of all calls
_GROUPED = [each.name for each in fields(Group) if each.name not in ("by", "deliveries")]
# The nearest rank: a latency that occurred, and the same one as in the other stores. Of n values ClickHouse
# takes the one with `floor(n * share)` before it, which is one too far where n * share is a whole number.
_P50, _P95 = (f"quantileExact({share - 1e-12!r})(c.latency_ms)" for share in (0.5, 0.95))
_SUMS = f"""
toInt64(count()) AS calls, toInt64(count(c.error)) AS errors,
if(count(c.latency_ms) = 0, NULL, {_P50}) AS latency_p50,
if(count(c.latency_ms) = 0, NULL, {_P95}) AS latency_p95,
if(count(c.input_tokens) = 0, NULL, sum(c.input_tokens)) AS input_tokens,
if(count(c.output_tokens) = 0, NULL, sum(c.output_tokens)) AS output_tokens,
if(count(c.cost) = 0, NULL, sum(c.cost)) AS cost
"""


def _repeats(clickhouse: ClickHouse, rows: Sequence[Row]) -> dict[Any, int]:
    """How often each came again."""
    found = clickhouse.rows(
        f"SELECT {_KEY}, sum(times) AS times FROM call_repeats "
        f"WHERE ({_KEY}) IN {{keys:Array(Tuple(String, Date32, String))}} GROUP BY {_KEY}",
        {"keys": [key_of(row) for row in rows]},
    )
    return {key_of(row): row["times"] for row in found}


def _meant(asked: Conditions, chosen: CallFilter) -> str:
    """The conditions, for a query with `FINAL`."""
    return asked.sql if _FEW.isdisjoint(chosen.equal) else folded(asked)


def _by(names: Sequence[str]) -> str:
    return f"GROUP BY {', '.join(names)}" if names else ""


def _call(row: Row, body: str, deliveries: int) -> Call:
    given: dict[str, Any] = {name: row[name] for name in SHOWN if name not in ("body", "deliveries")}
    given |= {name: time_of(row[name]) for name in ("event_time", "received_at")}
    return Call(**{**given, "day": day_of(row["day"])}, body=json.loads(body), deliveries=deliveries)


def _arrival(row: Row) -> str:
    return str(Cursor(0, row["seq"]))


def _number(bound: str, name: str) -> int:
    return Cursor.parse(bound if "." in bound else f"0.{bound}", name).seq
