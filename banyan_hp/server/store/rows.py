"""Calls and the rows that hold them: the narrow one, which lists and filters read, and its body."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, and_, select
from sqlalchemy.sql.elements import ColumnElement

from .calls import MAX_PAGE_BYTES, Call, microseconds, time_of
from .database import BusyError
from .search import words_in
from .tables import bodies, calls

MAX_INDEXED_TEXT = 500  # characters of a column: PostgreSQL's indexes take rows of 2.7 KB
OUTPUTS = {"huggingplace": "response"}  # the field of a body that has the output; of other sources "output"
_TIMES = ("event_time", "received_at")
_STORED_LATER = ("body", "text", "seq", "deliveries", *_TIMES)
_PLAIN = [each.name for each in fields(Call) if each.name not in _STORED_LATER]
_plain = attrgetter(*_PLAIN)
json_of = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # in one line
newest_first = (calls.c.event_time.desc(), calls.c.seq.desc())


def cut(text: str) -> str:
    """A text as a column holds it: without NUL and lone surrogates, and short enough for an index."""
    return printable(text[:MAX_INDEXED_TEXT])


def printable(text: str) -> str:
    """A text without NUL and lone surrogates."""
    if text.isascii():
        return text.replace("\x00", "?") if "\x00" in text else text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def row_of(call: Call) -> dict[str, Any]:
    """A call as columns, its body as text among them."""
    text = call.text or json_of(call.body)
    row: dict[str, Any] = {
        name: cut(value) if type(value) is str else value
        for name, value in zip(_PLAIN, _plain(call), strict=True)
    }
    row["event_time"] = microseconds(call.event_time)
    row["received_at"] = microseconds(call.received_at)
    row["digest"] = hashlib.sha256(text.encode("ascii")).digest()[:16]
    row["deliveries"] = 1
    row["bytes"] = len(text)
    output = call.body.get(OUTPUTS.get(call.source, "output"))
    row["output_length"] = len(output) if isinstance(output, str) else None
    row["body"] = text
    return row


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What is unique about a row."""
    return row["project"], row["day"], row["id"]


def belongs() -> ColumnElement[bool]:
    """Condition: a body is that of a call."""
    return and_(bodies.c.seq == calls.c.seq, bodies.c.day == calls.c.day)


def these(table: Any, rows: Sequence[Any]) -> tuple[ColumnElement[bool], ...]:
    """These rows of a table; by day as well, so that PostgreSQL looks into their partitions only."""
    return (table.c.seq.in_([row.seq for row in rows]), table.c.day.in_({row.day for row in rows}))


def within_bytes(rows: Sequence[Any], most: int = MAX_PAGE_BYTES) -> Sequence[Any]:
    """The first of them, as many as a page may be large, but always one."""
    size = 0
    for index, row in enumerate(rows):
        size += row.bytes
        if index and size > most:
            return rows[:index]
    return rows


def with_bodies(connection: Connection, rows: Sequence[Any]) -> list[Call]:
    """The calls of narrow rows, in their order."""
    if not rows:
        return []
    query = select(bodies.c.seq, bodies.c.body).where(*these(bodies, rows))
    texts = {row.seq: row.body for row in connection.execute(query)}
    if len(texts) < len(rows):  # they move to a partition, which this transaction is too old to see
        raise BusyError("calls are moving to their day's partition")
    return [call_of(row, json.loads(texts[row.seq])) for row in rows]


def call_of(row: Row[Any], body: dict[str, Any]) -> Call:
    """The call of a narrow row and its body."""
    plain: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    times: dict[str, Any] = {name: time_of(getattr(row, name)) for name in _TIMES}
    return Call(**plain, **times, body=body, deliveries=row.deliveries, seq=row.seq)


def words_of_body(body: str | None) -> list[str]:
    """The words that a call is found by."""
    return words_in(json.loads(body)) if body is not None else []


def ordered(body: str) -> str:
    """A body as a text that is the same whatever the order of its fields."""
    # A field that is null is not given. As text, because Python holds 1, 1.0 and true for equal.
    given = {name: value for name, value in json.loads(body).items() if value is not None}
    return json.dumps(given, sort_keys=True)
