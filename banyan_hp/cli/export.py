"""`banyan-hp export`: calls as JSON lines, CSV or Parquet, page after page: one is in memory at a time."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..text import printable, printable_json
from .choosing import add_filters, parameters_of
from .options import add_command
from .terminal import BROKEN, DONE, WRONG, CommandError, complain, counted

if TYPE_CHECKING:
    from .api import Api
    from .options import Commands

PAGE = 1000
# Newest first, as the API has them. What was sent, `body`, is all of it once more; CSV goes without.
_COLUMNS = (
    "event_time",
    "received_at",
    "id",
    "source",
    "session",
    "user",
    "prompt_id",
    "prompt_name",
    "version",
    "branch",
    "model",
    "input",
    "output",
    "latency_ms",
    "input_tokens",
    "output_tokens",
    "cost",
    "error",
    "experiment_id",
    "experiment_version_id",
    "sticky_key",
    "sticky_value",
    "metadata",
    "project",
    "deliveries",
    "seq",
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")

Add = Callable[[Mapping[str, Any]], object]


def add_export(commands: Commands) -> None:
    """Add `export` with its options."""
    about = "write calls to a file or to stdout, newest first"
    parser = add_command(commands, "export", about, _run, json=False)
    add = parser.add_argument
    formats = "a JSON object a line (the default), a table for spreadsheets, or Parquet, which needs pyarrow"
    add("--format", choices=tuple(_FORMATS), default="jsonl", help=formats)
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="the file, which appears when all is in it (default: stdout)",
    )
    raw = "CSV: leave texts that a spreadsheet would take for formulas as they are, without a ' before them"
    add("--raw", action="store_true", help=raw)
    add_filters(parser)


def _run(arguments: argparse.Namespace) -> int:
    from .api import run

    return run(_export, arguments)


def _export(api: Api, arguments: argparse.Namespace) -> int:
    parquet = arguments.format == "parquet"
    if parquet and arguments.output is None and sys.stdout.isatty():
        raise CommandError("a Parquet file is nothing for a terminal: pass --output FILE", WRONG)
    if parquet:
        _need_pyarrow()
    count = 0
    pages = pages_of(api, parameters_of(arguments))
    first = next(pages)  # what is wrong with the question is said before a file is begun
    with _target(arguments.output) as stream, _FORMATS[arguments.format](stream, arguments) as add:
        for page in chain([first], pages):
            for call in page:
                add(call)
            count += len(page)
    if arguments.output is not None:
        complain(f"{counted(count, 'call')} in {arguments.output}")
    return DONE


def pages_of(api: Api, chosen: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
    from .api import patiently

    parameters: dict[str, str | int] = {**chosen, "limit": PAGE}
    while True:
        page = patiently(lambda: api.get("/api/calls", **parameters))
        yield page["calls"]
        if page["next"] is None:
            return
        if (to := page.get("searched_to")) is not None:
            complain(f"searched back to {to[:16].replace('T', ' ')} UTC, going on")
        parameters["after"] = page["next"]


@contextmanager
def _target(path: Path | None) -> Iterator[IO[bytes]]:
    """Where the export goes. A file gets its name at the end, so that none looks whole that is not."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
        unfinished.replace(path)
    except OSError as error:
        raise CommandError(f"can't write {path}: {error.strerror or error}", BROKEN) from error
    finally:
        unfinished.unlink(missing_ok=True)


# -- formats -------------------------------------------------------------------------------------------------


@contextmanager
def _as_jsonl(stream: IO[bytes], _arguments: argparse.Namespace) -> Iterator[Add]:
    yield lambda call: stream.write(printable_json(json.dumps(call)).encode("ascii") + b"\n")


@contextmanager
def _as_csv(stream: IO[bytes], arguments: argparse.Namespace) -> Iterator[Add]:
    clean = printable if arguments.output is None and sys.stdout.isatty() else _storable
    writer = csv.writer(_Lines(stream), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(_COLUMNS)
    neutral = str if arguments.raw else _neutral
    yield lambda call: writer.writerow([_cell(call.get(name), clean, neutral) for name in _COLUMNS])


@contextmanager
def _as_parquet(stream: IO[bytes], _arguments: argparse.Namespace) -> Iterator[Add]:
    from ..server.store.parquet import ParquetFile

    with ParquetFile(stream) as file:
        yield file.add


_FORMATS: dict[str, Callable[[IO[bytes], argparse.Namespace], AbstractContextManager[Add]]] = {
    "jsonl": _as_jsonl,
    "csv": _as_csv,
    "parquet": _as_parquet,
}


class _Lines:
    """What `csv` writes to."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.encode("utf-8", "backslashreplace"))


def _cell(value: object, clean: Callable[[str], str], neutral: Callable[[str], str]) -> object:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return neutral(clean(value if isinstance(value, str) else json.dumps(value)))


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd")  # programs that read CSV end a text there


def _neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula, with or without blanks before it."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401 - an extra
    except ImportError as error:
        raise CommandError(
            "--format parquet needs pyarrow: pip install 'banyan-hp[archive]'", WRONG
        ) from error
