"""Flask, FastAPI and Django under gunicorn and uvicorn, with two workers: records say whose they are."""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.servers import Server, free_port

REQUESTS = 50
APPS = "tests.frameworks.apps"
THREADS = ("--worker-class", "gthread", "--threads", "25")


def gunicorn(app: str, *options: str) -> list[str]:
    return ["-m", "gunicorn", "--no-control-socket", "--workers", "2", *options, f"{APPS}.{app}", "--bind"]


def uvicorn(app: str, *options: str) -> list[str]:
    return ["-m", "uvicorn", "--workers", "2", "--log-level", "warning", *options, f"{APPS}.{app}", "--port"]


FLASK, FASTAPI, DJANGO = "/{}/<int:number>", "/{}/{{number}}", "/{}/<int:number>"
SERVERS = {
    "flask-gunicorn": (gunicorn("flask_app:app", *THREADS), FLASK),
    "flask-uvicorn": (uvicorn("flask_app:app", "--interface", "wsgi"), FLASK),
    "fastapi-gunicorn": (gunicorn("fastapi_app:application", "--worker-class", "asgi"), FASTAPI),
    "fastapi-uvicorn": (uvicorn("fastapi_app:application"), FASTAPI),
    "django-gunicorn": (gunicorn("django_app:wsgi", *THREADS), DJANGO),
    "django-uvicorn": (uvicorn("django_app:asgi"), DJANGO),
}
PATHS = {  # besides those that all have, which are the first three
    "fastapi": ("/plain", "/threads", "/v1/ask", "/sub/ask"),
    "django": ("/async", "/async-stream", "/async-broken"),
}
WHERE = {
    "ask": ("handler", "thread"),
    "plain": ("handler", "thread", "background"),
    "stream": ("part 0", "part 1", "part 2", "closed"),
    "threads": ("part 0", "part 1", "part 2"),
    "broken": ("error page",),
    "v1/ask": ("included",),
    "sub/ask": ("mounted",),
}


class Running:
    """A server with one of the applications, and a backend that its records go to."""

    def __init__(self, name: str, server: Server, backend: ScriptedServer) -> None:
        self.framework, self.gunicorn = name.partition("-")[0], name.endswith("gunicorn")
        self.pattern = SERVERS[name][1]
        self.server = server
        self.backend = backend

    def get(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Connection": "close", **named})
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def records(self, count: int) -> list[dict[str, Any]]:
        """All that came, once this many are there."""
        self.backend.wait_for(lambda _: len(self.backend.records()) >= count, 20)
        return [body for _, body in self.backend.records()]


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    name: str = request.param
    directory, port = tmp_path_factory.mktemp(name), free_port()
    command = [sys.executable, *SERVERS[name][0], f"127.0.0.1:{port}" if "gunicorn" in name else str(port)]
    with ScriptedServer(batching()) as backend:
        environment = {
            "BANYAN_API_KEY": "psk_web",
            "BANYAN_BASE_URL": backend.url,
            "BANYAN_HP_SPOOL_DIR": str(directory),
        }
        with Server(command, directory, port=port, ready="/healthz", **environment) as server:
            yield Running(name, server, backend)


def paths(running: Running) -> list[str]:
    return ["/ask", "/stream", "/broken", *PATHS.get(running.framework, ())]


def test_fifty_requests_at_once_mix_nothing(running: Running) -> None:
    """Handlers, threads, streams, error pages: each record comes once, with its user, session and request."""
    asked = [(path, number) for number in range(REQUESTS) for path in paths(running)]

    def ask(each: tuple[str, int]) -> int:
        path, number = each
        ident = f"{path[1:]}-{number}"
        response = running.get(
            f"{path}/{number}", X_User=f"u-{ident}", X_Session=f"s-{ident}", X_Request_Id=f"r-{ident}"
        )
        return response.status

    with ThreadPoolExecutor(REQUESTS) as clients:
        statuses = Counter(clients.map(ask, asked))
    broken = sum("broken" in path for path, _ in asked)
    assert statuses == {200: len(asked) - broken, 500: broken}
    expected = {
        (f"{number} {where}", f"{path[1:]}-{number}", running.pattern.format(path[1:]))
        for path, number in asked
        for where in WHERE[path[1:].removeprefix("async-").replace("async", "ask")]
    }
    found = []
    for record in running.records(len(expected)):
        metadata = record["metadata"]
        ident = metadata["request_id"].removeprefix("r-")
        assert (metadata["user_id"], metadata["session_id"]) == (f"u-{ident}", f"s-{ident}")
        assert metadata["method"] == "GET"
        if "error page" in record["input"] and running.framework != "fastapi":  # whose page is made outside
            number = record["input"].split()[0]
            assert (metadata["error_type"], metadata["error"]) == ("LookupError", f"LookupError: {number}")
        found.append((record["input"], ident, metadata["path"]))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert len(set(running.backend.ids())) == len(expected)


def test_visitors_are_told_apart_by_a_cookie(running: Running) -> None:
    """From the first response on."""
    before = len(running.backend.records())
    response = running.get("/ask/88")
    cookie = re.fullmatch(
        r"visitor=(anon-[0-9a-f]{32});.*HttpOnly.*SameSite=Lax", response.headers["Set-Cookie"]
    )
    assert cookie is not None
    again = running.get("/ask/88", Cookie=f"other=1; visitor={cookie[1]}")
    assert again.headers["Set-Cookie"] is None
    new = running.records(before + 4)[before:]
    assert [record["metadata"]["user_id"] for record in new] == [cookie[1]] * 4


def test_the_health_page_is_served(running: Running) -> None:
    """Without the application."""
    response = running.get("/healthz/banyan")
    health = json.loads(response.body)  # type: ignore[attr-defined]
    assert (response.status, health["status"]) == (200, "ok")
    assert running.get("/healthz/banyan", "POST").status == 405
