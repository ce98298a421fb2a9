"""What `server/README.md` has operators do with PostgreSQL, done."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from banyan_hp.server.store.database import Database
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.postgres import Postgres

TEXT = (Path(__file__).parents[3] / "banyan_hp" / "server" / "README.md").read_text(encoding="utf-8")


def _statements(number: int) -> list[str]:
    found = re.findall(r"^( *)```sql\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)[number][1]
    return [each.strip() for each in found.split(";") if each.strip()]


def _url(postgres: Postgres, role: str, name: str) -> str:
    options = "&connect_timeout=5&tcp_user_timeout=10000"
    return postgres.url(name).replace("postgres@", f"{role}@") + options


@pytest.fixture(scope="module")
def prepared(postgres: Postgres) -> str:
    """The URL of the page's database, made and set up as the page says."""
    for statement in _statements(0):
        postgres.execute(statement)
    url = _url(postgres, "banyan", "banyan")
    Database(url).close()
    database = Database(url)
    try:
        for statement in _statements(1):
            database.write(lambda connection, statement=statement: connection.exec_driver_sql(statement))  # type: ignore[misc]
    finally:
        database.close()
    return url


def test_a_role_with_time_limits_is_enough(prepared: str, make_logger: MakeLogger) -> None:
    """It makes the tables, logs and reads; with several workers, over one database."""
    _log(prepared, make_logger)


def _log(url: str, make_logger: MakeLogger) -> None:
    with Backend(db=url, options=("--workers", "2", "--retain", "90d")) as backend:
        before = backend.count()
        logger = make_logger(backend.url)
        assert all(logger.log_prompt(str(number), "a") for number in range(100))
        assert logger.flush(timeout=10)
        assert backend.count() == before + 100
        backend.stop()
        assert "Traceback" not in backend.stderr


def test_a_dump_is_restored_and_followed(
    prepared: str, postgres: Postgres, make_logger: MakeLogger, tmp_path: Path
) -> None:
    """By the page's commands: all calls are back, and `follow` shows them, whatever their transactions."""
    _log(prepared, make_logger)
    source = Database(prepared)
    found = source.write(lambda connection: connection.exec_driver_sql(
        "UPDATE calls SET xact = xact + 1000000000 RETURNING seq"  # as those of a much older cluster
    ).all())  # fmt: skip
    source.close()
    restored = _url(postgres, "banyan", "banyan_restored")
    dump = str(tmp_path / "banyan.dump")
    postgres.execute("CREATE DATABASE banyan_restored OWNER banyan ENCODING 'UTF8' TEMPLATE template0")
    for command in (
        ["pg_dump", "--format=custom", f"--file={dump}", prepared],
        ["pg_restore", "--no-owner", f"--dbname={restored}", dump],
    ):
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Backend(db=restored) as backend:
        assert backend.count() == len(found) > 0
        database = Database(restored)
        until = time.monotonic() + 10
        while _followed(database) < len(found) and time.monotonic() < until:
            time.sleep(0.05)
        assert _followed(database) == len(found)
        database.close()


def _followed(database: Database) -> int:
    return int(database.write(lambda connection: connection.exec_driver_sql(
        "SELECT count(*) FROM calls WHERE xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    ).scalar_one()))  # fmt: skip
