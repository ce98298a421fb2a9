"""ClickHouse, and what is before it, on a bad day: a 503 for callers, and what is wrong in the log."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from banyan_hp.server.opening import prepare_calls
from banyan_hp.server.starting import StartError
from tests.clickhouse.over_http import Asked, Broken, HttpClickHouse, Page, Refusal, Trouble
from tests.support.app import LocalApp
from tests.unit.server.api.test_otlp import body

BATCH = "/api/logs/prompt-usage/batch"
TOO_MANY = Refusal(252, "TOO_MANY_PARTS", "Too many parts (300) in table 'default.calls'")
TROUBLES: dict[str, tuple[Trouble, str]] = {
    "too many parts": (TOO_MANY, "Too many parts (300)"),
    "read-only": (Refusal(242, "TABLE_IS_READ_ONLY", "Table is in readonly mode"), "readonly mode"),
    "memory": (Refusal(241, "MEMORY_LIMIT_EXCEEDED", "Memory limit (total) exceeded"), "Memory limit"),
    "too many queries": (
        Refusal(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries. Maximum: 100"),
        "Too many simultaneous queries",
    ),
    "password": (
        Refusal(516, "AUTHENTICATION_FAILED", "banyan: Authentication failed: password is incorrect", 403),
        "it refuses the user or the password",
    ),
    "no database": (Refusal(81, "UNKNOWN_DATABASE", "Database calls does not exist", 404), "create it"),
    "no tables": (Refusal(60, "UNKNOWN_TABLE", "Unknown table expression 'calls'", 404), "db schema"),
    "another's": (
        Refusal(
            279, "ALL_CONNECTION_TRIES_FAILED", "All tries failed: ch-3.internal:9000, 10.1.2.3, 26.9.2.1"
        ),
        "ch-3.internal",
    ),
    "unknown": (Refusal(99999, "OF_TOMORROW", "Something new: while executing 'equals(a, secret)'"), "new"),
    "proxy": (Page(502), "no ClickHouse, but perhaps a proxy before it (HTTP status 502)"),
    "a page in its place": (Page(200), "no ClickHouse, but perhaps a proxy before it"),
    "nothing in its place": (Page(200, b""), "no ClickHouse, but perhaps a proxy before it"),
    "reset": (Broken(), "Connection aborted"),
}
every = pytest.mark.parametrize("trouble", TROUBLES)


@pytest.fixture(scope="module")
def server(embedded_in: Path) -> Iterator[HttpClickHouse]:
    with HttpClickHouse(embedded_in) as running:
        yield running


@pytest.fixture(scope="module")
def application(server: HttpClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalApp]:
    with LocalApp(tmp_path_factory.mktemp("faults"), calls=server.url) as running:
        yield running


@pytest.fixture
def app(application: LocalApp, server: HttpClickHouse) -> Iterator[LocalApp]:
    """The application, for an admin of a project that is empty."""
    yield application.in_new_project()
    server.trouble = lambda _: None


def logged(app: LocalApp, *ids: str, **given: Any) -> httpx.Response:
    content = {"input": "q", "output": "a", "metadata": {}, **given}
    records = [{"id": each, "ts": "2026-11-28T10:00:00.000Z", "body": content} for each in ids]
    return app.call("POST", BATCH, {"records": records})


def only(kind: str, into: str, trouble: Trouble) -> Any:
    """The trouble, for statements of a kind that name a table."""

    def of(asked: Asked) -> Trouble:
        return trouble if asked.kind == kind and into in asked.statement else None

    return of


def told_of(trouble: Trouble) -> str:
    """What callers are told: nothing in ClickHouse's words, which name tables, hosts and queries."""
    reason = "there is no connection to it"
    if isinstance(trouble, Refusal):
        reason = f"ClickHouse refused it with code {trouble.code}; the backend's log says why"
    return f"the database can't be used now: {reason}"


def assert_busy(response: httpx.Response, trouble: Trouble) -> None:
    assert response.status_code == 503, response.text
    assert response.json() == {"error": told_of(trouble)}


def assert_logged(caplog: pytest.LogCaptureFixture, said: str) -> None:
    """In one line without values."""
    lines = [each.getMessage() for each in caplog.records if each.name.startswith("banyan_hp")]
    assert any(said in line and "\n" not in line for line in lines), lines
    assert not any("secret" in line or "param_" in line for line in lines)
    assert not any(each.exc_info for each in caplog.records)


@every
@pytest.mark.parametrize(("kind", "into"), [("SELECT", "call_ids"), ("INSERT", "calls")])
def test_records_that_can_t_be_stored_are_asked_for_again(
    app: LocalApp,
    server: HttpClickHouse,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
    kind: str,
    into: str,
) -> None:
    """With `Retry-After` and a line in the log, where repeats are looked for and where calls are inserted."""
    happens, said = TROUBLES[trouble]
    server.trouble = only(kind, into, happens)
    with caplog.at_level(logging.ERROR):
        response = logged(app, "a", "b")
    assert_busy(response, happens)
    assert int(response.headers["Retry-After"]) >= 1
    assert_logged(caplog, said)
    server.trouble = lambda _: None
    assert logged(app, "a", "b").status_code == 200
    assert app.get("/api/logs/count")["count"] == 2


@every
def test_reads_are_a_503_and_the_log_says_why(
    app: LocalApp, server: HttpClickHouse, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """Never a part of what is there, and never nothing as if nothing were there."""
    logged(app, "a")
    happens, said = TROUBLES[trouble]
    for path in ("/api/calls", "/api/logs/count", "/api/logs", "/api/calls/a", "/api/scores", "/readyz"):
        server.trouble = lambda _: happens
        caplog.clear()
        assert_busy(app.call("GET", path), happens)
        assert_logged(caplog, said)
        server.trouble = lambda _: None
        assert app.call("GET", path).status_code == 200


@every
def test_spans_that_can_t_be_stored_are_asked_for_again(
    app: LocalApp, server: HttpClickHouse, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """In the words of OTLP; the log has ClickHouse's."""
    happens, said = TROUBLES[trouble]
    server.trouble = only("INSERT", "spans", happens)
    response = app.call("POST", "/v1/traces", body())
    assert (response.status_code, response.json()["message"]) == (503, told_of(happens))
    assert_logged(caplog, said)


@pytest.mark.parametrize("trouble", ["too many parts", "a page in its place", "reset"])
def test_nobody_is_told_that_calls_are_removed_when_they_are_not(
    app: LocalApp, server: HttpClickHouse, trouble: str
) -> None:
    logged(app, "a")
    happens, _ = TROUBLES[trouble]
    server.trouble = only("DELETE", "calls", happens)
    query = (("id", "a"),)
    assert_busy(app.call("DELETE", "/api/calls", query=query), happens)
    server.trouble = lambda _: None
    assert app.get("/api/logs/count")["count"] == 1
    assert app.call("DELETE", "/api/calls", query=query).status_code == 200
    assert app.get("/api/logs/count")["count"] == 0


def test_an_insert_that_was_done_before_the_connection_broke_is_found_again(
    app: LocalApp, server: HttpClickHouse
) -> None:
    """Its sender repeats it, and it is stored once."""
    server.trouble = only("INSERT", "calls", Broken(after=True))
    assert_busy(logged(app, "a", "b"), Broken())
    server.trouble = lambda _: None
    assert logged(app, "a", "b").status_code == 200
    assert app.get("/api/logs/count")["count"] == 2


def test_batches_are_not_limited_by_what_a_url_or_a_field_may_hold(
    app: LocalApp, server: HttpClickHouse
) -> None:
    """ClickHouse takes 128 KiB of a parameter: a batch of long ids has more, and so has a page."""
    ids = [f"{number:04}-'\\-{'x' * 180}" for number in range(1000)]
    for _ in range(2):
        assert logged(app, *ids).status_code == 200
    assert max(len(each.statement) for each in server.asked) > 128 * 1024
    page = app.get("/api/calls", ("limit", "1000"))["calls"]
    assert sorted(each["id"] for each in page) == sorted(ids)
    found = app.get("/api/calls", ("session", "none"), ("text", 'quote\' "back\\slash"'))
    assert found["calls"] == []


@pytest.mark.parametrize("trouble", ["password", "no database", "proxy", "a page in its place", "reset"])
def test_a_start_that_fails_says_why(server: HttpClickHouse, trouble: str) -> None:
    """In one line without the password."""
    happens, said = TROUBLES[trouble]
    server.trouble = lambda _: happens
    with pytest.raises(StartError) as raised:
        prepare_calls(server.url)
    assert str(raised.value).startswith("can't use the ClickHouse of --calls: ")
    assert said in str(raised.value)
    assert "ecret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("clickhouse://banyan:se/cret@127.0.0.1:8123/x", "percent-encoded"),
        ("clickhouse://banyan:s%2Fecret@127.0.0.1:port/x", "percent-encoded"),
        ("clickhouse://banyan:s%2Fecret@127.0.0.1:9/x?sekret=1", "percent-encoded"),
        ("clickhouse://banyan:s%2Fecret@127.0.0.1:9/x", "Connection refused"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, said: str) -> None:
    """Without the part of the password that its reader would take for a port."""
    with pytest.raises(StartError, match=said) as raised:
        prepare_calls(url)
    assert "ecret" not in str(raised.value)
    assert "cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_clickhouses_is_tls_on_any_port() -> None:
    """Nothing is sent in the clear, least of all the password."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        sent = pool.submit(_first_bytes, listening)
        with pytest.raises(StartError, match=r"SSL|Connection"):
            prepare_calls(f"clickhouses://banyan:s%2Fecret@127.0.0.1:{listening.getsockname()[1]}/x")
        assert sent.result(timeout=5)[:2] == b"\x16\x03"  # a handshake


def _first_bytes(listening: socket.socket) -> bytes:
    connection, _ = listening.accept()
    with connection:
        return connection.recv(1000)
