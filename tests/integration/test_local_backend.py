"""The local backend, asked over HTTP as a client would ask it, in a process of its own."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.support.backend import Backend

RECORD: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {"n": 1}}
CONFLICT = {"error": "this id belongs to a record with another content", "code": "id_conflict"}
TS = "2026-01-02T03:04:05.678Z"
KEYS = ("psk_local", "psk_ö%")
EXAMPLE_SEED = Path(__file__).parents[2] / "examples" / "seed.json"
MIB = 1024 * 1024
HALF_A_REQUEST = b"""\
POST /api/logs/prompt-usage HTTP/1.1\r
Host: localhost\r
X-API-Key: psk_local\r
Content-Length: 99\r
\r
{"""
EMPTY_GZIP = gzip.compress(b'{"records": []}')

SEED: dict[str, Any] = {
    "projects": ["p0", {"id": "p1", "name": "Project One"}],
    "prompts": [
        {
            "name": "greeting",
            "content": "Hello {{name}}",
            "version": "2",
            "versions": [{"version": "1", "content": "Hi"}],
        },
        {"name": "a/b", "content": "slash"},
        {"name": "ä ö", "content": "umlauts"},
        {"name": "100%", "content": "percent"},
        {"name": "greeting", "branch": "dev", "content": "Hello from dev"},
        {"name": "shared", "content": "for all"},
        {
            "name": "shared",
            "content": "for p1",
            "project": "p1",
            "metadata": {"k": [1]},
            "enable_logging": False,
        },
        {"name": "only-p2", "content": "for p2", "project": "p2"},
        {"name": "tested", "content": "default", "version": "0"},
    ],
    "experiments": [
        {
            "experiment_id": "half",
            "prompt_name": "tested",
            "sticky_type": "user_id",
            "versions": [
                {
                    "experiment_version_id": "half-a",
                    "version": "1a",
                    "content": "A",
                    "traffic_percentage": 25,
                },
                {
                    "experiment_version_id": "half-b",
                    "version": "1b",
                    "content": "B",
                    "traffic_percentage": 25,
                },
            ],
        },
        {
            "experiment_id": "over",
            "prompt_name": "tested",
            "status": "finished",
            "sticky_type": "session_id",
            "versions": [
                {"experiment_version_id": "over-a", "version": "9", "content": "O", "traffic_percentage": 100}
            ],
        },
    ],
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    seed = tmp_path_factory.mktemp("seed") / "seed.json"
    seed.write_text(json.dumps(SEED), "utf-8")
    with Backend(seed=seed, api_keys=KEYS) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


def call(backend: Backend, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"X-API-Key": backend.api_key, **options.pop("headers", {})}
    return requests.request(
        method, backend.url + path, headers=headers, timeout=10, allow_redirects=False, **options
    )


def post(backend: Backend, body: Any, **headers: str | bytes) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(backend, "POST", "/api/logs/prompt-usage", json=body, headers=named)


def post_batch(backend: Backend, envelope: Any, **headers: str) -> requests.Response:
    return call(backend, "POST", "/api/logs/prompt-usage/batch", json=envelope, headers=headers)


def entry(record_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": record_id or new_id(), "ts": TS, "body": RECORD} | changes


def new_id() -> str:
    return str(uuid.uuid4())


def stored(backend: Backend, record_id: str) -> dict[str, Any]:
    (found,) = [log for log in backend.logs() if log["id"] == record_id]
    return found


def prompt(backend: Backend, name: str, *pairs: tuple[str, str], **headers: str) -> requests.Response:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return call(backend, "GET", f"/api/logs/prompt/{quote(name, safe='')}", params=list(pairs), headers=named)


def sticky(key: str, value: str) -> list[tuple[str, str]]:
    return [("sticky_key", key), ("sticky_value", value)]


class TestKeys:
    @pytest.mark.parametrize("key", KEYS)
    def test_each_given_key_is_good(self, backend: Backend, key: str) -> None:
        """Any of the keys of the command line opens the door, whatever bytes it is made of."""
        answer = call(backend, "GET", "/api/auth/validate", headers={"X-API-Key": key.encode()})
        assert (answer.status_code, answer.json()) == (200, {"valid": True})

    @pytest.mark.parametrize(
        "headers", [{}, {"X-API-Key": ""}, {"X-API-Key": "psk_loca"}, {"X-API-Key": "\xe9"}]
    )
    @pytest.mark.parametrize(
        "path", ["/api/auth/validate", "/api/logs", "/api/projects", "/api/experiments/half"]
    )
    def test_no_key_or_another_is_a_401(self, backend: Backend, path: str, headers: dict[str, str]) -> None:
        """Without a good key there is nothing but a reason in JSON."""
        answer = requests.get(backend.url + path, headers=headers, timeout=10)
        assert answer.status_code == 401
        assert list(answer.json()) == ["error"]

    def test_a_refused_caller_stores_nothing(self, backend: Backend) -> None:
        """The key is looked at before the record."""
        before = backend.count()
        assert post(backend, RECORD, X_API_Key="psk_wrong").status_code == 401
        assert backend.count() == before


class TestLoggingOne:
    def test_a_record_is_stored_with_its_id_time_and_project(self, backend: Backend) -> None:
        """What was sent, body and headers, is what is read back."""
        body = RECORD | {
            "model": "m",
            "duration_ms": 1.5,
            "metadata": {"umlaut": "ä", "lone": "\ud800", "nul": "\0"},
        }
        record_id = new_id()
        answer = post(backend, body, Idempotency_Key=record_id, X_Event_Time=TS, X_Project_Id="p1")
        assert (answer.status_code, answer.json()) == (201, {"id": record_id})
        log = stored(backend, record_id)
        assert log.pop("received_at").endswith("+00:00")
        assert log.pop("seq") > 0
        assert log == {"id": record_id, "event_time": TS, "deliveries": 1, "project": "p1", "body": body}

    def test_without_headers_the_backend_makes_an_id(self, backend: Backend) -> None:
        """Two posts without a key are two records, of no known time and project."""
        first, second = post(backend, RECORD).json()["id"], post(backend, RECORD).json()["id"]
        assert first != second
        log = stored(backend, first)
        assert (log["event_time"], log["project"]) == (None, None)

    def test_a_repeat_is_counted_and_not_stored_again(self, backend: Backend) -> None:
        """An id is stored once, as it first came; later deliveries only count."""
        record_id, count, deliveries = new_id(), backend.count(), backend.deliveries()
        assert post(backend, RECORD, Idempotency_Key=record_id).status_code == 201
        again = post(backend, dict(reversed(RECORD.items())), Idempotency_Key=record_id)
        assert (again.status_code, again.json()) == (200, {"id": record_id, "repeat": True})
        assert (backend.count(), backend.deliveries()) == (count + 1, deliveries + 2)
        log = stored(backend, record_id)
        assert (log["deliveries"], log["body"]) == (2, RECORD)

    @pytest.mark.parametrize(
        ("change", "headers"),
        [
            ({"output": "other"}, {}),
            ({"metadata": {"n": True}}, {}),
            ({"output": "other"}, {"X_API_Key": KEYS[1].encode()}),
            ({}, {"X_Project_Id": "another"}),
        ],
    )
    def test_an_id_with_another_content_is_a_409(
        self, backend: Backend, change: dict[str, Any], headers: dict[str, Any]
    ) -> None:
        """Another body or project under a known id, whatever the key, is refused aloud and hides nothing."""
        record_id, before = new_id(), backend.count()
        post(backend, RECORD, Idempotency_Key=record_id)
        again = post(backend, RECORD | change, Idempotency_Key=record_id, **headers)
        assert (again.status_code, again.json()) == (409, {"id": record_id, **CONFLICT})
        log = stored(backend, record_id)
        assert (backend.count(), log["deliveries"], log["body"]) == (before + 1, 1, RECORD)

    def test_a_record_may_come_again_under_another_key(self, backend: Backend) -> None:
        """A key that was replaced stores what it sent before once, under either."""
        record_id = new_id()
        post(backend, RECORD, Idempotency_Key=record_id)
        again = post(backend, RECORD, Idempotency_Key=record_id, X_API_Key=KEYS[1].encode())
        assert (again.status_code, again.json()) == (200, {"id": record_id, "repeat": True})

    def test_ids_in_headers_are_utf_8_and_any_other_bytes_stay_apart(self, backend: Backend) -> None:
        """An id reads back as it was meant; two that differ are never taken for one."""
        meant = f"ä-{new_id()}"
        assert post(backend, RECORD, Idempotency_Key=meant.encode()).json() == {"id": meant}
        count = backend.count()
        for latin in (b"\xe4", b"\xe5"):
            post(backend, RECORD, Idempotency_Key=latin)
        assert backend.count() == count + 2

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"duration_ms": -5}, "duration_ms must be a number of milliseconds >= 0, was -5"),
            ({"input": None}, "input must be a string, was None"),
            ({"more": 1}, "more is no field of the body, was 1; the fields are input"),
        ],
    )
    def test_a_bad_record_is_a_422_with_the_reason(
        self, backend: Backend, changes: dict[str, Any], reason: str
    ) -> None:
        """The checks of the unit tests stand before the database."""
        before = backend.count()
        answer = post(backend, RECORD | changes)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(reason)
        assert backend.count() == before

    @pytest.mark.parametrize(
        "headers", [{"X_Event_Time": "yesterday"}, {"Idempotency_Key": ""}, {"Idempotency_Key": "x" * 256}]
    )
    def test_a_malformed_header_is_a_422_that_names_it(
        self, backend: Backend, headers: dict[str, str]
    ) -> None:
        """Headers are checked as fields are."""
        answer = post(backend, RECORD, **headers)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(next(iter(headers)).replace("_", "-") + " must be ")

    @pytest.mark.parametrize("data", [b"", b"{", b'{"input": NaN}', b"\xff\xfe", b"[" * 100_000])
    def test_a_body_that_is_no_json_is_a_400(self, backend: Backend, data: bytes) -> None:
        """The reason is given for what can't be read, too."""
        answer = call(backend, "POST", "/api/logs/prompt-usage", data=data)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("body isn't valid JSON: ")

    def test_a_body_over_the_limit_is_a_413_that_its_sender_gets_to_see(self, backend: Backend) -> None:
        """The answer arrives although the body was not wanted; just below the limit a body is read."""
        # Not requests, which overlooks a connection that breaks while it sends; other clients don't.
        sender = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=10)
        sender.request("POST", "/api/logs/prompt-usage", b"x" * (64 * MIB), {"X-API-Key": backend.api_key})
        assert sender.getresponse().status == 413
        sender.close()
        just_below = json.dumps({"input": "x" * (32 * MIB - 200)}).encode()
        assert call(backend, "POST", "/api/logs/prompt-usage", data=just_below).status_code == 422

    def test_a_small_body_that_unpacks_to_too_much_is_a_413(self, backend: Backend) -> None:
        """A gzip bomb goes off in nobody's memory."""
        bomb = gzip.compress(b" " * (33 * MIB))
        answer = call(
            backend, "POST", "/api/logs/prompt-usage", data=bomb, headers={"Content-Encoding": "gzip"}
        )
        assert answer.status_code == 413


class TestLoggingABatch:
    def test_an_empty_batch_says_what_is_understood(self, backend: Backend) -> None:
        """Clients find out by it that there are batches, and that they may be compressed."""
        answer = post_batch(backend, {"records": []})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "gzip": True})

    def test_a_batch_is_stored_in_order(self, backend: Backend) -> None:
        """A batch taken whole is answered in short, and reads back in the order it was sent in."""
        entries = [entry(body=RECORD | {"input": str(number)}) for number in range(250)]
        answer = post_batch(backend, {"records": entries}, **{"X-Project-Id": "p1"})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 250})
        logs = backend.logs()[-250:]
        assert [(log["id"], log["event_time"], log["body"]) for log in logs] == [
            (each["id"], each["ts"], each["body"]) for each in entries
        ]
        assert {log["project"] for log in logs} == {"p1"}

    def test_repeats_count_as_taken(self, backend: Backend) -> None:
        """An id stored before, or twice in one batch, is accepted, counted and not stored again."""
        known, twice, count = new_id(), new_id(), backend.count()
        post(backend, RECORD, Idempotency_Key=known)
        answer = post_batch(backend, {"records": [entry(known), entry(twice), entry(twice)]})
        assert answer.json() == {"accepted": 3}
        assert backend.count() == count + 2
        assert [stored(backend, each)["deliveries"] for each in (known, twice)] == [2, 2]

    def test_an_id_with_another_content_is_a_409_for_that_record(self, backend: Backend) -> None:
        """Against what is stored and within a batch; the neighbours are taken."""
        known, twice, fresh = new_id(), new_id(), new_id()
        post(backend, RECORD, Idempotency_Key=known)
        other = RECORD | {"input": "other"}
        entries = [entry(known, body=other), entry(twice), entry(twice, body=other), entry(fresh)]
        answer = post_batch(backend, {"records": entries})
        assert (answer.status_code, answer.json()["results"]) == (
            200,
            [
                {"id": known, "status": 409, **CONFLICT},
                {"id": twice, "status": 201},
                {"id": twice, "status": 409, **CONFLICT},
                {"id": fresh, "status": 201},
            ],
        )

    def test_a_refused_record_does_not_hold_up_the_others(self, backend: Backend) -> None:
        """Each record gets its own verdict, in order; only the good ones are stored."""
        known, fresh, wrong, late = (new_id() for _ in range(4))
        post(backend, RECORD, Idempotency_Key=known)
        count = backend.count()
        bad_body = entry(wrong, body=RECORD | {"duration_ms": -1})
        answer = post_batch(
            backend, {"records": [entry(fresh), bad_body, entry(known), entry(late, ts="late")]}
        )
        assert answer.status_code == 200
        assert answer.json()["results"] == [
            {"id": fresh, "status": 201},
            {
                "id": wrong,
                "status": 422,
                "error": "duration_ms must be a number of milliseconds >= 0, was -1",
            },
            {"id": known, "status": 200},
            {"id": late, "status": 422, "error": "ts must be an ISO-8601 date and time, was 'late'"},
        ]
        assert backend.count() == count + 1

    @pytest.mark.parametrize(
        "envelope", [[], {}, {"records": 5}, {"records": [entry(), 5]}, {"records": [entry(), entry(id=5)]}]
    )
    def test_a_mistake_in_the_envelope_stores_nothing(self, backend: Backend, envelope: Any) -> None:
        """What can't be answered record by record is refused whole."""
        before = backend.count()
        answer = post_batch(backend, envelope)
        assert answer.status_code == 422
        assert "must be" in answer.json()["error"]
        assert backend.count() == before

    def test_a_compressed_batch_is_taken(self, backend: Backend) -> None:
        """`Content-Encoding: gzip` is understood."""
        record_id = new_id()
        data = gzip.compress(json.dumps({"records": [entry(record_id)]}).encode())
        answer = self._post_gzip(backend, data)
        assert answer.json() == {"accepted": 1}
        assert stored(backend, record_id)["body"] == RECORD

    @pytest.mark.parametrize("damage", [b"no gzip", b"", EMPTY_GZIP[:-4], EMPTY_GZIP + b"x"])
    def test_a_corrupt_gzip_is_a_400(self, backend: Backend, damage: bytes) -> None:
        """Not gzip at all, empty, cut short, or followed by more: each is told."""
        answer = self._post_gzip(backend, damage)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("body isn't valid gzip: ")

    def test_another_encoding_is_a_415(self, backend: Backend) -> None:
        """What isn't understood isn't guessed at."""
        assert post_batch(backend, {"records": []}, **{"Content-Encoding": "br"}).status_code == 415

    def _post_gzip(self, backend: Backend, data: bytes) -> requests.Response:
        headers = {"Content-Encoding": "gzip"}
        return call(backend, "POST", "/api/logs/prompt-usage/batch", data=data, headers=headers)


class TestReadingBack:
    def test_pages_follow_one_another_without_gap_or_overlap(self, backend: Backend) -> None:
        """The cursor of a page leads to the next, and the last page has none."""
        post_batch(backend, {"records": [entry() for _ in range(5)]})
        everything = [log["seq"] for log in backend.logs()]
        page = backend.get("/api/logs", limit=3, after=everything[-6])
        following = backend.get("/api/logs", limit=2, after=page["next"])
        assert [log["seq"] for log in page["logs"] + following["logs"]] == everything[-5:]
        assert following["next"] is None

    def test_a_page_has_100_records_unless_told(self, backend: Backend) -> None:
        """The limit's default."""
        post_batch(backend, {"records": [entry() for _ in range(101)]})
        assert len(backend.get("/api/logs")["logs"]) == 100

    @pytest.mark.parametrize(
        "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"after": "-1"}, {"after": "9" * 5000}]
    )
    def test_a_wrong_limit_or_cursor_is_a_422(self, backend: Backend, query: dict[str, str]) -> None:
        """The answer names the parameter and its bounds."""
        answer = call(backend, "GET", "/api/logs", params=query)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(f"{next(iter(query))} must be a whole number from ")


class TestPrompts:
    def test_a_prompt_has_all_that_clients_read(self, backend: Backend) -> None:
        """The answer is the protocol's, without the fields of experiments when nobody asked."""
        found = prompt(backend, "greeting").json()
        assert found.pop("prompt_id")
        assert found == {
            "name": "greeting",
            "content": "Hello {{name}}",
            "version": "2",
            "branch": "main",
            "project": None,
            "enable_logging": True,
            "metadata": {},
        }

    @pytest.mark.parametrize("name", ["a/b", "ä ö", "100%"])
    def test_any_name_is_found(self, backend: Backend, name: str) -> None:
        """Slashes, spaces, percent signs and umlauts come through quoting."""
        assert prompt(backend, name).json()["name"] == name

    def test_branch_and_version_select(self, backend: Backend) -> None:
        """The current version of a branch, or an older one by name."""
        assert prompt(backend, "greeting", ("branch", "dev")).json()["content"] == "Hello from dev"
        old = prompt(backend, "greeting", ("version", "1")).json()
        assert (old["version"], old["content"]) == ("1", "Hi")

    def test_a_projects_own_prompt_goes_before_the_common_one(self, backend: Backend) -> None:
        """`X-Project-Id` selects; a prompt without project is everybody's."""
        assert prompt(backend, "shared").json()["content"] == "for all"
        assert prompt(backend, "shared", X_Project_Id="p2").json()["content"] == "for all"
        own = prompt(backend, "shared", X_Project_Id="p1").json()
        assert (own["content"], own["project"]) == ("for p1", "p1")
        assert (own["enable_logging"], own["metadata"]) == (False, {"k": [1]})

    def test_another_projects_prompt_is_not_found(self, backend: Backend) -> None:
        """A project sees its own prompts; a caller of no project sees all."""
        assert prompt(backend, "only-p2", X_Project_Id="p1").status_code == 404
        assert prompt(backend, "only-p2", X_Project_Id="p2").status_code == 200
        assert prompt(backend, "only-p2").status_code == 200

    @pytest.mark.parametrize(
        ("name", "query", "reason"),
        [
            ("x", [], "prompt 'x' not found on branch 'main'"),
            ("greeting", [("branch", "b")], "prompt 'greeting' not found on branch 'b'"),
            ("greeting", [("version", "7")], "prompt 'greeting' has no version '7' on branch 'main'"),
        ],
    )
    def test_what_is_not_there_is_a_404_in_json(
        self, backend: Backend, name: str, query: list[tuple[str, str]], reason: str
    ) -> None:
        """The reason tells prompt, branch and version apart."""
        answer = prompt(backend, name, *query)
        assert (answer.status_code, answer.json()) == (404, {"error": reason})


class TestRouting:
    def test_a_sticky_value_always_gets_the_same_version(self, backend: Backend) -> None:
        """The answer carries the version's content and says which experiment it is from."""
        user = self._user_with("A", backend)
        answers = [prompt(backend, "tested", *sticky("user_id", user)).json() for _ in range(2)]
        assert answers[0] == answers[1]
        expected = {
            "version": "1a",
            "content": "A",
            "experiment_id": "half",
            "experiment_version_id": "half-a",
            "sticky_key": "user_id",
            "sticky_value": user,
        }
        assert answers[0] | expected == answers[0]

    def test_who_is_outside_the_traffic_gets_the_default(self, backend: Backend) -> None:
        """Percentages below 100 leave the rest with the prompt's own version and a null experiment."""
        user = self._user_with("default", backend)
        answer = prompt(backend, "tested", *sticky("user_id", user)).json()
        assert (answer["version"], answer["experiment_id"]) == ("0", None)
        assert "experiment_version_id" not in answer

    def test_the_experiments_own_key_counts_among_several(self, backend: Backend) -> None:
        """Pairs for other keys come along and change nothing."""
        user = self._user_with("B", backend)
        pairs = [*sticky("customer_id", "c"), *sticky("user_id", user), *sticky("input_hash", "h")]
        answer = prompt(backend, "tested", *pairs).json()
        assert (answer["content"], answer["sticky_key"], answer["sticky_value"]) == ("B", "user_id", user)

    @pytest.mark.parametrize("name", ["tested", "greeting"])
    def test_where_no_experiment_applies_it_is_null(self, backend: Backend, name: str) -> None:
        """A key that only an ended experiment goes by, or a prompt without one: evaluated, and none."""
        answer = prompt(backend, name, *sticky("session_id", "s")).json()
        assert answer["experiment_id"] is None

    def test_a_version_asked_for_by_name_is_not_routed(self, backend: Backend) -> None:
        """Who pins a version gets it."""
        user = self._user_with("A", backend)
        answer = prompt(backend, "tested", ("version", "0"), *sticky("user_id", user)).json()
        assert (answer["content"], answer["experiment_id"]) == ("default", None)

    def test_half_a_sticky_pair_is_a_422(self, backend: Backend) -> None:
        """A key without a value is a mistake of the client, and is told so."""
        assert prompt(backend, "tested", ("sticky_key", "user_id")).status_code == 422

    def test_the_route_call_agrees_with_the_fetch(self, backend: Backend) -> None:
        """Both ways of routing give one value one version; outside the traffic none is selected."""
        for content, version_id in (("A", "half-a"), ("B", "half-b"), ("default", None)):
            answer = self._route(backend, stickyValue=self._user_with(content, backend))
            assert answer.status_code == 200
            assert answer.json()["selected_version_id"] == version_id
            assert answer.json()["prompt"]["content"] == content
            assert answer.json()["prompt"]["name"] == "tested"

    def test_an_ended_experiment_selects_nothing(self, backend: Backend) -> None:
        """Who still asks after the end gets the default version."""
        answer = self._route(backend, experimentId="over", stickyKey="session_id").json()
        assert (answer["selected_version_id"], answer["prompt"]["content"]) == (None, "default")

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"experimentId": "none"}, 404),
            ({"stickyKey": "session_id"}, 422),
            ({"stickyValue": 5}, 422),
            ({"more": 1}, 422),
            ({"apiKey": "psk_wrong"}, 401),
        ],
    )
    def test_a_wrong_route_call_is_refused(
        self, backend: Backend, changes: dict[str, Any], status: int
    ) -> None:
        """Unknown experiment, a key it doesn't go by, a wrong type, an unknown field, a bad key."""
        answer = self._route(backend, **changes)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]

    def test_an_experiment_tells_its_details(self, backend: Backend) -> None:
        """What a client needs to know before it routes."""
        assert backend.get("/api/experiments/half") == {
            "experiment_id": "half",
            "status": "running",
            "sticky_type": "user_id",
            "prompt_name": "tested",
            "branch": "main",
            "project_id": None,
            "salt": "half",
            "allocation": 2,
            "versions": SEED["experiments"][0]["versions"],
            "slots": {"half-a": [[0, 250_000]], "half-b": [[250_000, 500_000]]},
        }
        assert call(backend, "GET", "/api/experiments/none").status_code == 404

    def _route(self, backend: Backend, **changes: Any) -> requests.Response:
        body = {"experimentId": "half", "stickyKey": "user_id", "stickyValue": "u", "apiKey": backend.api_key}
        return call(backend, "POST", "/api/experiments/route", json=body | changes)

    def _user_with(self, content: str, backend: Backend) -> str:
        for number in range(100):
            user = f"user {number}/ä"
            if prompt(backend, "tested", *sticky("user_id", user)).json()["content"] == content:
                return user
        raise AssertionError(f"none of 100 users gets {content!r}")


class TestManagingPrompts:
    PATH = "/api/logs/cli/prompts"

    def test_a_prompt_from_its_making_to_its_removal(self, backend: Backend) -> None:
        """Made, versioned, changed, moved and removed; each step shows in what clients fetch."""
        name = new_id()
        made = call(backend, "POST", self.PATH, json={"name": name, "content": "one", "metadata": {"a": 1}})
        assert made.status_code == 201
        prompt_id = made.json()["id"]
        assert prompt(backend, name).json()["content"] == "one"

        version = {"name": name, "content": "two", "version": "2", "change_message": "better"}
        assert call(backend, "POST", f"{self.PATH}/version", json=version).status_code == 201
        assert prompt(backend, name).json()["content"] == "two"
        assert prompt(backend, name, ("version", made.json()["version"])).json()["content"] == "one"

        change = {"content": "three", "branch": "dev", "enable_logging": False, "metadata": {"b": 2}}
        assert call(backend, "PUT", f"{self.PATH}/{prompt_id}", json=change).status_code == 200
        assert prompt(backend, name).status_code == 404
        changed = prompt(backend, name, ("branch", "dev")).json()
        assert changed | change | {"version": "2", "prompt_id": prompt_id} == changed

        assert call(backend, "DELETE", f"{self.PATH}/{prompt_id}").status_code == 200
        assert prompt(backend, name, ("branch", "dev")).status_code == 404
        assert call(backend, "DELETE", f"{self.PATH}/{prompt_id}").status_code == 404

    def test_the_list_is_of_a_project_and_a_branch(self, backend: Backend) -> None:
        """Management speaks of `id` and `project_id`; a filter leaves out the others' prompts."""
        everything = backend.get(self.PATH)["prompts"]
        assert {"greeting", "a/b", "only-p2"} <= {each["name"] for each in everything}
        assert {"id", "name", "content", "version", "branch", "project_id", "metadata"} <= set(everything[0])
        of_p1 = backend.get(self.PATH, project_id="p1")["prompts"]
        assert {each["project_id"] for each in of_p1} == {"p1", None}
        assert {each["branch"] for each in backend.get(self.PATH, branch="dev")["prompts"]} == {"dev"}

    def test_what_exists_is_a_409(self, backend: Backend) -> None:
        """Neither a prompt nor a version nor a branch's prompt is written over by accident."""
        name = new_id()
        for branch in ("main", "dev"):
            body = {"name": name, "content": "x", "branch": branch}
            assert call(backend, "POST", self.PATH, json=body).status_code == 201
            again = call(backend, "POST", self.PATH, json=body)
            assert again.status_code == 409
        version = {"name": name, "content": "y", "version": "1.0"}
        assert call(backend, "POST", f"{self.PATH}/version", json=version).status_code == 409
        prompt_id = prompt(backend, name).json()["prompt_id"]
        moved = call(backend, "PUT", f"{self.PATH}/{prompt_id}", json={"branch": "dev"})
        assert moved.status_code == 409
        assert prompt(backend, name).json()["content"] == "x"

    def test_a_project_may_have_a_name_that_another_has(self, backend: Backend) -> None:
        """Names are a project's own."""
        name = new_id()
        for project_id in ("p1", "p2"):
            body = {"name": name, "content": project_id, "project_id": project_id}
            assert call(backend, "POST", self.PATH, json=body).status_code == 201
        assert prompt(backend, name, X_Project_Id="p2").json()["content"] == "p2"

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "", {"name": "n"}, 422),
            ("POST", "", {"name": "", "content": "c"}, 422),
            ("POST", "", {"name": "n", "content": "c", "color": "red"}, 422),
            ("POST", "/version", {"name": "greeting", "content": "c"}, 422),
            ("POST", "/version", {"name": "nobody", "content": "c", "version": "3"}, 404),
            ("PUT", "/nobody", {"content": "c"}, 404),
            ("PUT", "/nobody", {"enable_logging": "yes"}, 422),
        ],
    )
    def test_a_wrong_call_is_refused(
        self, backend: Backend, method: str, path: str, body: dict[str, Any], status: int
    ) -> None:
        """Missing, empty, unknown and mistyped fields, and prompts that aren't there."""
        assert call(backend, method, self.PATH + path, json=body).status_code == status

    def test_projects_are_known_from_seed_and_prompts(self, backend: Backend) -> None:
        """A project needs no making; its name is what the seed says, else its id."""
        projects = backend.get("/api/projects")["projects"]
        assert {"id": "p0", "name": "p0"} in projects
        assert {"id": "p2", "name": "p2"} in projects
        assert backend.get("/api/projects/p1") == {"id": "p1", "name": "Project One"}
        assert call(backend, "GET", "/api/projects/none").status_code == 404


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/api/nothing", 404),
            ("GET", "/api/logs/", 404),
            ("DELETE", "/api/logs", 405),
        ],
    )
    def test_an_unknown_path_or_method_is_told_in_json(
        self, backend: Backend, method: str, path: str, status: int
    ) -> None:
        """No HTML and no redirect, whatever is asked."""
        answer = call(backend, method, path)
        assert answer.status_code == status
        assert answer.json()["error"].endswith(f": {method} {path}")

    def test_a_request_broken_off_is_no_error_of_the_backend(self, backend: Backend) -> None:
        """Clients die; the next one is served, and the log has no traceback."""
        with socket.create_connection(("127.0.0.1", backend.port)) as broken:
            broken.sendall(HALF_A_REQUEST)
        assert post(backend, RECORD).status_code == 201  # and the fixture's end looks for tracebacks

    def test_an_unexpected_exception_is_a_500_in_json_with_a_logged_traceback(self) -> None:
        """Rows that are not what the backend wrote: the client gets JSON, the log the traceback."""
        with Backend() as backend:
            record_id = post(backend, RECORD).json()["id"]
            with sqlite3.connect(backend.db) as meddler:
                meddler.execute("UPDATE logs SET body = 'damaged' WHERE id = ?", (record_id,))
            meddler.close()
            answer = call(backend, "GET", "/api/logs")
            assert answer.status_code == 500
            assert answer.json() == {"error": "internal error; the backend's log has the traceback"}
            backend.stop()  # the traceback is logged after the answer has gone out
            assert "Traceback" in backend.stderr

    def test_a_database_in_trouble_is_a_503(self) -> None:
        """A client is told to try again, since the trouble may pass."""
        with Backend() as backend:
            with sqlite3.connect(backend.db) as meddler:
                meddler.execute("ALTER TABLE logs RENAME TO elsewhere")
            meddler.close()
            answer = post(backend, RECORD)
            assert answer.status_code == 503
            assert "logs" in answer.json()["error"]

    def test_a_locked_database_is_a_503_and_no_later_record_is_lost(self) -> None:
        """While another program holds the file nothing is promised; after that all is well."""
        with Backend() as backend:
            holder = sqlite3.connect(backend.db, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            assert post(backend, RECORD).status_code == 503
            holder.rollback()
            holder.close()
            assert post(backend, RECORD).status_code == 201
            backend.kill()
            backend.start()
            assert backend.count() == 1


class TestLife:
    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_what_was_answered_is_there_after_a_restart(self, how: str) -> None:
        """Neither SIGTERM nor SIGKILL takes a record, a prompt or a repeat's memory."""
        with Backend() as backend:
            record_id, url = new_id(), backend.url
            assert post(backend, RECORD, Idempotency_Key=record_id).status_code == 201
            post_batch(backend, {"records": [entry() for _ in range(100)]})
            assert call(backend, "POST", "/api/logs/cli/prompts", json={"name": "n", "content": "c"}).ok
            getattr(backend, how)()
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=2)
            backend.start()
            assert (backend.url, backend.count()) == (url, 101)
            assert post(backend, RECORD, Idempotency_Key=record_id).status_code == 200
            assert prompt(backend, "n").json()["content"] == "c"

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_a_wanted_stop_is_a_success_and_silent(self, signum: signal.Signals) -> None:
        """SIGTERM and Ctrl-C end with 0, with nothing on stderr, even while a client keeps its connection."""
        with Backend() as backend, requests.Session() as session:
            session.get(backend.url + "/api/logs/count", headers={"X-API-Key": backend.api_key}, timeout=5)
            assert backend.stop(signum) == 0
            assert backend.stderr == ""

    def test_a_body_that_never_comes_does_not_hold_up_the_stop(self) -> None:
        """A request that is still arriving is given up after a while, answered and not a traceback."""
        with Backend() as backend, socket.create_connection(("127.0.0.1", backend.port), timeout=10) as slow:
            slow.sendall(HALF_A_REQUEST)
            assert backend.count() == 0  # so that the half request has been seen
            assert backend.stop() == 0
            assert slow.recv(1000).startswith(b"HTTP/1.1 503 ")
            assert "Traceback" not in backend.stderr

    def test_the_banner_tells_address_database_and_key(self, backend: Backend) -> None:
        """The first line is the address alone; keys that were given are not shown."""
        first, *others = backend.banner.splitlines()
        assert first == f"banyan-hp local backend on {backend.url}"
        assert str(backend.db) in others[0]
        assert not any(key in backend.banner for key in KEYS)

    def test_the_database_is_its_owners_alone(self, backend: Backend) -> None:
        """Records are personal data: no other user can read the file or its log."""
        modes = {path.name: path.stat().st_mode & 0o777 for path in backend.db.parent.glob("*.sqlite3*")}
        assert len(modes) >= 2
        assert set(modes.values()) == {0o600}

    def test_requests_are_logged_only_when_verbose(self, backend: Backend) -> None:
        """No access log, unless asked for; then on stderr."""
        assert "GET /api/" not in backend.stderr
        with Backend(options=["--verbose"]) as talkative:
            talkative.count()
            assert "GET /api/logs/count" in talkative.stderr


class TestSeed:
    def test_the_examples_seed_is_good(self) -> None:
        """The file that the README starts the backend with has the prompts of the examples."""
        with Backend(seed=EXAMPLE_SEED) as backend:
            assert "{{name}}" in prompt(backend, "quickstart").json()["content"]
            for name in ("marketing-email", "my-prompt", "prompt_name"):
                assert prompt(backend, name).status_code == 200
            routed = prompt(backend, "marketing-email", *sticky("user_id", "u")).json()
            assert routed["experiment_version_id"] is not None

    def test_the_same_seed_again_changes_nothing_and_an_edited_entry_counts(self, tmp_path: Path) -> None:
        """A restart keeps what was changed through the API; an edit of the file comes through."""
        seed = tmp_path / "seed.json"
        shutil.copy(EXAMPLE_SEED, seed)
        with Backend(seed=seed) as backend:
            version = {"name": "quickstart", "content": "newer", "version": "9"}
            assert call(backend, "POST", "/api/logs/cli/prompts/version", json=version).status_code == 201
            before = self._everything(backend)
            backend.stop()
            backend.start()
            assert self._everything(backend) == before

            backend.stop()
            seed.write_text(json.dumps({"prompts": [{"name": "quickstart", "content": "edited"}]}), "utf-8")
            backend.start()
            assert prompt(backend, "quickstart").json()["content"] == "edited"
            assert prompt(backend, "my-prompt").status_code == 200

    def _everything(self, backend: Backend) -> list[Any]:
        paths = ("/api/logs/cli/prompts", "/api/experiments/marketing-email-tone", "/api/projects")
        return [backend.get(path) for path in paths]


def refused_start(*arguments: str) -> str:
    """Start the backend with something wrong, and return its one line on stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "banyan_hp.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


class TestRefusedStarts:
    def test_a_busy_port_is_named(self, backend: Backend, tmp_path: Path) -> None:
        """Two backends on one port: the second says which."""
        line = refused_start("--port", str(backend.port), "--db", str(tmp_path / "db"))
        assert line.startswith(f"banyan-hp: can't listen on 127.0.0.1:{backend.port}: ")

    @pytest.mark.parametrize("path", ["missing/db", "."])
    def test_an_unusable_database_path_is_named(self, path: str, tmp_path: Path) -> None:
        """A directory that isn't there, or is in the file's place."""
        line = refused_start("--port", "0", "--db", str(tmp_path / path))
        assert line.startswith(f"banyan-hp: can't use the database {tmp_path / path}: ")

    def test_a_file_that_is_no_database_is_left_alone(self, tmp_path: Path) -> None:
        """Somebody's notes are not written over."""
        notes = tmp_path / "notes.txt"
        notes.write_text("my notes " * 100, "utf-8")
        assert "file is not a database" in refused_start("--port", "0", "--db", str(notes))
        assert notes.read_text("utf-8") == "my notes " * 100

    def test_another_programs_database_is_left_alone(self, tmp_path: Path) -> None:
        """Somebody's tables get no company."""
        path = tmp_path / "other.sqlite3"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE logs (x)")
        other.close()
        before = path.read_bytes()
        assert "it holds the tables of another program" in refused_start("--port", "0", "--db", str(path))
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("seed", "flaw"),
        [
            ("{", "isn't valid JSON: "),
            ("[]", "seed must be a JSON object, was []"),
            ({"prompt": []}, "prompt is no field of the seed, was []"),
            (
                {"prompts": [{"name": "n", "content": "c"}, {"name": "m"}]},
                "prompts[1].content must be a string",
            ),
            ({"prompts": [{"name": "n", "content": "c", "branch": 5}]}, "prompts[0].branch must be a string"),
            ({"prompts": [{"name": "n", "content": "c"}] * 2}, "prompts[1] is there twice: prompt n main"),
            (
                {"prompts": [{"name": "n", "content": "c", "versions": [{"version": "1"}]}]},
                "prompts[0].versions[0].content must be a string",
            ),
            ({"projects": [{}]}, "projects[0].id must be a string"),
            ({"experiments": [{"experiment_id": "e"}]}, "experiments[0].prompt_name must be a string"),
            (
                {"experiments": [SEED["experiments"][0]]},
                "experiments[0].prompt_name must be a prompt on branch 'main', was 'tested'",
            ),
            (
                {
                    "experiments": [
                        SEED["experiments"][0] | {"versions": SEED["experiments"][1]["versions"] * 2}
                    ]
                },
                "experiments[0].versions[1].experiment_version_id is there twice: 'over-a'",
            ),
            (
                {
                    "experiments": [
                        SEED["experiments"][0]
                        | {
                            "versions": SEED["experiments"][0]["versions"]
                            + SEED["experiments"][1]["versions"]
                        }
                    ]
                },
                "experiments[0].versions must have traffic_percentage of at most 100.01 together, was 150",
            ),
        ],
    )
    def test_a_flaw_in_the_seed_is_named_with_file_entry_and_field(
        self, seed: Any, flaw: str, tmp_path: Path
    ) -> None:
        """Whoever wrote the file can go to the place."""
        path = tmp_path / "seed.json"
        path.write_text(seed if isinstance(seed, str) else json.dumps(seed), "utf-8")
        line = refused_start("--port", "0", "--db", str(tmp_path / "db"), "--seed", str(path))
        assert str(path) in line
        assert flaw in line

    def test_a_host_that_is_no_name_is_named(self, tmp_path: Path) -> None:
        """What can't be looked up is told as what can't be bound."""
        line = refused_start("--host", "a..b", "--port", "0", "--db", str(tmp_path / "db"))
        assert line.startswith("banyan-hp: can't listen on a..b:0: ")

    def test_a_missing_seed_is_named(self, tmp_path: Path) -> None:
        """A wrong path is told as such."""
        line = refused_start(
            "--port", "0", "--db", str(tmp_path / "db"), "--seed", str(tmp_path / "none.json")
        )
        assert line == f"banyan-hp: can't read the seed {tmp_path / 'none.json'}: No such file or directory\n"
