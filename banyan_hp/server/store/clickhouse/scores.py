"""Scores: columns of the calls that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..calls import time_of
from ..cursors import Cursor
from ..rows import cut
from ..score_rows import TEXTS, score_row
from ..scores import BOOL, CATEGORY, CLIENT_ID, SCORE, TARGETS, Score, ScorePage
from .client import ClickHouse, Row
from .conditions import Conditions

_STATED = (*TEXTS, "kind", "number", "text", "comment")
SCORE_COLUMNS = tuple(f"score_{name}" for name in _STATED)


def _in_id(group: int) -> str:
    digits = f"leftPad(regexpExtract(id, '{CLIENT_ID}', {group}), 16, '0')"
    return f"reinterpretAsInt64(reverse(unhex({digits})))"


PLACE = f"(event_time, if(match(id, '{CLIENT_ID}'), {_in_id(2)}, event_time), {_in_id(1)}, seq)"
"""What `place_of` is, of a row of `call_scores`."""


def score_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of a call says as a score; nothing, if it is none."""
    if row["source"] != SCORE:
        return dict.fromkeys(SCORE_COLUMNS)
    stated = score_row({**row, "seq": 0})
    return {f"score_{name}": stated[name] for name in _STATED}


def scores_page(
    clickhouse: ClickHouse, project: str, equal: Mapping[str, str], limit: int, cursor: str | None
) -> ScorePage:
    """See `Calls.scores`."""
    asked = Conditions().add("project = ?[String]", project)
    for name, value in equal.items():
        if name not in TARGETS:
            raise KeyError(name)
        asked.add(f"{name} = ?[String]", cut(value))
    if cursor is not None:
        asked.add("(event_time, seq) < (?[Int64], ?[UInt64])", *Cursor.parse(cursor))
    rows = clickhouse.rows(
        f"SELECT project, id, event_time, seq, {', '.join(_STATED)} FROM call_scores FINAL WHERE {asked.sql} "
        f"ORDER BY event_time DESC, seq DESC LIMIT {limit + 1}",
        asked.parameters,
    )
    shown = rows[:limit]
    end = str(Cursor(shown[-1]["event_time"], shown[-1]["seq"])) if len(rows) > limit else None
    return ScorePage([_score(row) for row in shown], end)


def _score(row: Row) -> Score:
    kind, number = row["kind"], row["number"]
    value = row["text"] if kind == CATEGORY else bool(number) if kind == BOOL else number
    return Score(
        project=row["project"],
        id=row["id"],
        at=time_of(row["event_time"]),
        value=value,
        comment=row["comment"],
        seq=row["seq"],
        **{name: row[name] for name in TEXTS},
    )
