"""One ClickHouse, by HTTP or embedded (`chdb:///path`): queries, inserts, and what its errors mean to us.

No exception of the driver leaves this module: whatever ClickHouse, the network or a proxy between them does
is a `BusyError`, but for a query that takes too long and a value that no column holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from clickhouse_connect.driver.summary import QuerySummary
from urllib3.exceptions import HTTPError, MaxRetryError

from ..database import NO_CONNECTION, BusyError, SlowQueryError, UnfitValueError
from .cluster import local

QUERY_SECONDS = 20
INSERT_SECONDS = 10
CONNECT_SECONDS = 5
RESPONSE_SECONDS = QUERY_SECONDS + 10  # without a byte: ClickHouse ends what takes longer by itself
MOST_BOUND = 15_000  # characters of a parameter, of up to 4 bytes, some escaped: ClickHouse takes 128 KiB
MOST_QUERY = 256 * 1024 * 1024  # bytes, parameters that are written into it included
_TOO_SLOW = frozenset({159, 160, 307})  # TIMEOUT_EXCEEDED, TOO_SLOW, TOO_MANY_BYTES
_ADVICE = {
    60: "its tables are not there: `banyan-hp db schema` prints them",
    81: "its database is not there: create it, or name another one in --calls",
    192: "it knows no such user",
    193: "it refuses the password",
    516: "it refuses the user or the password",
}
# What follows may have values of records, the URL with parameters, or says nothing new.
_BESIDE = re.compile(r"[.:] (?:[Ww]hile|In scope|failed at) .*| \((?:for url|version) .*", re.DOTALL)
_EXCEPTION = re.compile(r"^.*?\bDB::Exception: ", re.DOTALL)
_PARAMETER = re.compile(r"\{(\w+):([^}]+)\}")
_STATUS = re.compile(r"HTTP status (\d+)")
_NOT_CLICKHOUSE = "what responds is no ClickHouse, but perhaps a proxy before it"
_NO_URL = (
    "the URL must be clickhouse://USER:PASSWORD@HOST:PORT/DATABASE with options of clickhouse-connect; "
    "characters like / and @ in a password must be percent-encoded"
)
_SHOWN = 300  # characters of what it says

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
    """Connections to one database, as many as are in use at once.

    Args:
        dsn: ``clickhouse://user:password@host:8123/database``, ``clickhouses://…`` for TLS, or ``chdb:///path``.
        cluster: the cluster whose shards have the tables; None: this server has them.
    """

    def __init__(self, dsn: str, cluster: str | None = None) -> None:
        self.cluster = cluster
        self._dsn = dsn
        self._free: list[Client] = []  # appending and popping are atomic
        self._types: dict[Sequence[str], Any] = {}  # of the columns of inserts, asked for once

    def close(self) -> None:
        """Close all connections."""
        while self._free:
            self._free.pop().close()

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, seconds: float | None = None
    ) -> list[Row]:
        """What a query gives, which may take so many seconds; None: as long as any other.

        Raises:
            BusyError: it can't be done now.
            SlowQueryError: it takes too long.
        """
        settings = {"max_execution_time": seconds} if seconds is not None else None
        with _meant(), self._client() as client:
            found = client.query(*_bound(sql, parameters), settings=settings)
        self._check(found.summary)
        names = found.column_names
        return [dict(zip(names, row, strict=True)) for row in found.result_rows]

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, all of them; ClickHouse has them when this returns.

        Raises:
            BusyError: it can't be done now; some may be stored all the same.
            UnfitValueError: a column can't hold a value; none is stored.
        """
        settings = {
            "async_insert": 1,
            "wait_for_async_insert": 1,
            "wait_for_async_insert_timeout": INSERT_SECONDS,
            "max_execution_time": INSERT_SECONDS,
            "max_partitions_per_insert_block": 0,  # records of any time may come together
        }
        try:
            with _meant(), self._client() as client:
                done = client.insert(
                    table,
                    list(zip(*rows, strict=True)),
                    column_names=columns,
                    column_types=self._types_of(client, table, columns),
                    column_oriented=True,
                    settings=settings,
                )
        except SlowQueryError as error:
            raise BusyError(f"ClickHouse: an insert took longer than {INSERT_SECONDS} s") from error
        self._check(done.summary)

    def _types_of(self, client: Client, table: str, columns: Sequence[str]) -> Any:
        key = (table, *columns)
        if key not in self._types:
            self._types[key] = client.create_insert_context(table, columns).column_types
        return self._types[key]

    def do(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that gives nothing back.

        Raises:
            BusyError: it can't be done now.
            SlowQueryError: it takes too long.
        """
        with _meant(), self._client() as client:
            done = client.command(*_bound(sql, parameters))
        self._check(done.summary if isinstance(done, QuerySummary) else {"query_id": str(done)[:1] != "<"})

    def local(self, table: str) -> str:
        """A table as statements name it that alter it, or delete of it."""
        return local(table, self.cluster)

    def _check(self, summary: Mapping[str, Any]) -> None:
        """Whether ClickHouse itself responded: a page with the status 200 looks like a done insert."""
        if not self._dsn.startswith("chdb:") and not summary.get("query_id"):
            raise BusyError(_NOT_CLICKHOUSE, NO_CONNECTION)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            client = self._free.pop()
        except IndexError:
            client = _connected(self._dsn, self.cluster)
        try:
            yield client
        finally:
            self._free.append(client)


def _connected(dsn: str, cluster: str | None) -> Client:
    try:
        return clickhouse_connect.get_client(**_options(dsn, cluster))
    except (TypeError, ValueError):  # its message may have the password
        raise BusyError(_NO_URL) from None
    except ImportError as error:
        raise BusyError("chdb:/// needs chdb: pip install 'banyan-hp[clickhouse]' chdb") from error


def _options(dsn: str, cluster: str | None) -> dict[str, Any]:
    """What a client is made with: without sessions, which take one query at a time."""
    settings: dict[str, Any] = {
        "max_execution_time": QUERY_SECONDS,
        "use_skip_indexes_if_final": 1,
        "max_query_size": MOST_QUERY,
        **(_OF_CLUSTERS if cluster is not None else {}),
    }
    if dsn.startswith("chdb:"):
        return {"dsn": dsn, "settings": settings}
    return {
        "dsn": dsn,
        "settings": settings,
        "autogenerate_session_id": False,
        "interface": "https" if dsn.startswith("clickhouses:") else "http",  # it ignores the scheme
        "connect_timeout": CONNECT_SECONDS,
        "send_receive_timeout": RESPONSE_SECONDS,
    }


def _bound(sql: str, parameters: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """A statement and its parameters, of which long lists are written into it.

    All in one pass: what is written may look like a parameter, and is none.
    """
    given = dict(parameters or {})
    long = {name for name, value in given.items() if isinstance(value, list) and _size(value) > MOST_BOUND}
    if not long:
        return sql, given

    def written(found: re.Match[str]) -> str:
        name, kind = found.groups()
        return f"CAST({_literal(given[name])}, '{kind}')" if name in long else found[0]

    sql = _PARAMETER.sub(written, sql)
    return sql, {name: value for name, value in given.items() if name not in long}


def _size(value: Any) -> int:
    """About how many characters."""
    if isinstance(value, list | tuple):
        return 2 + sum(map(_size, value))
    return len(value) + 4 if isinstance(value, str) else 20


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        inner = ",".join(map(_literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


# -- errors ----------------------------------------------------------------------------------------------


@contextmanager
def _meant() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise UnfitValueError(str(error).partition("\n")[0]) from error
    except ClickHouseError as error:
        raise _meaning(error) from error


def _meaning(error: ClickHouseError) -> Exception:
    code = getattr(error, "code", None)
    if code in _TOO_SLOW:
        return SlowQueryError(f"the query took longer than {QUERY_SECONDS} s")
    if code is None:
        return BusyError(f"ClickHouse: {_said(error)}", NO_CONNECTION)
    to_callers = f"ClickHouse refused it with code {code}; the backend's log says why"
    return BusyError(f"ClickHouse: {_refusal(error, code)}", to_callers)


def _said(error: ClickHouseError) -> str:
    """What was wrong on the way, without the query, which is in the URL."""
    cause = error.__cause__
    if isinstance(cause, MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    text = str(cause if isinstance(cause, HTTPError) else error)
    if "<" in text and not isinstance(cause, HTTPError):
        status = _STATUS.search(text)
        return _NOT_CLICKHOUSE + (f" (HTTP status {status[1]})" if status else "")
    return text.partition("\n")[0][:_SHOWN]


def _refusal(error: ClickHouseError, code: int) -> str:
    """What ClickHouse said, without what may name values."""
    text = _BESIDE.sub("", _EXCEPTION.sub("", str(error))).partition("\n")[0][:_SHOWN]
    named = f" ({name})" if (name := getattr(error, "name", None)) and name not in text else ""
    return f"{text}{named}, code {code}" + (f"; {_ADVICE[code]}" if code in _ADVICE else "")
