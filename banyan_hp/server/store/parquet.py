"""Calls in a Parquet file: its columns, and writing it row group by row group. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

ROWS = 1000  # of a row group, at most
BYTES = 8 * 1024 * 1024  # of its texts
_TEXT, _NUMBER, _WHOLE = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
_TIME = pyarrow.timestamp("us", tz="UTC")
_TYPES: Mapping[str, Any] = {
    "project": _TEXT,
    "id": _TEXT,
    "seq": _WHOLE,
    "day": pyarrow.date32(),
    "event_time": _TIME,
    "received_at": _TIME,
    "source": _TEXT,
    "session": _TEXT,
    "user": _TEXT,
    "prompt_id": _TEXT,
    "prompt_name": _TEXT,
    "version": _TEXT,
    "branch": _TEXT,
    "model": _TEXT,
    "latency_ms": _NUMBER,
    "input_tokens": _WHOLE,
    "output_tokens": _WHOLE,
    "cost": _NUMBER,
    "error": _TEXT,
    "experiment_id": _TEXT,
    "experiment_version_id": _TEXT,
    "sticky_key": _TEXT,
    "sticky_value": _TEXT,
    "deliveries": _WHOLE,
    "input": _TEXT,
    "output": _TEXT,
    "body": _TEXT,  # what was sent, as JSON
}
SCHEMA = pyarrow.schema([pyarrow.field(name, kind) for name, kind in _TYPES.items()])


class ParquetFile:
    """A file that calls are written to. A context manager; only its end makes the file readable."""

    def __init__(self, target: Path | IO[bytes]) -> None:
        where = str(target) if isinstance(target, Path) else target
        self._writer = pyarrow.parquet.ParquetWriter(where, SCHEMA, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._write()
        self._writer.close()

    def add(self, fields: Mapping[str, Any]) -> None:
        """Add a call: its columns by name, times as `datetime` or as the API shows them.

        Its day is that of its event time, which those that came without a time have from their arrival.
        """
        row = {name: _value(fields.get(name), kind) for name, kind in _TYPES.items()}
        if row["event_time"] is not None:
            row["day"] = row["event_time"].date()
        self._rows.append(row)
        self._bytes += sum(len(row[name] or "") for name in ("input", "output", "body"))
        if len(self._rows) >= ROWS or self._bytes >= BYTES:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0


def numbers_in(path: Path, wanted: Iterable[int]) -> set[tuple[int, str, datetime]]:
    """Which calls of these numbers a file holds: number, id and time of arrival of each."""
    numbers = pyarrow.array(sorted(wanted), pyarrow.int64())
    columns = ["seq", "id", "received_at"]
    found: set[tuple[int, str, datetime]] = set()
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            held = batch.filter(pyarrow.compute.is_in(batch["seq"], value_set=numbers))
            found.update(zip(*(held[name].to_pylist() for name in columns), strict=True))
    return found


def _value(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if kind is _TEXT:
        return text_of(value)
    if kind is _TIME and isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, str):
        return date.fromisoformat(value)
    return value


def text_of(value: object) -> str:
    """A text, or anything else as JSON; without lone surrogates, which UTF-8 has no bytes for, and which few
    readers of JSON take as escapes.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")
