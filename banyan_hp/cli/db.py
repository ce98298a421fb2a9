"""`banyan-hp db`: where a backend's database is, what is in it, its backup, its sums made anew."""

from __future__ import annotations

import argparse
import shlex
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .databases import (
    add_calls,
    add_cluster,
    add_database_command,
    calls_of,
    cluster_of,
    database_of,
    retain,
    using_the_server,
)
from .terminal import BROKEN, DONE, WRONG, CommandError, counted, say, say_json, size

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from ..server.store.status import Status


def add_db(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `db` with its commands and options."""
    parser = commands.add_parser("db", help="a backend's database: where it is, what is in it, its backup")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_database_command(actions, "path", _path, "where it is; without a password")
    status = add_database_command(
        actions, "status", _status, "its revision, its size, its calls, what search lags behind"
    )
    status.add_argument("--json", action="store_true", help="as a JSON object")
    backup = add_database_command(
        actions, "backup", _backup, "copy a SQLite database, also while it is in use; for PostgreSQL: say how"
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy; it must not exist")
    recount = add_database_command(
        actions, "recount", _recount, "have the backend make the sums that its overview shows anew"
    )
    add_calls(recount)
    _add_schema(actions)


def _add_schema(actions: _SubParsersAction[ArgumentParser]) -> None:
    schema_help = (
        "print the tables that a backend makes in a ClickHouse (--calls), as SQL, in numbered migrations"
    )
    schema = actions.add_parser("schema", help=schema_help, description=schema_help)
    schema.set_defaults(run=_schema)
    add_cluster(schema)
    from_help = "print this migration and those after it (default: all); schema_migrations has those applied"
    schema.add_argument("--from", type=int, default=1, metavar="N", dest="first", help=from_help)
    retain_help = (
        "and what has ClickHouse keep calls for so long, as 30d, as serve --retain does at its start"
    )
    schema.add_argument("--retain", type=retain, metavar="DAYS", help=retain_help)


def _path(arguments: argparse.Namespace) -> int:
    url = database_of(arguments)
    if _is_postgres(url):
        with using_the_server():
            from ..server.store.database import url_to_show

            say(url_to_show(url))
    else:
        say(str(Path(url).absolute()))
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    url = database_of(arguments)
    if not _is_postgres(url):
        _existing(url)
    with using_the_server():
        from ..server.store.database import BusyError, Database, SlowQueryError
        from ..server.store.status import status_of

        database = Database(url, migrated=False)
        try:
            found = status_of(database)
        except (BusyError, SlowQueryError) as error:
            raise CommandError(f"can't read {database.name}: {error}", BROKEN) from error
        finally:
            database.close()
    if arguments.json:
        say_json(_as_json(found))
    else:
        _say(found)
    return DONE


def _say(found: Status) -> None:
    current = "the newest" if found.revision == found.newest else f"this program works with {found.newest}"
    say(f"database    {found.name}")
    say(f"revision    {found.revision} ({current})")
    free = f", of which {size(found.free_bytes)} free" if found.free_bytes else ""
    say(f"size        {size(found.bytes)}{free}")
    say(f"projects    {found.projects:,}, with {counted(found.keys, 'key')}")
    span = f", from {_day(found.first)} to {_day(found.last)}" if found.first is not None else ""
    say(f"calls       {found.calls:,}{span}")
    say(f"scores      {found.scores:,}")
    say(f"search lag  {counted(found.search_lag, 'call')} can't be found by text yet")
    say(f"results lag {found.results_lag:,} calls and scores are not in the results of experiments yet")
    if found.partitions is not None:
        first, last, number = found.partitions
        say(f"partitions  {number:,}, from {first} to {last}; {counted(found.outside, 'call')} in none")


def _as_json(found: Status) -> dict[str, Any]:
    fields = asdict(found)
    if found.partitions is not None:
        fields["partitions"] = dict(zip(("first", "last", "count"), found.partitions, strict=True))
    return fields | {name: _time(fields[name]) for name in ("first", "last")}


def _backup(arguments: argparse.Namespace) -> int:
    target: Path = arguments.file
    url = database_of(arguments)
    with using_the_server():
        from ..server.store.status import back_up, dump_command

        if _is_postgres(url):
            command = shlex.join(dump_command(url, target))
            raise CommandError(f"PostgreSQL backs itself up; run: {command}", WRONG)
        path = _existing(url)
        try:
            written = back_up(path, target)
        except FileExistsError as error:
            raise CommandError(f"{target} exists; a backup replaces no file", WRONG) from error
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"can't copy {path} to {target}: {error}", BROKEN) from error
    say(f"{target}: {size(written)}")
    return DONE


def _schema(arguments: argparse.Namespace) -> int:
    cluster = cluster_of(arguments)
    with using_the_server():
        from ..server.store.clickhouse import ages, schema

        for migration in schema.migrations():
            if migration.number >= arguments.first:
                _say_sql(f"migration {migration.number}: {migration.name}", migration.statements(cluster))
        if arguments.retain is not None:
            _say_sql(f"kept for {arguments.retain.days} days", ages.statements(arguments.retain, cluster))
    return DONE


def _say_sql(title: str, statements: Iterable[str]) -> None:
    say(f"-- {title}")
    say()
    for statement in statements:
        for line in f"{statement};\n".split("\n"):
            say(line)


def _recount(arguments: argparse.Namespace) -> int:
    url, calls = database_of(arguments), calls_of(arguments)
    if calls is not None:
        return _recount_clickhouse(calls, cluster_of(arguments))
    if not _is_postgres(url):
        _existing(url)
    with using_the_server():
        from ..server.store.database import BusyError, Database
        from ..server.store.sql_hours import SqlHours

        database = Database(url)
        try:
            SqlHours(database).rebuild()
        except BusyError as error:
            raise CommandError(f"can't write to {database.name}: {error}", BROKEN) from error
        finally:
            database.close()
    say("the backend counts all calls anew: at once if it runs, or else once it is started")
    return DONE


def _recount_clickhouse(url: str, cluster: str | None) -> int:
    with using_the_server():
        from ..server.store.clickhouse.client import ClickHouse
        from ..server.store.clickhouse.hours import ClickHouseHours
        from ..server.store.database import BusyError, SlowQueryError

        try:
            with closing(ClickHouse(url, cluster)) as clickhouse:
                ClickHouseHours(clickhouse).rebuild()
        except (BusyError, SlowQueryError) as error:
            raise CommandError(f"can't count the calls anew: {error}", BROKEN) from error
    say("all calls are counted anew")
    return DONE


def _existing(url: str) -> Path:
    path = Path(url).absolute()
    if not path.is_file():
        raise CommandError(f"there is no database {path}", WRONG)
    return path


def _is_postgres(url: str) -> bool:
    return url.startswith(("postgresql:", "postgres:"))


def _day(microseconds: int | None) -> str:
    return (_time(microseconds) or "")[:10]


def _time(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")
