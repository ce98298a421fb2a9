"""Scores and the rows that hold them, and reading them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, literal, select, tuple_

from .calls import time_of
from .cursors import Cursor
from .rows import cut, printable
from .score_tables import scores
from .scores import BOOL, CATEGORY, NUMBER, Score, ScorePage, stated_in

TEXTS = (
    "name",
    "record_id",
    "session",
    "sticky_key",
    "sticky_value",
    "experiment_id",
    "experiment_version_id",
    "rater",
)


def score_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a score, from that of the call that it is."""
    stated = {**(stated_in(json.loads(row["body"])) or {})}
    stated["session"] = stated.get("session_id")
    value, comment = stated["value"], stated.get("comment")
    texts = {name: cut(stated[name]) if stated.get(name) is not None else None for name in TEXTS}
    return {
        **{name: row[name] for name in ("seq", "day", "project", "id")},
        **texts,
        "at": row["event_time"],
        "kind": BOOL if isinstance(value, bool) else CATEGORY if isinstance(value, str) else NUMBER,
        "number": None if isinstance(value, str) else float(value),
        "text": cut(value) if isinstance(value, str) else None,
        "comment": printable(comment) if comment is not None else None,
    }


def scores_page(
    connection: Connection, project: str, equal: Mapping[str, str], limit: int, cursor: str | None
) -> ScorePage:
    """See `Calls.scores`."""
    query = select(scores).where(scores.c.project == project)
    query = query.where(*(scores.c[name] == cut(value) for name, value in equal.items()))
    if cursor is not None:
        last = tuple_(*map(literal, Cursor.parse(cursor)))
        query = query.where(tuple_(scores.c.at, scores.c.seq) < last)
    rows = connection.execute(query.order_by(scores.c.at.desc(), scores.c.seq.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    more = len(rows) > len(shown)
    return ScorePage(
        [_score(row) for row in shown], str(Cursor(shown[-1].at, shown[-1].seq)) if more else None
    )


def _score(row: Row[Any]) -> Score:
    value = row.text if row.kind == CATEGORY else bool(row.number) if row.kind == BOOL else row.number
    texts = {name: getattr(row, name) for name in TEXTS}
    return Score(
        project=row.project,
        id=row.id,
        at=time_of(row.at),
        value=value,
        comment=row.comment,
        seq=row.seq,
        **texts,
    )
