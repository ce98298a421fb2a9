"""Getting data out of a backend over its HTTP API: pages, export, tail; and removing a person's."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp.cli import export
from banyan_hp.cli.main import main
from tests.support.backend import Backend
from tests.support.local_backend import call
from tests.support.timing import assert_in_time

Log = Callable[..., None]
SECONDS = 30.0


@pytest.fixture
def session() -> str:
    """Whose calls are a test's own."""
    return f"session {uuid.uuid4()}"


@pytest.fixture
def log(backend: Backend, session: str) -> Log:
    """Logs a call: of the session, with a text and whatever else."""

    def post(text: str = "a question", *, key: str | None = None, **metadata: Any) -> None:
        record = {"input": text, "output": f"answer to {text}", "model": "m-1"}
        body = {**record, "metadata": {"session_id": session, **metadata}}
        headers = {"X-API-Key": key} if key is not None else {}
        assert call(backend, "POST", "/api/logs/prompt-usage", json=body, headers=headers).status_code == 201

    return post


@pytest.fixture(autouse=True)
def pointed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' backend."""
    monkeypatch.setenv("BANYAN_BASE_URL", backend.url)
    monkeypatch.setenv("BANYAN_API_KEY", backend.api_key)


# -- pages ---------------------------------------------------------------------------------------------------


def test_filters_choose_and_pages_lead_on(backend: Backend, log: Log, session: str) -> None:
    for number in range(5):
        log(f"number {number}", user_id=f"u{number % 2}", **({"error": "broken"} if number == 3 else {}))
    chosen = {"session": session}
    first = backend.get("/api/calls", limit=2, **chosen)
    rest = backend.get("/api/calls", limit=10, after=first["next"], **chosen)
    found = [each["input"] for each in [*first["calls"], *rest["calls"]]]
    assert found == [f"number {number}" for number in (4, 3, 2, 1, 0)]
    assert rest["next"] is None
    for more, numbers in (
        ({"user": "u1"}, [3, 1]),
        ({"failed": "true"}, [3]),
        ({"model": "m-1", "failed": "false"}, [4, 2, 1, 0]),
        ({"since": "2999-01-01T00:00:00Z"}, []),
        ({"until": "2999-01-01T00:00:00+02:00", "user": "u0"}, [4, 2, 0]),
    ):
        page = backend.get("/api/calls", **chosen, **more)
        assert [each["input"] for each in page["calls"]] == [f"number {number}" for number in numbers]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"usr": "u1"}, "no parameter of this call"),
        ({"since": "yesterday"}, "since must be an ISO-8601 date and time, was 'yesterday'"),
        ({"text": "..."}, "text must be 1 to 50 words"),
        ({"limit": "1001"}, "limit must be a whole number from 1 to 1000"),
        ({"after": "x"}, "after must be"),
        ({"user": "a\x00"}, "user must be"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/calls", "/api/calls/follow"])
def test_what_is_not_understood_is_refused(
    backend: Backend, path: str, query: dict[str, str], reason: str
) -> None:
    answer = call(backend, "GET", path, params=query)
    if path.endswith("follow") and "limit" in query:
        reason = "no parameter of this call"
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


# -- export --------------------------------------------------------------------------------------------------


def test_export_writes_all_pages(
    log: Log, session: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(export, "PAGE", 3)
    for number in range(7):
        log(f"{number} \x1b[31m\x7f")
    assert main(["export", "--session", session, "--since", "1h"]) == 0
    out = capfdbinary.readouterr().out
    assert [json.loads(line)["input"] for line in out.splitlines()] == [
        f"{number} \x1b[31m\x7f" for number in reversed(range(7))
    ]
    assert not set(out) & {*range(10), *range(11, 32), 127}


def test_csv_is_no_spreadsheets_program(log: Log, session: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be a formula has an apostrophe before it, unless it is wanted raw."""
    texts = ["=1+1", " @SUM(A1)", "\t=x", "＝1", "-2", 'plain, "quoted"\nline', "a;=b"]
    for text in texts:
        log(text)
    main(["export", "--format", "csv", "--session", session])
    shown = [row["input"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    neutral = [text if text in texts[-2:] else f"'{text}" for text in texts]
    assert shown == neutral[::-1]
    main(["export", "--format", "csv", "--session", session, "--raw"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["input"] for row in rows] == texts[::-1]
    assert (rows[0]["session"], rows[0]["model"], rows[0]["latency_ms"]) == (session, "m-1", "")


def test_parquet_is_read_by_duckdb(log: Log, session: str, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    for number in range(3):
        log(f"number {number}")
    target = tmp_path / "calls.parquet"
    assert main(["export", "--format", "parquet", "--session", session, "--output", str(target)]) == 0
    rows = duckdb.sql(f"SELECT input, model, event_time FROM '{target}' ORDER BY input").fetchall()
    assert [row[:2] for row in rows] == [(f"number {number}", "m-1") for number in range(3)]
    assert rows[0][2].utcoffset().total_seconds() == 0


def test_an_export_that_fails_leaves_no_file(log: Log, session: str, tmp_path: Path) -> None:
    log()
    target = tmp_path / "calls.jsonl"
    assert main(["export", "--text", "...", "--output", str(target)]) == 2
    assert main(["export", "--session", session, "--output", str(tmp_path / "no" / "calls")]) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_as_large_as_a_page_in_memory(
    log: Log, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls of a page are written before the next one is asked for."""
    monkeypatch.setattr(export, "PAGE", 1)
    seen: list[str] = []

    class Watched(io.BytesIO):
        def write(self, data: Any) -> int:
            seen.append("written")
            return super().write(data)

    class Out:
        buffer = Watched()

        def isatty(self) -> bool:
            return False

        def flush(self) -> None:
            pass

    pages = export.pages_of

    def watched(*given: Any) -> Iterator[Any]:
        for page in pages(*given):
            seen.append("page")
            yield page

    monkeypatch.setattr(export, "pages_of", watched)
    monkeypatch.setattr(sys, "stdout", Out())
    for number in range(3):
        log(f"number {number}")
    assert main(["export", "--session", session]) == 0
    assert seen == ["page", "written"] * 3


# -- tail ----------------------------------------------------------------------------------------------------


class Tail:
    """`banyan-hp tail`, and the lines that it has said. A context manager."""

    def __init__(self, backend: Backend, *options: str, key: str | None = None) -> None:
        environment = {"BANYAN_BASE_URL": backend.url, "BANYAN_API_KEY": key or backend.api_key}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "banyan_hp", "tail", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.lines: list[str] = []
        self.complaints: list[str] = []
        self._changed = threading.Condition()
        for stream, into in ((self._process.stdout, self.lines), (self._process.stderr, self.complaints)):
            threading.Thread(target=self._read, args=(stream, into), daemon=True).start()

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            with self._changed:
                into.append(line.rstrip("\n"))
                self._changed.notify_all()

    def until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, SECONDS), (self.lines, self.complaints)

    def inputs(self) -> list[str]:
        return [json.loads(line)["input"] for line in self.lines]

    def end(self, signum: signal.Signals) -> int:
        self._process.send_signal(signum)
        return self._process.wait(SECONDS)

    def wait(self) -> int:
        return self._process.wait(SECONDS)

    def begun(self, log: Callable[[], None]) -> None:
        """Log something until it is seen: whoever begins sees what arrives from then on."""
        deadline = time.monotonic() + SECONDS
        while not self.lines and time.monotonic() < deadline:
            log()
            time.sleep(0.2)
        assert self.lines, self.complaints


def test_tail_shows_a_line_a_call_without_control_characters(
    backend: Backend, log: Log, session: str
) -> None:
    with Tail(backend, "--session", session, "--text", "wanted") as tail:
        tail.begun(lambda: log("wanted first"))
        log("other")
        log("wanted \x1b[31mred\r\n", user_id="\x07u")
        tail.until(lambda: "red" in tail.lines[-1])
        assert "m-1  user=\\x07u" in tail.lines[-1]
        assert "wanted \\x1b[31mred" in tail.lines[-1]
        assert not any("other" in line for line in tail.lines)
        assert tail.end(signal.SIGINT) == 0
        assert tail.complaints == []


def test_tail_goes_on_over_a_restart_and_misses_nothing(
    request: pytest.FixtureRequest, backend: Backend
) -> None:
    """Whether the backend stops in good order or is killed: it says so, comes back, and reads on."""
    db = None if isinstance(backend.db, Path) else request.getfixturevalue("postgres").new_database()
    with Backend(db=db) as own:

        def log(text: str = "first") -> None:
            body = {"input": text, "output": "", "metadata": {}}
            assert call(own, "POST", "/api/logs/prompt-usage", json=body).status_code == 201

        with Tail(own, "--json") as tail:
            tail.begun(log)
            ends: tuple[Callable[[], object], ...] = (own.stop, own.kill)
            for number, end in enumerate(ends):
                end()
                own.start()
                log(f"after {number}")
                tail.until(lambda text=f"after {number}": text in tail.inputs())  # type: ignore[misc]
            assert tail.inputs()[-2:] == ["after 0", "after 1"]
            assert set(tail.inputs()[:-2]) == {"first"}
            assert any("the backend stops" in line for line in tail.complaints)
            began = time.monotonic()
            own.stop()
            assert_in_time(time.monotonic() - began, 2)  # who follows holds up no stop
        assert "Traceback" not in own.stderr


def test_tail_ends_when_its_key_is_revoked(backend: Backend, log: Log, session: str) -> None:
    made = call(backend, "POST", "/api/keys", json={"role": "read"}).json()
    with Tail(backend, "--json", "--session", session, key=made["key"]) as tail:
        tail.begun(log)
        call(backend, "DELETE", f"/api/keys/{made['id']}")
        assert tail.wait() == 2
        tail.until(lambda: len(tail.complaints) >= 2)
        assert "is not one of this backend's" in tail.complaints[-1]


def test_following_goes_on_behind_the_last_event(backend: Backend, log: Log, session: str) -> None:
    log("one")
    log("two")
    log("three")
    assert [data["input"] for _, data in events(backend, 3, session, after="0.0")] == ["one", "two", "three"]
    (first, *_) = events(backend, 1, session, after="0.0")
    resumed = events(backend, 2, session, after="0.0", last=first[0])
    assert [data["input"] for _, data in resumed] == ["two", "three"]


def events(
    backend: Backend, number: int, session: str, *, after: str, last: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The first calls of a stream, each with its id."""
    headers = {"X-API-Key": backend.api_key} | ({"Last-Event-ID": last} if last is not None else {})
    found: list[tuple[str, dict[str, Any]]] = []
    with requests.get(
        f"{backend.url}/api/calls/follow",
        params={"session": session, "after": after},
        headers=headers,
        stream=True,
        timeout=SECONDS,
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines(decode_unicode=True)
        ident = ""
        for line in lines:
            name, _, value = line.partition(": ")
            ident = value if name == "id" else ident
            if name == "data":
                found.append((ident, json.loads(value)))
                if len(found) == number:
                    break
    return found


# -- removed -------------------------------------------------------------------------------------------------


def test_delete_removes_what_is_a_persons(
    backend: Backend, log: Log, session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    user = f"user {uuid.uuid4()}"
    for _ in range(3):
        log(user_id=user)
    log(user_id="another")
    assert main(["delete", "--user", user]) == 2
    assert "Remove 3 calls of the user" in capsys.readouterr().err
    assert main(["delete", "--user", user, "--yes"]) == 0
    assert capsys.readouterr().out.startswith("removed 3 calls of the user ")
    assert len(backend.get("/api/calls", session=session)["calls"]) == 1
    (change, *_) = backend.get("/api/audit", subject="calls")["changes"]
    assert (change["action"], change["detail"]["calls"]) == ("calls.delete", 3)
    assert user not in json.dumps(change)
    assert main(["delete", "--session", session, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == 1


def test_delete_needs_a_filter_and_an_admin(backend: Backend, log: Log, session: str) -> None:
    log()
    for query in ({}, {"user": ""}, {"user": "x" * 501}, {"model": "m-1"}, {"user": "u", "since": "2026"}):
        assert call(backend, "DELETE", "/api/calls", params=query).status_code == 400
    for role in ("ingest", "read"):
        key = call(backend, "POST", "/api/keys", json={"role": role}).json()["key"]
        headers = {"X-API-Key": key}
        refused = call(backend, "DELETE", "/api/calls", params={"session": session}, headers=headers)
        assert refused.status_code == 403
    assert len(backend.get("/api/calls", session=session)["calls"]) == 1
