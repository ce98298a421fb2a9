"""What a statement for one server is on a cluster.

- A table becomes a replicated one on each shard, `calls_local`, with a `Distributed` table over all of them
  that has its name: what reads or inserts asks for `calls`, and only what deletes needs to know (`local`).
- A materialized view fills the tables of its own shard, so that what is made of a call is where the call is.

`-- sharded by` in front of a table says which rows meet on one shard: those that its engine is to fold. What
is asked about several calls is put together of all shards, so it doesn't matter where those are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+) ", re.MULTILINE)
_KEY = re.compile(r"^-- sharded by (.+)$", re.MULTILINE)
_ENGINE = re.compile(r"^ENGINE = (\w+MergeTree)(?:\((.*)\))?$", re.MULTILINE)
_VIEW = re.compile(r"^CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS$", re.MULTILINE)
_FROM = re.compile(r"^FROM (\w+)", re.MULTILINE)
_ALTER = re.compile(r"^ALTER TABLE (\w+) (\w+) (\w+)", re.MULTILINE)
_REPLICA = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"


class SchemaError(Exception):
    """The tables are none that this program works with. The message is one line."""


def without_comments(statement: str) -> str:
    """The statement itself."""
    return _COMMENT.sub("", statement).strip()


def local(table: str, cluster: str | None) -> str:
    """A table as ALTER, DELETE, TRUNCATE and OPTIMIZE name it: on a cluster, what each shard has of it."""
    return table if cluster is None else f"{table}_local ON CLUSTER '{cluster}'"


def on_cluster(statement: str, cluster: str) -> Iterator[str]:
    """What a statement for one server is on a cluster."""
    there = f"ON CLUSTER '{cluster}'"
    if table := _TABLE.search(statement):
        yield _replicated(statement, table[1], there)
        yield _distributed(statement, table[1], cluster, there)
    elif view := _VIEW.search(statement):
        made = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view[1]} {there} TO {view[2]}_local AS"
        yield _FROM.sub(r"FROM \1_local", statement.replace(view[0], made))
    elif alter := _ALTER.search(statement):
        name, verb, what = alter.groups()
        yield statement.replace(alter[0], f"ALTER TABLE {name}_local {there} {verb} {what}")
        if what == "COLUMN":
            yield statement.replace(alter[0], f"ALTER TABLE {name} {there} {verb} {what}")
    else:
        raise SchemaError(f"means nothing on a cluster: {without_comments(statement)[:80]}")


def _replicated(statement: str, name: str, there: str) -> str:
    def replicated(engine: re.Match[str]) -> str:
        given = f", {engine[2]}" if engine[2] else ""
        return f"ENGINE = Replicated{engine[1]}({_REPLICA}{given})"

    made = _TABLE.sub(f"CREATE TABLE IF NOT EXISTS {name}_local {there} ", statement)
    return _ENGINE.sub(replicated, made)


def _distributed(statement: str, name: str, cluster: str, there: str) -> str:
    key = _KEY.search(statement)
    if key is None:
        raise SchemaError(f"by what is {name} sharded?")
    return (
        f"CREATE TABLE IF NOT EXISTS {name} {there} AS {name}_local\n"
        f"ENGINE = Distributed('{cluster}', currentDatabase(), '{name}_local', {key[1]})"
    )
