"""The archive: what is in its files, and which files there are after runs that broke off."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.guide import page
from banyan_hp.server.store import removal
from banyan_hp.server.store.archive import Archive, folder_of
from banyan_hp.server.store.calls import UNDATED, Call, CallFilter
from banyan_hp.server.store.sql_calls import SqlCalls

from .samples import NOON, call, ids

duckdb = pytest.importorskip("duckdb")
DAY = NOON.date()
LIMIT = NOON + timedelta(days=10)


def query(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    files = str(directory / "*/*/*.parquet")
    rows: list[tuple[Any, ...]] = duckdb.sql(sql.replace("ARCHIVE", f"'{files}'")).fetchall()
    return rows


def test_duckdb_reads_what_was_logged(store: SqlCalls, tmp_path: Path) -> None:
    store.append(
        [
            call(1, model="m", latency_ms=12.5, input_tokens=7, cost=0.25, user="u"),
            call(2, body={"input": {"a": [1]}, "output": "lone \ud800", "metadata": {"k": 1}}),
            call(3, project="a/b"),
            call(4, source="huggingplace", body={"user_prompt": "hello", "response": "world"}),
        ]
    )
    assert sum(store.trim(LIMIT, Archive(tmp_path / "archive"))) == 4
    columns = "id, project, day, event_time, model, latency_ms, input_tokens, cost, input, output"
    rows = query(tmp_path / "archive", f"SELECT {columns} FROM ARCHIVE ORDER BY id")
    first, second, third, fourth = rows
    assert first[:3] == ("id-1", "p", DAY)
    assert first[3].timestamp() == call(1).event_time.timestamp()
    assert first[4:] == ("m", 12.5, 7, 0.25, "question 1", "answer")
    assert second[-2:] == ('{"a": [1]}', "lone ?")
    assert third[1] == "a/b"
    assert fourth[-2:] == ("hello", "world")
    (found,) = query(
        tmp_path / "archive",
        "SELECT body->'$.metadata.k' FROM (SELECT body::JSON AS body, id FROM ARCHIVE) WHERE id = 'id-2'",
    )
    assert found == ("1",)


def test_the_guides_query_runs(store: SqlCalls, tmp_path: Path) -> None:
    """As printed, but for the directory and the calls that there are; those without a time count, too."""
    (block,) = re.findall(r"^```sql\n(.*?)^```", page("calls").text, re.DOTALL | re.MULTILINE)
    bodies = [{"input": "", "output": "", "metadata": {"plan": plan}} for plan in ("pro", "free")]
    common = {"project": "default", "model": "m", "cost": 0.5, "latency_ms": 100.0}
    dated, undated = (call(number, body=body, **common) for number, body in enumerate(bodies))
    store.append([dated, replace(undated, day=UNDATED)])  # as clients that send no time log
    list(store.trim(LIMIT, Archive(tmp_path)))
    assert block.count("'archive/") == 1
    rows = duckdb.sql(block.replace("'archive/", f"'{tmp_path}/")).fetchall()
    assert rows == [(DAY, "m", 2, 1.0, 100.0, 1)]


def test_directories_are_projects_and_days_and_its_owners_alone(store: SqlCalls, tmp_path: Path) -> None:
    store.append([call(1), call(2, event_time=NOON + timedelta(days=1)), call(3, project="../x")])
    archive = tmp_path / "deep" / "archive"
    list(store.trim(LIMIT, Archive(archive)))
    days = sorted(str(path.parent.relative_to(archive)) for path in archive.rglob("*.parquet"))
    assert days == ["%2E.%2Fx/2026-03-01", "p/2026-03-01", "p/2026-03-02"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in archive.rglob("*")}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize("project", [".", "..", ".hidden", "a/../b", "a\\b", "ö", "x" * 10, "a b"])
def test_a_projects_directory_is_one_and_stays_inside(project: str) -> None:
    folder = folder_of(project)
    assert Path(folder).name == folder
    assert not folder.startswith(".")


def test_different_projects_have_different_directories() -> None:
    names = [".", "..", "%2E", ".a", "%2Ea", "a/b", "a%2Fb", "A", "a"]
    assert len({folder_of(name) for name in names}) == len(names)


class BrokenError(Exception):
    """A crash."""


class Breaking(Archive):
    """Breaks off at a call, or after a file."""

    def __init__(self, directory: Path, *, at: int | None = None) -> None:
        super().__init__(directory)
        self._at = at

    def keep(self, project: str, day: Any, numbers: Sequence[int], calls: Iterable[Call]) -> None:
        super().keep(project, day, numbers, self._broken(calls))
        if self._at is None:
            raise BrokenError

    def _broken(self, calls: Iterable[Call]) -> Iterator[Call]:
        for index, each in enumerate(calls):
            if index == self._at:
                raise BrokenError
            yield each


@pytest.mark.parametrize("at", [0, 1, 5, None])
def test_a_run_that_broke_off_leaves_no_file_that_looks_whole_and_no_call_twice(
    store: SqlCalls, tmp_path: Path, at: int | None
) -> None:
    given = [call(number) for number in range(10)]
    store.append(given)
    with pytest.raises(BrokenError):
        list(store.trim(LIMIT, Breaking(tmp_path, at=at)))
    assert len(store.page(CallFilter(project="p"), 100).calls) == 10
    assert [path.suffix for path in tmp_path.glob("*/*/*")] == ([".parquet"] if at is None else [])
    store.append([call(11)])
    assert sum(store.trim(LIMIT, Archive(tmp_path))) == 11
    rows = query(tmp_path, "SELECT id, count(*) FROM ARCHIVE GROUP BY id")
    assert sorted(rows) == sorted((each.id, 1) for each in [*given, call(11)])


def test_the_same_numbers_of_another_database_are_other_calls(store: SqlCalls, tmp_path: Path) -> None:
    """An archive may have been begun by a database that is no longer there."""
    Archive(tmp_path).keep("p", DAY, [1], [call(7, seq=1, body={"input": "older"})])
    store.append([call(1)])
    list(store.trim(LIMIT, Archive(tmp_path)))
    assert sorted(query(tmp_path, "SELECT id FROM ARCHIVE")) == [("id-1",), ("id-7",)]


def test_what_a_killed_process_left_is_removed_a_day_later(store: SqlCalls, tmp_path: Path) -> None:
    place = tmp_path / "p" / DAY.isoformat()
    place.mkdir(parents=True)
    for name, age in (("fresh", 60), ("stale", 90_000)):
        path = place / f".calls-{name}.parquet.part"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    store.append([call(1)])
    list(store.trim(LIMIT, Archive(tmp_path)))
    assert [path.name for path in place.glob(".*")] == [".calls-fresh.parquet.part"]


def test_a_disk_that_is_full_removes_nothing(
    store: SqlCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([call(1)])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        list(store.trim(LIMIT, Archive(tmp_path)))
    assert ids(store.page(CallFilter(project="p"), 10).calls) == ["id-1"]
    assert list(tmp_path.rglob("*.parquet")) == []


def test_large_days_become_several_files(
    store: SqlCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "KEPT_AT_ONCE", 4)
    store.append([call(number) for number in range(10)])
    assert sum(store.trim(LIMIT, Archive(tmp_path))) == 10
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    assert query(tmp_path, "SELECT count(DISTINCT id), count(*) FROM ARCHIVE") == [(10, 10)]
