"""Scores: columns of the calls that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..calls import time_of
from ..cursors import Cursor
from ..rows import cut
from ..score_rows import TEXTS, score_row
from ..scores import BOOL, CATEGORY, SCORE, TARGETS, Score, ScorePage
from .client import ClickHouse, Row
from .conditions import Conditions
from .reading import first_of

_STATED = (*TEXTS, "kind", "number", "text", "comment")
SCORE_COLUMNS = tuple(f"score_{name}" for name in _STATED)


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
    asked = Conditions().add("project = ?[String]", project).add("source = ?[String]", SCORE)
    for name, value in equal.items():
        if name not in TARGETS:
            raise KeyError(name)
        asked.add(f"score_{name} = ?[String]", cut(value))
    if cursor is not None:
        asked.add("(event_time, seq) < (?[Int64], ?[UInt64])", *Cursor.parse(cursor))
    columns = f"project, id, event_time, seq, {', '.join(SCORE_COLUMNS)}"
    rows = first_of(clickhouse, columns, asked, "event_time DESC, seq DESC", limit + 1)
    shown = rows[:limit]
    end = str(Cursor(shown[-1]["event_time"], shown[-1]["seq"])) if len(rows) > limit else None
    return ScorePage([_score(row) for row in shown], end)


def _score(row: Row) -> Score:
    kind, number = row["score_kind"], row["score_number"]
    value = row["score_text"] if kind == CATEGORY else bool(number) if kind == BOOL else number
    return Score(
        project=row["project"],
        id=row["id"],
        at=time_of(row["event_time"]),
        value=value,
        comment=row["score_comment"],
        seq=row["seq"],
        **{name: row[f"score_{name}"] for name in TEXTS},
    )
