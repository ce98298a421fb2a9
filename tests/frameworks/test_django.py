"""Django: settings and their checks, users and sessions, streams, errors, the doctor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, override_settings
from django.urls import path

import banyan_hp as banyan
from banyan_hp.testing import CapturedRecords, capture

ROOT = Path(__file__).parents[2]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "banyan_hp.integrations.django",
        ],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "banyan_hp.integrations.django.BanyanMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="x",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()

# These need the settings.
from django.contrib.auth import get_user_model  # noqa: E402

from banyan_hp.integrations.django import BanyanMiddleware, apps  # noqa: E402


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    with capture() as captured:
        yield captured


def log(_request: HttpRequest | None = None) -> HttpResponse:
    banyan.log_prompt("q", "a")
    return HttpResponse("ok")


def looks_at_the_user(request: HttpRequest) -> HttpResponse:
    _ = request.user.is_authenticated
    return log()


async def awaits_the_user(request: HttpRequest) -> HttpResponse:
    await request.auser()
    return log()


def logs_after_a_404(_request: HttpRequest) -> HttpResponse:
    raise Http404


def broken(_request: HttpRequest) -> HttpResponse:
    raise LookupError("gone")


def handler404(_request: HttpRequest, exception: Exception) -> HttpResponse:
    return log()


def handler500(_request: HttpRequest) -> HttpResponse:
    return log()


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            log()

    return StreamingHttpResponse(parts())


async def stream_async(_request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            log()

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("log", log),
    path("user/<int:number>", lambda request, number: looks_at_the_user(request)),
    path("auser", awaits_the_user),
    path("404", logs_after_a_404),
    path("broken", broken),
    path("stream", stream),
    path("async-stream", stream_async),
]


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logged in, without a database."""
    found = get_user_model()(pk=7)

    async def aget(_request: object) -> Any:
        return found

    monkeypatch.setattr("django.contrib.auth.get_user", lambda _request: found)
    monkeypatch.setattr("django.contrib.auth.aget_user", aget)
    return found


def the_only(records: CapturedRecords) -> dict[str, Any]:
    (record,) = records
    metadata: dict[str, Any] = record["metadata"]
    return metadata


# -- users and sessions --------------------------------------------------------------------------------------


def test_the_user_is_the_one_that_the_view_has_looked_at(records: CapturedRecords, user: Any) -> None:
    """And the path is the route's, so that ids are not in it."""
    Client().get("/user/5")
    metadata = the_only(records)
    assert (metadata["user_id"], metadata["path"]) == ("7", "/user/<int:number>")


def test_an_async_view_s_user_counts_as_well(records: CapturedRecords, user: Any) -> None:
    """`await request.auser()`."""
    asyncio.run(AsyncClient().get("/auser"))
    assert the_only(records)["user_id"] == "7"


def test_a_log_call_loads_no_user(records: CapturedRecords, user: Any) -> None:
    """It would ask the database, and make the response vary by cookie."""
    response = Client().get("/log")
    assert "user_id" not in the_only(records)
    assert "Vary" not in response.headers


def test_a_session_is_known_by_its_hash(records: CapturedRecords) -> None:
    """Its key is as good as a password."""
    client = Client()
    client.cookies["sessionid"] = "a-secret-key"
    client.get("/log")
    client.get("/log")
    first, second = (record["metadata"]["session_id"] for record in records)
    assert first == second
    assert len(first) == 32
    assert "secret" not in first


def test_functions_of_the_project_decide(records: CapturedRecords) -> None:
    """By their dotted path, too; None switches one off."""
    with override_settings(BANYAN_HP={"USER": f"{__name__}.always_nine", "SESSION": None}):
        client = Client()
        client.cookies["sessionid"] = "a-secret-key"
        client.get("/log")
    metadata = the_only(records)
    assert (metadata["user_id"], "session_id" in metadata) == ("9", False)


def always_nine(_request: HttpRequest) -> int:
    return 9


def test_a_visitor_s_cookie_is_django_s(records: CapturedRecords) -> None:
    """Secure where Django says that the request is."""
    with override_settings(BANYAN_HP={"ANONYMOUS_COOKIE": "visitor", "ANONYMOUS_COOKIE_MAX_AGE": 60}):
        client = Client()
        cookie = client.get("/log", secure=True).cookies["visitor"]
        client.get("/log")
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (60, True, "Lax")
    assert cookie["secure"]
    assert {record["metadata"]["user_id"] for record in records} == {cookie.value}


# -- errors --------------------------------------------------------------------------------------------------


def test_an_error_is_on_the_interaction_and_on_the_error_page(records: CapturedRecords) -> None:
    """Django makes a response of it before a middleware sees it. A 404 is no error."""
    with override_settings(BANYAN_HP={"INTERACTION": True}):
        client = Client(raise_request_exception=False)
        assert client.get("/broken").status_code == 200  # its handler's
        client.get("/404")
    page, interaction, page_404, interaction_404 = records
    for record in (page, interaction):
        assert record["metadata"]["error"] == "LookupError: gone"
    assert (interaction["input"], interaction["metadata"]["path"]) == ("GET /broken", "/broken")
    assert "error" not in page_404["metadata"]
    assert "error" not in interaction_404["metadata"]


def test_an_error_of_an_async_view_is_on_its_interaction(records: CapturedRecords) -> None:
    """The signal comes in a thread."""
    with override_settings(BANYAN_HP={"INTERACTION": True}):
        asyncio.run(AsyncClient(raise_request_exception=False).get("/broken"))
    assert [record["metadata"]["error"] for record in records] == ["LookupError: gone"] * 2


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream_that_is_closed_early_is_covered(records: CapturedRecords) -> None:
    """Its generator's last words are the request's, and the interaction says how it ended."""
    with override_settings(BANYAN_HP={"INTERACTION": True}):
        response: Any = Client().get("/stream")
        assert next(iter(response.streaming_content)) == b"a"
        response.close()
    words, interaction = records
    assert words["metadata"]["path"] == "/stream"
    assert interaction["metadata"]["ended"] == "closed early"


def test_an_async_stream_that_is_closed_early_is_covered(records: CapturedRecords) -> None:
    """As by a visitor who leaves."""

    async def leave() -> None:
        middleware: Any = BanyanMiddleware(stream_async)
        response = await middleware(AsyncRequestFactory().get("/async-stream"))
        content = aiter(response)
        assert await anext(content) == b"a"
        await content.aclose()
        response.close()
        del content, response
        for _ in range(20):  # the loop closes generators in tasks, one in the other
            await asyncio.sleep(0)

    with override_settings(BANYAN_HP={"INTERACTION": True}):
        asyncio.run(leave())
    words, interaction = records
    assert words["metadata"]["path"] == "/async-stream"
    assert interaction["metadata"]["ended"] == "closed early"


# -- settings ------------------------------------------------------------------------------------------------


def problems() -> list[str]:
    return [message.msg for message in apps.check_settings()]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"BATCH_SIZE": 0}, "BANYAN_HP['BATCH_SIZE']: batch_size must be an integer of at least 1, was 0"),
        ({"BASE_URL": "x"}, "BANYAN_HP['BASE_URL']: base_url must be an http:// or https:// URL"),
        ({"PROMPT_TIMEOUT": 0}, "BANYAN_HP['PROMPT_TIMEOUT']: prompt_timeout must be"),
        ({"HEALTH_PATH": "x"}, "BANYAN_HP['HEALTH_PATH']: health_path must be a path that begins with '/'"),
        ({"USER": "nowhere.at_all"}, "BANYAN_HP['USER'] can't be imported: No module named 'nowhere'"),
        ({"USERS": None}, "unknown name in BANYAN_HP: 'USERS'; did you mean 'USER'?"),
        ({"api_key": "psk_x"}, "the names in BANYAN_HP are written in capitals: 'api_key'"),
        ({"DURABILITY": "disk", "SPOOL": False, "API_KEY": "psk_x"}, "durability='disk' needs spool=True"),
        ({"BATCH_SIZE": 5}, "BANYAN_HP has no 'API_KEY'"),
        ("psk_x", "BANYAN_HP must be a dict, was str"),
    ],
)
def test_the_system_checks_name_what_is_wrong(given: Any, said: str) -> None:
    """And where nobody runs them, the middleware does, when a server loads it."""
    with override_settings(BANYAN_HP=given):
        (problem,) = problems()
        assert said in problem
        with pytest.raises(ImproperlyConfigured) as raised:
            BanyanMiddleware(log)
        assert problem in str(raised.value)


def test_each_wrong_value_has_its_error() -> None:
    """The whole list at once. What is right by itself and together has none."""
    with override_settings(BANYAN_HP={"BATCH_SIZE": 0, "TIMEOUT": "x", "SESSION": 5, "API_KEY": "psk_x"}):
        assert len(problems()) == 3
    right = {"API_KEY": "psk_x", "MAX_RECORD_BYTES": 2**27, "QUEUE_BYTES": 2**28, "DURABILITY": "disk"}
    with override_settings(BANYAN_HP={**right, "SPOOL_DIR": None, "INTERACTION": True}):
        assert problems() == []
    assert problems() == []


def test_a_missing_middleware_is_a_warning() -> None:
    """Records would not say whose they are."""
    assert list(apps.check_middleware()) == []
    with override_settings(MIDDLEWARE=[]):
        (warning,) = apps.check_middleware()
    assert (warning.id, "is not in MIDDLEWARE" in warning.msg) == ("banyan_hp.W001", True)


def test_the_app_configures_the_logger(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what is in capitals there; a wrong value is a log line, so that the checks can be run."""
    app = django.apps.apps.get_app_config("banyan_hp")
    with override_settings(BANYAN_HP={"API_KEY": "psk_x", "BASE_URL": "http://127.0.0.1:9", "SPOOL": False}):
        app.ready()
        assert banyan.get_stats()["state"] == "idle"
        assert "127.0.0.1:9" in repr(banyan.configure("psk_x", "http://127.0.0.1:9", spool=False))
    with override_settings(BANYAN_HP={"API_KEY": "psk_x", "BATCH_SIZE": 0}):
        app.ready()
    assert "BANYAN_HP is wrong: batch_size must be" in caplog.text


# -- the doctor, and the example -----------------------------------------------------------------------------


def test_the_doctor_looks_at_the_project_s_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 where something is wrong; the key is not shown."""
    given = {"API_KEY": "psk_secret", "BASE_URL": "http://127.0.0.1:9", "BATCH_SIZE": 0}
    with override_settings(BANYAN_HP=given), pytest.raises(SystemExit) as ended:
        call_command("banyan_hp_doctor")
    said = capsys.readouterr().out
    assert ended.value.code == 1
    assert "BANYAN_HP: BANYAN_HP['BATCH_SIZE']: batch_size must be" in said
    assert "http://127.0.0.1:9 (--base-url)" in said
    assert "psk_secret" not in said
    with override_settings(BANYAN_HP="x"), pytest.raises(SystemExit):
        call_command("banyan_hp_doctor", "--json")
    assert json.loads(capsys.readouterr().out)["checks"][0]["found"] == "BANYAN_HP must be a dict, was str"


def test_the_example_runs() -> None:
    """`examples/django_app.py`: its checks, and its two views, whose records are the visitor's."""
    program = """
import sys
sys.path.insert(0, "examples")
from banyan_hp.testing import capture
from django_app import application
from django.core.management import call_command
from django.test import Client
call_command("check", "--fail-level", "WARNING")
client = Client()
with capture() as records:
    assert client.get("/ask", {"question": "abc"}).json() == {"answer": "cba"}
    assert client.get("/stream", {"question": "xyz"}).getvalue() == b"zyx"
said = [(record["input"], record["metadata"]["path"], record["metadata"]["user_id"]) for record in records]
visitor = client.cookies["visitor"].value
assert said == [("abc", "/ask", visitor), ("xyz", "/stream", visitor)], said
assert client.get("/healthz/banyan").json()["status"] in ("ok", "degraded")
"""
    environment = {**os.environ, "BANYAN_API_KEY": "psk_x", "BANYAN_BASE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", program]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
