"""`serve --retain --archive`, and `banyan-hp db`."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.main import main
from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from tests.support.backend import Backend
from tests.unit.server.store.samples import call

duckdb = pytest.importorskip("duckdb")
SECONDS = 60.0


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "calls.sqlite3")
    return str(request.getfixturevalue("postgres").new_database())


def fill(url: str, number: int) -> None:
    """Old calls of two projects, half of them in days that have partitions; and one of today."""
    today = datetime.now(UTC)
    old = today - timedelta(days=60)
    with closing(Database(url)) as database:
        store = SqlCalls(database)
        store.maintain(old)
        given = [
            call(
                each,
                project="p" if each % 3 else "default",
                event_time=old - timedelta(days=each % 4),
                received_at=old,
            )
            for each in range(number)
        ]
        store.append([*given, call(number, project="default", event_time=today, received_at=today)])


def archived(directory: Path) -> list[str]:
    if not list(directory.glob("*/*/*.parquet")):
        return []
    rows = duckdb.sql(f"SELECT id FROM '{directory}/*/*/*.parquet' ORDER BY seq").fetchall()
    return sorted(row[0] for row in rows)


def left(url: str) -> list[str]:
    with closing(Database(url)) as database:
        store = SqlCalls(database)
        pages = [store.page(CallFilter(project=project), 1000) for project in ("p", "default")]
        return sorted(each.id for page in pages for each in page.calls)


def test_servers_archive_and_remove_what_is_old_together(url: str, tmp_path: Path) -> None:
    """Two of them over one database: each old call is in the archive once."""
    fill(url, 200)
    archive = tmp_path / "archive"
    options = ("--retain", "30d", "--archive", str(archive))
    with Backend(db=url, options=options) as one, Backend(db=url, options=options) as other:
        until(lambda: len(one.get("/api/calls")["calls"]) == 1)
        until(lambda: len(archived(archive)) == 200)
        one.stop()
        other.stop()
        assert one.stderr + other.stderr == ""
    assert left(url) == ["id-200"]
    assert archived(archive) == sorted(f"id-{number}" for number in range(200))


def until(true: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from banyan_hp.server.retention import Retention
from banyan_hp.server.store import removal
from banyan_hp.server.store.archive import Archive
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours

url, directory = sys.argv[1], Path(sys.argv[2])
removal.KEPT_AT_ONCE, removal.STEP = 7, 3
last = steps = 0

def stepping(function):
    def stepped(*arguments, **options):
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return stepped

def run():
    database = Database(url)
    Database.write, os.fsync, Path.rename = map(stepping, (Database.write, os.fsync, Path.rename))
    Retention(SqlCalls(database), database, timedelta(days=30), lambda: Archive(directory)).run_once()

for last in map(int, sys.stdin):  # one process for each, without its imports
    pid = os.fork()
    if not pid:
        run()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_kills_at_any_step_lose_no_call_and_archive_none_twice(url: str, tmp_path: Path) -> None:
    """`kill -9` between two writes of the file or the database; the next run goes on."""
    fill(url, 40)
    given = sorted(f"id-{number}" for number in range(40))
    archive = tmp_path / "archive"
    command = [sys.executable, "-c", KILLED, url, str(archive)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdin is not None
        assert killed.stdout is not None
        for last in (1, 3, 4, 5, 6, 9, 14, 0):
            killed.stdin.write(f"{last}\n")
            killed.stdin.flush()
            assert killed.stdout.readline() == f"{-9 if last else 0}\n"
            assert set(archived(archive)) | set(left(url)) == {*given, "id-40"}
    assert archived(archive) == given
    assert left(url) == ["id-40"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--retain", "30"], "must be a number of days, as 30d, was '30'"),
        (["--retain", "0d"], "must be a number of days"),
        (["--archive", "a"], "--archive needs --retain"),
        (["--clickhouse-cluster", "a"], "--clickhouse-cluster needs --calls"),
        (["--clickhouse-cluster", "it's"], 'must be the name of a cluster, as banyan, was "it\'s"'),
        (["--prices", "/dev/null"], "the prices /dev/null are no table of prices"),
        (["--prices", "none.json"], "can't read the prices none.json: No such file or directory"),
        (["--retain", "1d", "--archive", "/dev/null/a"], "can't use the archive /dev/null/a"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        code: object = main(["serve", "--db", str(tmp_path / "x.sqlite3"), *options])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert complaint in capsys.readouterr().err


# -- banyan-hp db --------------------------------------------------------------------------------------------


def test_status_says_what_there_is(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(url, 6)
    assert main(["db", "status", "--db", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["calls"], found["search_lag"], found["revision"]) == (7, 7, found["newest"])
    assert found["bytes"] > 10_000
    if url.startswith("postgresql:"):
        assert found["partitions"]["count"] == 9
        assert found["outside"] == 3  # of days before those, and of today
    else:
        assert (found["partitions"], found["outside"]) == (None, 0)
    assert main(["db", "status", "--db", url]) == 0
    assert "calls       7, from " in capsys.readouterr().out


def test_recount_has_the_sums_made_anew(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(url, 6)
    with closing(Database(url)) as database:
        SqlCalls(database).index(100)
        assert SqlHours(database).uncounted() == 0
        assert main(["db", "recount", "--db", url]) == 0
        assert "counts all calls anew" in capsys.readouterr().out
        SqlCalls(database).index(100)
        assert SqlHours(database).uncounted() == 7


def test_recount_makes_no_database(tmp_path: Path) -> None:
    assert main(["db", "recount", "--db", str(tmp_path / "missing")]) == 2
    assert not (tmp_path / "missing").exists()


def test_status_changes_nothing_and_refuses_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.sqlite3"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE calls (x)")
    before = foreign.read_bytes()
    assert main(["db", "status", "--db", str(foreign)]) == 2
    assert "is no database of banyan-hp" in capsys.readouterr().err
    (tmp_path / "text").write_text("no database at all, by any means")
    assert main(["db", "status", "--db", str(tmp_path / "text")]) == 2
    assert main(["db", "status", "--db", str(tmp_path / "missing")]) == 2
    assert foreign.read_bytes() == before
    assert not (tmp_path / "missing").exists()


def test_path_shows_no_password(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = "postgresql://u:secret@h:5/d?sslmode=require&password=secret&sslpassword=secret"
    assert main(["db", "path", "--db", url]) == 0
    assert capsys.readouterr().out == "postgresql://u@h:5/d?sslmode=require\n"
    assert main(["db", "path", "--db", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x'}\n"


@pytest.fixture
def written() -> Iterator[threading.Event]:
    ended = threading.Event()
    yield ended
    ended.set()


def test_a_backup_is_one_state_of_a_database_in_use(
    tmp_path: Path, written: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    """While others write: all that was stored before; its owner alone can read it; it replaces no file."""
    path = tmp_path / "calls.sqlite3"
    fill(str(path), 50)

    def write() -> None:
        with closing(Database(str(path))) as database:
            number = 1000
            while not written.wait(0.001):
                SqlCalls(database).append([call(number)])
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    target = tmp_path / "copy.sqlite3"
    try:
        assert main(["db", "backup", "--db", str(path), str(target)]) == 0
    finally:
        written.set()
        writer.join(SECONDS)
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT count(*) FROM calls WHERE seq <= 51").fetchone() == (51,)
        (bodies,) = copy.execute("SELECT count(*) FROM call_bodies").fetchone()
        assert copy.execute("SELECT count(*) FROM calls").fetchone() == (bodies,)
    assert target.stat().st_mode & 0o777 == 0o600
    assert main(["db", "backup", "--db", str(path), str(target)]) == 2
    assert "a backup replaces no file" in capsys.readouterr().err
    assert set(left(str(target))) >= {f"id-{number}" for number in range(50)}


def test_postgresqls_backup_is_its_own_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://u:secret@h/d"
    assert main(["db", "backup", "--db", url, str(tmp_path / "x y.dump")]) == 2
    said = capsys.readouterr().err
    assert f"run: pg_dump --format=custom '--file={tmp_path}/x y.dump' postgresql://u@h/d" in said
    assert "secret" not in said
    assert list(tmp_path.iterdir()) == []
