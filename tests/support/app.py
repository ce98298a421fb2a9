"""The local backend's application in the test's own process and thread, for what needs no socket."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from fastapi import FastAPI

from banyan_hp.server.api.auth import Caller
from banyan_hp.server.app import create_app
from banyan_hp.server.starting import RoutingMode
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.keys import Keys, Role
from tests.support.databases import fresh_sqlite

KEY = "psk_local"


class LocalApp:
    """`create_app` over a database: its URL, or a directory for a new one. A context manager.

    Its key is an admin's of the project ``default``.
    """

    key = KEY
    project = "default"

    def __init__(self, where: Path | str, routing: RoutingMode = RoutingMode.SERVER, **options: Any) -> None:
        url = where if isinstance(where, str) else fresh_sqlite(where / "backend.sqlite3")
        self.database = Database(url)
        keys = {KEY: Caller("default", Role.ADMIN, "given")}
        self.app = create_app(self.database, keys, routing, **options)
        self.app.state.feeds.close()  # its client reads whole responses: those to followers end at once
        self.runner = asyncio.Runner()
        self._lifespan: AbstractAsyncContextManager[Any] = self.app.router.lifespan_context(self.app)

    def __enter__(self) -> LocalApp:
        self.runner.run(_entered(self._lifespan))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.runner.run(_left(self._lifespan))
        self.runner.close()
        self.database.close()

    def in_new_project(self, role: Role = Role.ADMIN) -> AppCaller:
        """The same application with a key of a project of its own."""
        return self.in_project(f"project {uuid.uuid4()}", role)

    def in_project(self, project: str, role: Role = Role.ADMIN) -> AppCaller:
        """The same application with a new key of a project."""
        _, secret = Keys(self.database).create(project, role)
        return AppCaller(self, project, secret)

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
        content = None if body is None else json.dumps(body).encode("ascii")
        sent = {"X-API-Key": self.key, "Content-Type": "application/json", **(headers or {})}
        return self.runner.run(_send(self.app, method, path, content, tuple(query), sent))

    def send(self, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A POST of any bytes, with a good key unless `headers` bring another, which may be none."""
        sent = {"X-API-Key": self.key, **headers}
        return self.runner.run(_send(self.app, "POST", path, content, (), sent))

    def get(self, path: str, *query: tuple[str, str]) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.call("GET", path, query=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


class AppCaller(LocalApp):
    """Somebody who calls a `LocalApp` with another key."""

    def __init__(self, of: LocalApp, project: str, key: str) -> None:
        self.database, self.app, self.runner = of.database, of.app, of.runner
        self.project, self.key = project, key


async def _send(
    app: FastAPI,
    method: str,
    path: str,
    content: bytes | None,
    query: tuple[tuple[str, str], ...],
    headers: dict[str, str],
) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        return await client.request(method, path, params=query, headers=headers, content=content)


async def _entered(lifespan: AbstractAsyncContextManager[Any]) -> None:
    await lifespan.__aenter__()


async def _left(lifespan: AbstractAsyncContextManager[Any]) -> None:
    await lifespan.__aexit__(None, None, None)
