"""The table of columns in the backend's README is what happens."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import banyan_hp.server
from banyan_hp.server.api.shapes import call_of_banyan, call_of_huggingplace
from banyan_hp.server.api.shown import as_json
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.calls import Call

README = Path(banyan_hp.server.__file__).with_name("README.md")
OF_THE_REQUEST = {
    "text",
    "project",
    "id",
    "day",
    "event_time",
    "received_at",
    "source",
    "body",
    "deliveries",
    "seq",
}
MAKE = {"banyan": call_of_banyan, "huggingplace": call_of_huggingplace}
PATH = re.compile(r"`([a-z_.]+)`")
TIME = datetime(2026, 1, 2, tzinfo=UTC)


def rows() -> dict[str, tuple[list[str], list[str]]]:
    """Each column, and the fields of either client that fill it, first come first served."""
    section = README.read_text("utf-8").partition("## Columns of a call")[2].partition("\n## ")[0]
    table = [line.split("|")[1:4] for line in section.splitlines() if line.startswith("| `")]
    return {
        column.strip(" `"): (PATH.findall(banyan), PATH.findall(huggingplace))
        for column, banyan, huggingplace in table
    }


CELLS = [
    (column, source, paths)
    for column, (banyan, huggingplace) in rows().items()
    for source, paths in (("banyan", banyan), ("huggingplace", huggingplace))
]


def shown(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """The columns of a record that has these fields, whose names may lead into the metadata."""
    body: dict[str, Any] = {}
    for path, value in given.items():
        *rooms, name = path.split(".")
        room = body
        for each in rooms:
            room = room.setdefault(each, {})
        room[name] = value
    return as_json(MAKE[source]("p", "i", TIME, body, bundled()))


def test_the_table_has_all_columns_that_a_body_fills() -> None:
    """And what is shown besides: input, output and metadata."""
    columns = {field.name for field in fields(Call)} - OF_THE_REQUEST
    assert set(rows()) == columns | {"input", "output", "metadata"}


@pytest.mark.parametrize(("column", "source", "paths"), CELLS, ids=lambda value: str(value))
def test_a_cells_fields_fill_its_column(column: str, source: str, paths: list[str]) -> None:
    """Each alone does; of several, the first one counts; where there is none, nothing does."""
    values = {path: number for number, path in enumerate(paths, 5)}
    for path, value in values.items():
        alone = shown(source, {path: {"a": 1} if column == "metadata" else value})[column]
        assert alone is not None, path
        assert column == "metadata" or alone == pytest.approx(expected(alone, path, value))
    if len(paths) > 1:
        assert shown(source, values)[column] == shown(source, {paths[0]: values[paths[0]]})[column]
    if not paths:
        everything = {path: 7 for _, of, each in CELLS if of == source for path in each if path != "metadata"}
        assert shown(source, everything)[column] is None


def expected(alone: object, path: str, value: int) -> object:
    """A number as the column has it: as text, in milliseconds, or as it is."""
    if isinstance(alone, str):
        return str(value)
    return value * 1000 if path == "response_time" else value
