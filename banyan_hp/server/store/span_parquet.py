"""Spans in a Parquet file: its columns. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from .calls import time_of
from .parquet import text_of
from .spans import StoredSpan

_TEXTS = ("project", "trace_id", "span_id", "parent_id", "name", "role", "scope")
_MORE = ("model", "response_id", "session", "user", "call_id")
_TIME = pyarrow.timestamp("us", tz="UTC")
SCHEMA = pyarrow.schema(
    [
        *((name, pyarrow.string()) for name in _TEXTS),
        *(("start", _TIME), ("end", _TIME), ("received_at", _TIME), ("status", pyarrow.int64())),
        *((name, pyarrow.string()) for name in _MORE),
        *(("input_tokens", pyarrow.int64()), ("output_tokens", pyarrow.int64())),
        ("body", pyarrow.string()),  # all that it says, as JSON
    ]
)


def write_spans(stream: IO[bytes], spans: Sequence[StoredSpan]) -> None:
    """Write a file of them."""
    table = pyarrow.Table.from_pylist([_row(span) for span in spans], schema=SCHEMA)
    pyarrow.parquet.write_table(table, stream, compression="zstd")


def ids_in(path: Path) -> set[tuple[str, str]]:
    """Trace and span ids of those that a file holds."""
    table = pyarrow.parquet.read_table(path, columns=["trace_id", "span_id"])
    return set(zip(*(table[name].to_pylist() for name in ("trace_id", "span_id")), strict=True))


def _row(span: StoredSpan) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(span, name) for name in SCHEMA.names if name != "body"}
    for name in ("start", "end", "received_at"):
        row[name] = time_of(row[name])
    return {**row, "body": text_of(json.dumps(span.body, ensure_ascii=False))}
