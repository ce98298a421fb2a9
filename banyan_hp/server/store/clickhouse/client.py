"""One ClickHouse, by HTTP or embedded (`chdb:///path`): queries, inserts, and what its errors mean to us."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as ClickHouseError
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError

from ..database import BusyError, SlowQueryError
from .cluster import local
from .parameters import in_pieces

QUERY_SECONDS = 20
INSERT_SECONDS = 10
_CODE = re.compile(r"\bcode:? (\d+)", re.IGNORECASE)
_TOO_SLOW = frozenset({159, 160, 307})  # TIMEOUT_EXCEEDED, TOO_SLOW, TOO_MANY_BYTES
# Too many queries, too little memory, parts or disk, a replica that is read-only or not reached, a stop.
_BUSY = frozenset(
    {3, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 285, 286, 319, 369, 394, 425, 439, 473, 999}
)
_OF_CLUSTERS = {
    # What a query joins, or looks into, is read of all shards once, and sent to each.
    "distributed_product_mode": "global",
    # An insert that is answered is on its shard, and on most replicas there: it survives the loss of a disk.
    "distributed_foreground_insert": 1,
    "insert_quorum": "auto",
    "insert_quorum_timeout": INSERT_SECONDS * 1000,
    # Who follows waits for inserts (`SETTLE_SECONDS`): no replica is asked that is further behind than that.
    "max_replica_delay_for_distributed_queries": INSERT_SECONDS,
    "fallback_to_stale_replicas_for_distributed_queries": 0,
    # Sums that are made of a query are made of all shards' rows, and then sent to theirs.
    "parallel_distributed_insert_select": 0,
}

Row = Mapping[str, Any]


class ClickHouse:
    """Connections to one database, one for each thread that asks.

    Args:
        dsn: ``clickhouse://user:password@host:8123/database``, ``clickhouses://…`` for TLS, or ``chdb:///path``.
        cluster: the cluster whose shards have the tables; None: this server has them.
    """

    def __init__(self, dsn: str, cluster: str | None = None) -> None:
        self.cluster = cluster
        self._dsn = dsn.replace("clickhouses:", "https:", 1).replace("clickhouse:", "http:", 1)
        self._own = threading.local()
        self._clients: list[Client] = []  # appending to a list is atomic
        self._types: dict[Sequence[str], Any] = {}  # of the columns of inserts, asked for once

    def close(self) -> None:
        """Close all connections."""
        while self._clients:
            self._clients.pop().close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """What a query gives.

        Raises:
            BusyError: it can't be done now.
            SlowQueryError: it takes too long.
        """
        try:
            asked, given = in_pieces(sql, parameters or {})
            found = self._client.query(asked, parameters=given)
        except ClickHouseError as error:
            raise _meaning(error) from error
        names = found.column_names
        return [dict(zip(names, row, strict=True)) for row in found.result_rows]

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, all of them; ClickHouse has them when this returns.

        Raises:
            BusyError: it can't be done now; some may be stored all the same.
            OverflowError: a value is none that its column can hold; nothing is stored.
        """
        settings = {"async_insert": 1, "wait_for_async_insert": 1, "max_execution_time": INSERT_SECONDS}
        try:
            client, key = self._client, (table, *columns)
            if key not in self._types:
                self._types[key] = client.create_insert_context(table, columns).column_types
            client.insert(
                table,
                list(zip(*rows, strict=True)),
                column_names=columns,
                column_types=self._types[key],
                column_oriented=True,
                settings=settings,
            )
        except ClickHouseError as error:
            raise _meaning(error) from error

    def do(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that gives nothing back."""
        try:
            statement, given = in_pieces(sql, parameters or {})
            self._client.command(statement, parameters=given)
        except ClickHouseError as error:
            raise _meaning(error) from error

    def local(self, table: str) -> str:
        """A table as statements name it that alter it, or delete of it."""
        return local(table, self.cluster)

    @property
    def _client(self) -> Client:
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            try:
                client = clickhouse_connect.get_client(dsn=self._dsn, **_options(self._dsn, self.cluster))
            except ClickHouseError as error:
                raise _meaning(error) from error
            self._own.client = client
            self._clients.append(client)
        return client


def _options(dsn: str, cluster: str | None) -> dict[str, Any]:
    """What a client is made with: without sessions, which take one query at a time."""
    settings: dict[str, Any] = {"max_execution_time": QUERY_SECONDS, "use_skip_indexes_if_final": 1}
    if cluster is not None:
        settings |= _OF_CLUSTERS
    if dsn.startswith("chdb:"):
        return {"settings": settings}
    return {"settings": settings, "autogenerate_session_id": False}


def _meaning(error: ClickHouseError) -> Exception:
    if isinstance(error, DataError):  # the driver's, before it sends anything: no value of that column
        return OverflowError(str(error))
    found = _CODE.search(str(error))
    code = int(found[1]) if found else None
    if code in _TOO_SLOW:
        return SlowQueryError(str(error))
    unreached = isinstance(error, OperationalError) and not isinstance(error, DatabaseError)
    return BusyError(str(error)) if code in _BUSY or (unreached and code is None) else error
