"""What the local backend refuses or bounds for the sake of the machine it runs on, seen over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from banyan_hp.server.api.feedback import BURST
from tests.conftest import NewDatabase
from tests.support.app import KEY, LocalApp
from tests.support.backend import Backend

COUNT = "/api/logs/count"
MIB = 1024 * 1024
RECORD: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {}}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(options=["--allowed-host", "Backend.test"]) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


@pytest.mark.parametrize("path", ["/api/auth/validate", "/api/logs/prompt/none", "/nowhere"])
@pytest.mark.parametrize("key", ["psk_local", "wrong"])
def test_no_shared_cache_may_keep_an_answer(backend: Backend, path: str, key: str) -> None:
    """Errors included: an answer depends on key and project, and a 404 may be a prompt a second later."""
    answer = requests.get(backend.url + path, headers={"X-API-Key": key}, timeout=10)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Vary"] == "Authorization, X-API-Key, X-Project-Id"


def test_forwarded_addresses_count_only_from_trusted_proxies(backend: Backend) -> None:
    """Not even from this machine, as uvicorn would have it; with the options they do."""

    def statuses(url: str) -> list[int]:
        with requests.Session() as session:
            return [
                session.post(
                    f"{url}/api/feedback",
                    json={},
                    headers={"X-Forwarded-For": f"192.0.2.{number}", "Origin": "https://www.example.com"},
                    timeout=10,
                ).status_code
                for number in range(2 * BURST)
            ]

    assert {422, 429} == set(statuses(backend.url))
    options = ["--trusted-proxy", "127.0.0.1", "--feedback-origin", "https://www.example.com"]
    with Backend(options=options) as behind:
        assert {422} == set(statuses(behind.url))
        asked = {"Origin": "https://www.example.com", "Access-Control-Request-Method": "POST"}
        preflight = requests.options(f"{behind.url}/api/feedback", headers=asked, timeout=10)
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://www.example.com"


def status(backend: Backend, host: str | None, *, version: str = "1.1") -> tuple[int, dict[str, Any]]:
    """The answer to a request with that Host header."""
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=10)
    connection._http_vsn_str = f"HTTP/{version}"  # type: ignore[attr-defined]  # private: http.client offers no other version
    connection.putrequest("GET", COUNT, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.putheader("X-API-Key", backend.api_key)
    connection.endheaders()
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LocalHost.:8787",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.9.10:8787",
            "[::1]",
            "[::1]:8787",
            "backend.test",
            "BACKEND.test:80",
        ],
    )
    def test_names_of_this_machine_and_allowed_ones_are_answered(self, backend: Backend, host: str) -> None:
        """Whatever the port: behind a forwarded one it is another."""
        assert status(backend, host)[0] == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.test",
            "evil.test:8787",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]:80",
            "127.0.0.1@evil.test",
            "127.0.0.1:evil",
            "",
            "[]",
            "\xe9",
        ],
    )
    def test_another_name_is_a_421_whatever_the_key(self, backend: Backend, host: str) -> None:
        """A page whose name was made to resolve to this machine gets nothing, not even with the key."""
        code, body = status(backend, host)
        assert code == 421
        assert body["error"].startswith("the Host header must name this machine, as localhost does, was ")

    def test_a_request_without_a_host_is_answered(self, backend: Backend) -> None:
        """No browser sends one; checks of load balancers do."""
        assert status(backend, None, version="1.0")[0] == 200

    def test_an_allowed_name_that_is_none_allows_nothing(self, tmp_path: Path) -> None:
        """Nonsense on one side does not match nonsense on the other."""
        with LocalApp(tmp_path, allowed_hosts=["", "a:b"]) as app:
            assert app.call("GET", COUNT, headers={"Host": "c:d"}).status_code == 421

    @pytest.mark.parametrize(
        ("options", "expected"), [([], 200), (["--allowed-host", "backend.test"], 421)], ids=["any", "named"]
    )
    def test_a_backend_for_others_answers_to_any_name_unless_some_are_named(
        self, options: list[str], expected: int
    ) -> None:
        """Who listens on all addresses is called by names that it can't know."""
        with Backend(api_keys=["psk_secret"], options=["--host", "0.0.0.0", *options]) as open_to_all:
            assert status(open_to_all, "team.test")[0] == expected


class TestSlowBodies:
    @pytest.mark.parametrize("drip", [False, True], ids=["silent", "dripping"])
    def test_a_body_that_takes_too_long_is_a_408_and_its_connection_is_closed(
        self, tmp_path: Path, *, drip: bool
    ) -> None:
        """The limit is on the whole body, so that a byte now and then does not stretch it."""
        answer = asyncio.run(_answer_to_a_slow_body(tmp_path, drip=drip))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'{"error": "the body must arrive within 0.2 s"}' in answer


async def _answer_to_a_slow_body(directory: Path, *, drip: bool) -> bytes:
    local = LocalApp(directory, body_seconds=0.2)
    server = uvicorn.Server(uvicorn.Config(local.app, http="h11", lifespan="on", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"POST /api/logs/prompt-usage HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n" % KEY.encode())
        writer.write(b"Content-Length: 99999\r\n\r\n{")
        dripping = asyncio.create_task(_drip(writer)) if drip else None
        answer = await asyncio.wait_for(reader.read(), 10)
        if dripping is not None:
            dripping.cancel()
        writer.close()
        server.should_exit = True
        await serving
    local.database.close()
    return answer


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


class TestPages:
    def test_a_page_is_bounded_in_bytes(self, new_database: NewDatabase) -> None:
        """It ends before its limit where records are large; each record comes once, and always one."""
        with LocalApp(new_database()) as app:
            sizes = [3, 3, 3, 12, 1]
            for size in sizes:
                record = {**RECORD, "input": "x" * (size * MIB)}
                assert app.call("POST", "/api/logs/prompt-usage", record).status_code == 201
            pages: list[list[int]] = []
            after: Any = "0"
            for _ in range(4):
                page = app.get("/api/logs", ("limit", "1000"), ("after", after))
                pages.append([len(log["body"]["input"]) // MIB for log in page["logs"]])
                after = page["next"]
            assert (pages, after) == ([[3, 3], [3], [12], [1]], None)
