"""The tables, as numbered files of SQL that an operator can read, and how they are applied.

A file in `schema/` is for one server, and is never changed once a release has it: what comes later is in a
file with the next number. Each statement may be run twice, also by two servers that start at the same moment,
so it says IF NOT EXISTS or IF EXISTS. `on_cluster` makes of it what a cluster needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from .cluster import SchemaError, on_cluster, without_comments

if TYPE_CHECKING:
    from .client import ClickHouse

APPLIED = "schema_migrations"
_FILE = re.compile(r"(\d{3})_(\w+)\.sql")
_REPEATABLE = re.compile(r"\bIF (NOT )?EXISTS\b")
_DISTRIBUTED = re.compile(r"Distributed\('([^']*)'")
_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """A file: its number, its name, and what it says."""

    number: int
    name: str
    text: str

    def statements(self, cluster: str | None = None) -> Iterator[str]:
        """What is to be run, in this order; the last one notes that it was."""
        for statement in re.split(r";\n\s*", self.text.strip() + "\n"):
            if without_comments(statement):
                _check(statement)
                yield from [statement] if cluster is None else on_cluster(statement, cluster)
        yield f"INSERT INTO {APPLIED} (number, name) VALUES ({self.number}, '{self.name}')"


@cache
def migrations() -> Sequence[Migration]:
    """All files, in order."""
    found = [(_FILE.fullmatch(file.name), file) for file in (files(__package__) / "schema").iterdir()]
    return sorted(
        (Migration(int(name[1]), name[2], file.read_text("utf-8")) for name, file in found if name),
        key=lambda each: each.number,
    )


def tables() -> list[str]:
    """The names of all tables."""
    return [name for each in migrations() for name in _TABLE.findall(each.text)]


def _check(statement: str) -> None:
    if not _REPEATABLE.search(statement):
        raise SchemaError(f"can't be run twice: {without_comments(statement)[:80]}")


# -- applied -------------------------------------------------------------------------------------------------


def make_tables(clickhouse: ClickHouse) -> None:
    """Apply what is not applied yet; nothing that needs rights to, if all is.

    Raises:
        SchemaError: the tables are of a newer version of this program, or on other nodes than it was told.
    """
    done = _applied(clickhouse)
    known = migrations()
    if done and max(done) > known[-1].number:
        raise SchemaError(
            f"its tables are at migration {max(done)} ({done[max(done)]}), and this version of banyan_hp "
            f"knows them up to {known[-1].number}: start the version that made them, or a newer one"
        )
    for migration in known:
        if migration.number not in done:
            for statement in migration.statements(clickhouse.cluster):
                clickhouse.do(statement)


def _applied(clickhouse: ClickHouse) -> dict[int, str]:
    found = clickhouse.rows(
        "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        {"name": APPLIED},
    )
    if not found:
        return {}
    _check_cluster(found[0]["engine_full"], clickhouse.cluster)
    return {row["number"]: row["name"] for row in clickhouse.rows(f"SELECT number, name FROM {APPLIED}")}


def _check_cluster(engine: str, wanted: str | None) -> None:
    """Without the cluster's settings inserts would be answered before they are on their shards."""
    over = _DISTRIBUTED.match(engine)
    cluster = over[1] if over else None
    if cluster != wanted:
        there = "on one server" if cluster is None else f"on the cluster {cluster}"
        option = "without --clickhouse-cluster" if cluster is None else f"with --clickhouse-cluster {cluster}"
        raise SchemaError(f"its tables are {there}: start {option}, or use another database")


# -- counted out, as the views count in ----------------------------------------------------------------------

KINDS = """[0, 1, 2, 0, 1, 2] AS kind, [0, 0, 0, 1, 1, 1] AS width,
    arrayConcat(['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS names, names) AS name"""
HOUR_SUMS = """
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    {sign}toInt64(count()) AS calls, {sign}toInt64(count(c.error)) AS errors,
    {sign}sum(c.counted_input) AS input_tokens, {sign}sum(c.counted_output) AS output_tokens,
    {sign}toInt64(count(c.nanos)) AS priced, {sign}sum(coalesce(c.nanos, 0)) AS nanos
FROM {calls}
ARRAY JOIN {kinds}
WHERE c.source != 'score' {chosen}
GROUP BY project, kind, width, start, name
"""

LATENCY_SUMS = """
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    assumeNotNull(c.latency_bucket) AS bucket, {sign}toInt64(count()) AS calls
FROM {calls}
ARRAY JOIN {kinds}
WHERE c.source != 'score' AND c.latency_bucket IS NOT NULL {chosen}
GROUP BY project, kind, width, start, name, bucket
"""
