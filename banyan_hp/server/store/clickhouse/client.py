"""One ClickHouse, by HTTP or embedded (`chdb:///path`): queries, inserts, and what its errors mean to us."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as ClickHouseError
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError

from ..database import BusyError, SlowQueryError

QUERY_SECONDS = 20
INSERT_SECONDS = 10
_CODE = re.compile(r"\bcode:? (\d+)", re.IGNORECASE)
_TOO_SLOW = frozenset({159, 160, 307})  # TIMEOUT_EXCEEDED, TOO_SLOW, TOO_MANY_BYTES
# Too many queries, too little memory, parts or disk, a replica that is read-only or not reached, a stop.
_BUSY = frozenset({3, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 285, 319, 394, 425, 439, 473, 999})

MAX_PARAMETER = 120_000  # bytes: a server refuses longer ones by default (`http_max_field_value_size`)

Row = Mapping[str, Any]


def in_parameters(texts: Iterable[str]) -> Iterator[list[str]]:
    """The same texts in lists, each of which one parameter can hold, as an array."""
    some: list[str] = []
    size = 0
    for text in texts:
        plain = text.isascii() and text.replace("-", "").isalnum()
        length = (len(text) if plain else 4 * len(text.encode())) + 3  # escaped, with quotes and a comma
        if some and size + length > MAX_PARAMETER:
            yield some
            some, size = [], 0
        some.append(text)
        size += length
    if some:
        yield some


class ClickHouse:
    """Connections to one database, one for each thread that asks.

    Args:
        dsn: ``clickhouse://user:password@host:8123/database``, ``clickhouses://…`` for TLS, or ``chdb:///path``.
    """

    def __init__(self, dsn: str) -> None:
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
            found = self._client.query(sql, parameters=dict(parameters or {}))
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
            self._client.command(sql, parameters=dict(parameters or {}))
        except ClickHouseError as error:
            raise _meaning(error) from error

    @property
    def _client(self) -> Client:
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            try:
                client = clickhouse_connect.get_client(dsn=self._dsn, **_options(self._dsn))
            except ClickHouseError as error:
                raise _meaning(error) from error
            self._own.client = client
            self._clients.append(client)
        return client


def _options(dsn: str) -> dict[str, Any]:
    """What a client is made with: without sessions, which take one query at a time."""
    settings = {"max_execution_time": QUERY_SECONDS, "use_skip_indexes_if_final": 1}
    if dsn.startswith("chdb:"):
        return {"settings": settings}
    return {"settings": settings, "autogenerate_session_id": False}


def _meaning(error: ClickHouseError) -> Exception:
    if isinstance(
        error, DataError
    ):  # of the driver, before it sends anything: a value that a column can't hold
        return OverflowError(str(error))
    found = _CODE.search(str(error))
    code = int(found[1]) if found else None
    if code in _TOO_SLOW:
        return SlowQueryError(str(error))
    unreached = isinstance(error, OperationalError) and not isinstance(error, DatabaseError)
    return BusyError(str(error)) if code in _BUSY or (unreached and code is None) else error
