"""The outcomes of experiments, computed when they are asked for of the calls and scores of their users.

Nothing is kept for each user, so nothing can be behind, and there is nothing to rebuild. `experiment_calls`
has the calls of each user beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ...analysis.course import Times
from ...analysis.moments import Moments
from ..calls import microseconds, time_of
from ..database import Database
from ..marks import window_of
from ..measured import over_steps, parts_of, put_together
from ..outcomes import Summary, VersionSummary
from ..scores import BOOL, CATEGORY
from ..sql_outcomes import MOST_NAMES, removed_until
from .client import ClickHouse, Row
from .first_calls import first_calls
from .scores import PLACE

_MICROSECOND = timedelta(microseconds=1)
_SUMMED = ("latency", "input_tokens", "output_tokens", "cost", "output_length")
_MEASURES = {
    **{name: (name, f"{name}_of") for name in _SUMMED},
    "latency_p50": ("coalesce(latency_p50, 0)", "toFloat64(latency_p50 IS NOT NULL)"),
    "error_rate": ("errors", "calls"),
}

# The first call of each user of an experiment. Rows that are not folded yet make no difference here, nor in
# what says who is whose, and `FINAL` would cost more than the rest.
_FIRSTS = """
firsts AS (
    SELECT sticky_value, min(event_time) AS first_at, argMin(version, (event_time, id)) AS version
    FROM experiment_calls
    WHERE project = {project:String} AND experiment_id = {experiment:String}
    GROUP BY sticky_value
)
"""
# The first call of each user of an experiment, and the sums over the calls in the window after it.
_USERS = """
users AS (
    SELECT c.sticky_value AS sticky_value, any(c.first.2) AS version, any(c.first.3) AS sticky_key,
        any(c.first.1) AS first_at, first_at + {window:Int64} AS ends_at,
        max(c.version != c.first.2) AS mixed, toFloat64(count()) AS calls, toFloat64(sum(c.failed)) AS errors,
        sum(coalesce(c.latency_ms, 0)) AS latency, toFloat64(count(c.latency_ms)) AS latency_of,
        if(latency_of = 0, NULL, quantileExactInclusive(0.5)(c.latency_ms)) AS latency_p50,
        toFloat64(sum(coalesce(c.input_tokens, 0))) AS input_tokens,
        toFloat64(count(c.input_tokens)) AS input_tokens_of,
        toFloat64(sum(coalesce(c.output_tokens, 0))) AS output_tokens,
        toFloat64(count(c.output_tokens)) AS output_tokens_of,
        sum(coalesce(c.cost, 0)) AS cost, toFloat64(count(c.cost)) AS cost_of,
        toFloat64(sum(coalesce(c.output_length, 0))) AS output_length,
        toFloat64(count(c.output_length)) AS output_length_of
    FROM (
        SELECT *, first_value((event_time, version, sticky_key))
            OVER (PARTITION BY sticky_value ORDER BY event_time, id) AS first
        FROM experiment_calls FINAL
        WHERE project = {project:String} AND experiment_id = {experiment:String}
    ) AS c
    WHERE c.event_time < c.first.1 + {window:Int64}
    GROUP BY c.sticky_value
)
"""

# The scores that may count in the experiment, the users whom they lead to by a record or a session, and when
# their record was made. A join keeps its right side in memory: the scores, which are fewer.
_SCORES = f"""
theirs AS (
    SELECT id, session, sticky_value, sticky_key, event_time FROM experiment_calls
    WHERE project = {{project:String}} AND experiment_id = {{experiment:String}}
),
given AS (
    SELECT event_time AS at, id, name, kind, number, text, record_id, session, sticky_key, sticky_value,
        rater, seq, {PLACE} AS place
    FROM call_scores FINAL
    WHERE project = {{project:String}} AND (experiment_id IS NULL OR experiment_id = {{experiment:String}})
),
near AS (
    SELECT s.seq AS seq, c.sticky_value AS sticky_value, c.event_time AS made_at, 1 AS of_record,
        s.sticky_value IS NOT NULL
            AND (s.sticky_key IS NULL OR c.sticky_key IS NULL OR s.sticky_key = c.sticky_key) AS names
    FROM theirs AS c INNER JOIN given AS s ON c.id = s.record_id
    UNION ALL
    SELECT s.seq AS seq, c.sticky_value AS sticky_value, c.event_time AS made_at, 0 AS of_record,
        s.sticky_value IS NOT NULL
            AND (s.sticky_key IS NULL OR c.sticky_key IS NULL OR s.sticky_key = c.sticky_key) AS names
    FROM theirs AS c INNER JOIN (SELECT * FROM given WHERE record_id IS NULL) AS s ON c.session = s.session
),
owned AS (
    SELECT seq, groupUniqArrayIf(2)(sticky_value, NOT coalesce(names, 0)) AS found,
        groupUniqArrayIf((sticky_value, made_at), of_record) AS made
    FROM near GROUP BY seq
)
"""

# Of each name, from each rater about the same, the last score in the window of a user in one version. What a
# query names twice ClickHouse computes twice: so numbers and categories are told apart at the end only.
_COUNTED = """
meant AS (
    SELECT s.*, o.made AS made, who.1 AS whose, who.2 AS named
    FROM given AS s LEFT JOIN owned AS o ON s.seq = o.seq
    ARRAY JOIN arrayConcat(
        if(s.sticky_value IS NULL, [], [(assumeNotNull(s.sticky_value), 1)]),
        if(length(o.found) = 1, [(o.found[1], 0)], [])
    ) AS who
),
lasts AS (
    SELECT u.sticky_value AS sticky_value, any(u.version) AS version, any(u.first_at) AS first_at,
        any(u.ends_at) AS ends_at, g.name AS name,
        argMax(tuple(g.kind, g.number, g.text), g.place) AS last
    FROM users AS u INNER JOIN meant AS g ON u.sticky_value = g.whose
    WHERE NOT u.mixed AND g.at < u.ends_at
        AND (g.at >= u.first_at
            OR arrayExists(call -> call.1 = u.sticky_value AND call.2 < u.ends_at, g.made))
        AND (g.named = 0 OR g.sticky_key IS NULL OR u.sticky_key IS NULL OR g.sticky_key = u.sticky_key)
    GROUP BY u.sticky_value, g.name, g.rater,
        multiIf(g.record_id IS NOT NULL, 'record_id', g.session IS NOT NULL, 'session', 'sticky_value'),
        coalesce(g.record_id, g.session, g.sticky_value)
),
by_user AS (
    SELECT any(version) AS version, any(first_at) AS first_at, any(ends_at) AS ends_at, name,
        last.1 = 'category' AS of_category,
        multiIf(of_category, 'category', countIf(last.1 = 'number') > 0, 'number', 'bool') AS kind,
        sum(coalesce(last.2, 0)) AS number, toFloat64(count()) AS x,
        sumMap([coalesce(last.3, '')], [toFloat64(1)]) AS found
    FROM lasts GROUP BY sticky_value, name, of_category
),
measured AS (
    SELECT version, first_at, ends_at, name, kind, category, y, x FROM by_user
    ARRAY JOIN if(of_category, arrayConcat([''], found.1), ['']) AS category,
        if(of_category, arrayConcat([toFloat64(0)], found.2), [number]) AS y
)
"""
_OF_USERS = "first_at >= {start:Int64} AND first_at < {until:Int64}"
_CLOSED = "ends_at <= {now:Int64}"
_END = 2**62
# The step in which a window closed; one that closes at the end of a step is still in it.
_STEP = "intDiv(ends_at - {origin:Int64} - 1, {width:Int64})"
_COUNTS = f"NOT mixed AND {_CLOSED}"
_MOMENTS = "[sum(toFloat64(x > 0)), sum(x), sum(y), sum(x * x), sum(x * y), sum(y * y)] AS sums"
_ALL = f"{_USERS}, {_SCORES}, {_COUNTED}"


class ClickHouseOutcomes:
    """See `Outcomes`. `database` has the experiments."""

    def __init__(self, clickhouse: ClickHouse, database: Database) -> None:
        self._clickhouse = clickhouse
        self._database = database

    def summaries(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        window: timedelta,
        start: datetime,
        until: datetime | None,
        now: datetime,
    ) -> Summary:
        """See `Outcomes.summaries`."""
        asked = {
            **_of(project, experiment_id, window),
            **_within(start, until),
            "now": microseconds(now),
        }
        measures = [name for name in metrics if name in _MEASURES]
        rows = self._versions(asked, measures)
        found = {row["version"]: _measured(row, measures) for row in rows}
        for version, name, moments in self._scored(
            asked, [each for each in metrics if each not in _MEASURES]
        ):
            found.setdefault(version, {})[name] = moments
        return Summary(
            versions={
                row["version"]: VersionSummary(
                    exposed=int(row["exposed"]),
                    closed=int(row["closed"]),
                    calls=int(row["made"]),
                    metrics=found[row["version"]],
                )
                for row in rows
            },
            mixed=sum(int(row["seen_in_two"]) for row in rows),
            ambiguous=self._ambiguous(asked),
            next_closes=_soonest(rows),
            removed_until=self._removed_until(project, experiment_id),
            pending=0,
        )

    def _versions(self, asked: Mapping[str, Any], names: Sequence[str]) -> list[Row]:
        sums = "".join(f", {_sums_of(*_MEASURES[name])} AS m{number}" for number, name in enumerate(names))
        return self._clickhouse.rows(
            f"WITH {_USERS} SELECT version, countIf(NOT mixed) AS exposed, countIf({_COUNTS}) AS closed, "
            f"countIf(mixed) AS seen_in_two, sumIf(calls, {_COUNTS}) AS made, "
            f"minIf(ends_at, NOT mixed AND NOT ({_CLOSED})) AS next_closes{sums} "
            f"FROM users WHERE {_OF_USERS} GROUP BY version",
            asked,
        )

    def _scored(self, asked: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, str, Moments]]:
        if not names:
            return []
        wanted = sorted({part for name in names for part, *_ in parts_of(name)})
        rows = self._clickhouse.rows(
            f"WITH {_ALL} SELECT version, name, kind = 'category' AS of_category, category, "
            f"{_MOMENTS} FROM measured WHERE name IN {{names:Array(String)}} AND {_OF_USERS} AND {_CLOSED} "
            "GROUP BY version, name, of_category, category",
            {**asked, "names": wanted},
        )
        found = {
            (row["name"], bool(row["of_category"]), row["category"], row["version"]): _moments(row["sums"])
            for row in rows
        }
        return [each for name in names for each in put_together(name, found)]

    def _removed_until(self, project: str, experiment_id: str) -> datetime | None:
        with self._database.read() as connection:
            return removed_until(connection, project, experiment_id)

    def _ambiguous(self, asked: Mapping[str, Any]) -> int:
        (row,) = self._clickhouse.rows(
            f"WITH {_SCORES} SELECT count() AS n FROM owned WHERE length(found) > 1", asked
        )
        return int(row["n"])

    def over_time(
        self,
        project: str,
        experiment_id: str,
        metric: str,
        *,
        start: datetime,
        until: datetime | None,
        times: Times,
    ) -> Sequence[tuple[datetime, Mapping[str, Moments]]]:
        """See `Outcomes.over_time`."""
        asked = {
            **_of(project, experiment_id, self._window(project, experiment_id)),
            **_within(start, until),
            "now": microseconds(times.end),
            "origin": microseconds(times.origin),
            "width": times.step // _MICROSECOND,
        }
        rows = (
            self._steps_of_calls(asked, metric)
            if metric in _MEASURES
            else self._steps_of_scores(asked, metric)
        )
        steps: dict[int, dict[tuple[Any, ...], Moments]] = {}
        for row in rows:
            part = (row["name"], bool(row["of_category"]), row["category"], row["version"])
            steps.setdefault(row["step"], {})[part] = _moments(row["sums"])
        return over_steps(metric, steps, times)

    def _steps_of_calls(self, asked: Mapping[str, Any], metric: str) -> list[Row]:
        return self._clickhouse.rows(
            f"WITH {_USERS} SELECT {_STEP} AS step, version, {{metric:String}} AS name, 0 AS of_category, "
            f"'' AS category, {_sums_of(*_MEASURES[metric])} AS sums FROM users "
            f"WHERE {_OF_USERS} AND {_COUNTS} GROUP BY step, version",
            {**asked, "metric": metric},
        )

    def _steps_of_scores(self, asked: Mapping[str, Any], metric: str) -> list[Row]:
        parts = {(name, CATEGORY in kinds, category) for name, kinds, category in parts_of(metric)}
        rows = self._clickhouse.rows(
            f"WITH {_ALL} SELECT {_STEP} AS step, version, name, kind = 'category' AS of_category, category, "
            f"{_MOMENTS} FROM measured WHERE name IN {{names:Array(String)}} AND {_OF_USERS} AND {_CLOSED} "
            "GROUP BY step, version, name, of_category, category",
            {**asked, "names": sorted({name for name, *_ in parts})},
        )
        # Without those of the same name and another kind: a course ends with the last step that changes it.
        return [row for row in rows if (row["name"], bool(row["of_category"]), row["category"]) in parts]

    def _window(self, project: str, experiment_id: str) -> timedelta:
        with self._database.read() as connection:
            return window_of(connection, project, experiment_id) * _MICROSECOND

    def users_of(self, project: str, experiment_ids: Sequence[str]) -> Mapping[str, int]:
        """See `Outcomes.users_of`."""
        rows = self._clickhouse.rows(
            "SELECT experiment_id, uniqExact(sticky_value) AS n FROM experiment_calls "
            "WHERE project = {project:String} AND experiment_id IN {ids:Array(String)} "
            "GROUP BY experiment_id",
            {"project": project, "ids": list(experiment_ids)},
        )
        return {row["experiment_id"]: int(row["n"]) for row in rows}

    def first_assignments(
        self, project: str, experiment_id: str, *, start: datetime, until: datetime | None
    ) -> Mapping[str, int]:
        """See `Outcomes.first_assignments`."""
        rows = self._clickhouse.rows(
            f"WITH {_FIRSTS} SELECT version, count() AS n FROM firsts WHERE {_OF_USERS} GROUP BY version",
            {**_of(project, experiment_id), **_within(start, until)},
        )
        return {row["version"]: int(row["n"]) for row in rows}

    def first_calls(
        self,
        project: str,
        experiment_id: str,
        metrics: Sequence[str],
        *,
        start: datetime,
        until: datetime | None,
    ) -> Mapping[str, Mapping[str, Moments]]:
        """See `Outcomes.first_calls`."""
        asked = {**_of(project, experiment_id), **_within(start, until)}
        return first_calls(self._clickhouse, asked, metrics)

    def metrics(self, project: str, experiment_id: str) -> Mapping[str, bool]:
        """See `Outcomes.metrics`."""
        window = self._window(project, experiment_id)
        rows = self._clickhouse.rows(
            f"WITH {_ALL} SELECT DISTINCT name, kind, category FROM measured "
            f"ORDER BY name, kind, category LIMIT {MOST_NAMES}",
            _of(project, experiment_id, window),
        )
        named = {row["name"]: row["kind"] == BOOL for row in rows if row["kind"] != CATEGORY}
        return named | {
            f"{row['name']}={row['category']}": True
            for row in rows
            if row["kind"] == CATEGORY and row["category"]
        }

    def rebuild(self, project: str, experiment_id: str) -> int:
        """See `Outcomes.rebuild`: nothing is kept that could be wrong; how many users there are."""
        return sum(
            self.first_assignments(
                project, experiment_id, start=datetime(1970, 1, 1, tzinfo=UTC), until=None
            ).values()
        )

    def step(self, limit: int) -> int:
        """See `Outcomes.step`."""
        return 0

    def pending(self, most: int | None = None) -> int:
        """See `Outcomes.pending`."""
        return 0


def _of(project: str, experiment_id: str, window: timedelta = timedelta()) -> dict[str, Any]:
    return {"project": project, "experiment": experiment_id, "window": window // _MICROSECOND}


def _within(start: datetime, until: datetime | None) -> dict[str, int]:
    return {"start": microseconds(start), "until": microseconds(until) if until is not None else _END}


def _sums_of(y: str, x: str) -> str:
    """The sums that moments consist of, as an array, over users that count and have a denominator."""
    terms = ("1.", x, y, f"({x}) * ({x})", f"({x}) * ({y})", f"({y}) * ({y})")
    return f"[{', '.join(f'sumIf({term}, {_COUNTS} AND ({x}) > 0)' for term in terms)}]"


def _soonest(rows: Sequence[Row]) -> datetime | None:
    found = [row["next_closes"] for row in rows if row["next_closes"]]
    return time_of(min(found)) if found else None


def _moments(sums: Sequence[float]) -> Moments:
    n, *others = sums
    return Moments(int(n), *others)


def _measured(row: Row, names: Sequence[str]) -> dict[str, Moments]:
    found = {name: _moments(row[f"m{number}"]) for number, name in enumerate(names)}
    return {name: moments for name, moments in found.items() if moments.n}
