"""Two shards in one process: what `Distributed` tables do, without servers, replicas and Keeper.

The engine's configuration has a cluster of two shards that are both the process itself, so that each query of
a `Distributed` table is run once for each shard, and their results are merged by the engine as ever. All rows
are in one local table: a column `shard` says which shard has a row, and a row policy shows a query on a shard
that shard's rows alone. Of the statements, `ON CLUSTER` and `Replicated…` are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect

from banyan_hp.server.store.clickhouse.client import ClickHouse
from banyan_hp.server.store.clickhouse.schema import tables

CLUSTER = "two"
DATABASE = "sharded"
_THERE = re.compile(rf" ON CLUSTER '{CLUSTER}'")
_REPLICATED = re.compile(r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?")
_LOCAL = re.compile(r"^CREATE TABLE IF NOT EXISTS \w+_local \(", re.MULTILINE)
_SUMMED = re.compile(
    r"(?s)(ENGINE = (?:Summing|Aggregating)MergeTree\b.*ORDER BY )\((project, (?:kind|exp).*)\)"
)
_OWN = ("cityHash64(project, id)", "cityHash64(project, trace_id)")  # of calls, and of spans
_CONFIG = """
<clickhouse>
  <users_config>{users}</users_config>
  <tcp_port>9000</tcp_port>
  <zookeeper><implementation>testkeeper</implementation></zookeeper>
  <macros><shard>01</shard><replica>r1</replica></macros>
  <remote_servers>
    <two>
      <shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
      <shard><replica><host>localhost</host><port>9000</port></replica></shard>
    </two>
  </remote_servers>
</clickhouse>
"""
_USERS = """
<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
      <databases><{database}>{policies}</{database}></databases>
    </default>
  </users>
</clickhouse>
"""
_POLICY = "<{table}_local><filter>shardNum() = 0 OR shard = shardNum()</filter></{table}_local>"


@contextmanager
def engine_in(directory: Path) -> Iterator[None]:
    """Have the process's ClickHouse there, with the cluster."""
    policies = "".join(_POLICY.format(table=table) for table in tables())
    users = directory.with_suffix(".users.xml")
    users.write_text(_USERS.format(database=DATABASE, policies=policies))
    config = directory.with_suffix(".xml")
    config.write_text(_CONFIG.format(users=users))
    options = {"config-file": str(config)}
    # It is the first connection that configures the engine, which lives as long as there is one.
    with closing(clickhouse_connect.get_client(dsn=f"chdb://{directory}", chdb_options=options)) as client:
        client.command(f"CREATE DATABASE {DATABASE}")
        yield


class Sharded(ClickHouse):
    """A client of the cluster."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"chdb://{directory}?database={DATABASE}", CLUSTER)

    def do(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        super().do(_on_two_shards(sql), parameters)


def _on_two_shards(sql: str) -> str:
    """A statement of the cluster's, as the process can run it."""
    plain = _REPLICATED.sub(r"\1(", _THERE.sub("", sql))
    if not _LOCAL.search(plain):
        return plain
    # Sums of the same hour are on both shards, as on a cluster, where they are on the shards of their calls.
    key = next((key for key in _OWN if key in sql), "rand()")
    shard = f"shard UInt8 MATERIALIZED 1 + {key} % 2"
    if "schema_migrations" in sql:
        shard = "shard UInt8 MATERIALIZED 1 + number % 2"
    plain = _LOCAL.sub(lambda made: f"{made[0]}\n    {shard},", plain)
    return _SUMMED.sub(r"\1(\2, shard)", plain)
