"""The local backend's application in the test's own process and thread, for what needs no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from banyan_hp.server.app import create_app
from banyan_hp.server.database import Database
from banyan_hp.server.starting import RoutingMode

KEY = "psk_local"


class LocalApp:
    """`create_app` over a database in `directory`. A context manager: the database is closed at its end."""

    def __init__(self, directory: Path, routing: RoutingMode = RoutingMode.SERVER, **options: Any) -> None:
        self.database = Database(directory / "backend.sqlite3")
        self._app = create_app(self.database, [KEY], routing, **options)

    def __enter__(self) -> LocalApp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.database.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request with a good key, unless `headers` bring another."""
        sent = {"X-API-Key": KEY, **(headers or {})}
        content = None if body is None else json.dumps(body).encode("ascii")
        return asyncio.run(self._call(method, path, content, tuple(query), sent))

    def get(self, path: str, *query: tuple[str, str]) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.call("GET", path, query=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        query: tuple[tuple[str, str], ...],
        headers: dict[str, str],
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            return await client.request(method, path, params=query, headers=headers, content=content)
