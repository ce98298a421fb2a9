"""The local backend's usage records over HTTP: keys, logging one and many, reading back."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import NewDatabase
from tests.support.backend import Backend
from tests.support.local_backend import (
    CONFLICT,
    EMPTY_GZIP,
    KEYS,
    MIB,
    RECORD,
    SHOWN_TS,
    TS,
    call,
    entry,
    new_id,
    post,
    post_batch,
    seeded_backend,
    stored,
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Backend]:
    with seeded_backend(tmp_path_factory.mktemp("seed"), new_database()) as backend:
        yield backend


class TestKeys:
    @pytest.mark.parametrize("key", KEYS)
    def test_each_given_key_is_good(self, backend: Backend, key: str) -> None:
        """Any of the keys of the command line opens the door, whatever bytes it is made of."""
        answer = call(backend, "GET", "/api/auth/validate", headers={"X-API-Key": key.encode()})
        told = {"valid": True, "project": "default", "role": "admin"}
        assert (answer.status_code, answer.json()) == (200, told)

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
        answer = post(backend, body, Idempotency_Key=record_id, X_Event_Time=TS, X_Project_Id="default")
        assert (answer.status_code, answer.json()) == (201, {"id": record_id})
        log = stored(backend, record_id)
        assert log.pop("received_at").endswith("+00:00")
        assert log.pop("seq") > 0
        assert log == {
            "id": record_id,
            "event_time": SHOWN_TS,
            "deliveries": 1,
            "project": "default",
            "session_id": None,
            "body": body,
        }

    def test_without_headers_the_backend_makes_an_id(self, backend: Backend) -> None:
        """Two posts without a key are two records, of the time of their arrival."""
        first, second = post(backend, RECORD).json()["id"], post(backend, RECORD).json()["id"]
        assert first != second
        log = stored(backend, first)
        assert log["event_time"] == log["received_at"]

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
        ],
    )
    def test_an_id_with_another_content_is_a_409(
        self, backend: Backend, change: dict[str, Any], headers: dict[str, Any]
    ) -> None:
        """Another body under a known id, whichever key of the project, is refused aloud and hides nothing."""
        record_id, before = new_id(), backend.count()
        post(backend, RECORD, Idempotency_Key=record_id)
        again = post(backend, RECORD | change, Idempotency_Key=record_id, **headers)
        assert (again.status_code, again.json()) == (409, {"id": record_id, **CONFLICT})
        log = stored(backend, record_id)
        assert (backend.count(), log["deliveries"], log["body"]) == (before + 1, 1, RECORD)

    def test_an_id_may_be_used_again_on_another_day(self, backend: Backend) -> None:
        """Ids are unique within the day of their events, which stays the same through all repeats."""
        record_id, times = (
            new_id(),
            ("2026-01-02T23:59:59Z", "2026-01-03T01:59:59+02:00", "2026-01-03T00:00:00Z"),
        )
        statuses = [
            post(backend, RECORD, Idempotency_Key=record_id, X_Event_Time=time).status_code for time in times
        ]
        assert statuses == [201, 200, 201]

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
            ({"duration_ms": -5}, "duration_ms must be a number >= 0, was -5"),
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
        answer = post_batch(backend, {"records": entries})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 250})
        logs = backend.logs()[-250:]
        assert [(log["id"], log["event_time"], log["body"]) for log in logs] == [
            (each["id"], SHOWN_TS, each["body"]) for each in entries
        ]

    def test_repeats_count_as_taken(self, backend: Backend) -> None:
        """An id stored before, or twice in one batch, is accepted, counted and not stored again."""
        known, twice, count = new_id(), new_id(), backend.count()
        post(backend, RECORD, Idempotency_Key=known, X_Event_Time=TS)
        answer = post_batch(backend, {"records": [entry(known), entry(twice), entry(twice)]})
        assert answer.json() == {"accepted": 3}
        assert backend.count() == count + 2
        assert [stored(backend, each)["deliveries"] for each in (known, twice)] == [2, 2]

    def test_an_id_with_another_content_is_a_409_for_that_record(self, backend: Backend) -> None:
        """Against what is stored and within a batch; the neighbours are taken."""
        known, twice, fresh = new_id(), new_id(), new_id()
        post(backend, RECORD, Idempotency_Key=known, X_Event_Time=TS)
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
        post(backend, RECORD, Idempotency_Key=known, X_Event_Time=TS)
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
                "error": "duration_ms must be a number >= 0, was -1",
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

    def test_a_record_is_found_by_its_id(self, backend: Backend) -> None:
        """Whichever page it would be on."""
        wanted = new_id()
        post_batch(backend, {"records": [entry(wanted), entry()]})
        page = backend.get("/api/logs", id=wanted)
        assert ([log["id"] for log in page["logs"]], page["next"]) == ([wanted], None)
        assert backend.get("/api/logs/count", id=wanted) == {"count": 1, "deliveries": 1}
        assert backend.get("/api/logs", id="unknown")["logs"] == []

    def test_the_newest_come_first_if_asked_for(self, backend: Backend) -> None:
        """The cursor of such a page is for `before`; both cursors limit either order."""
        post_batch(backend, {"records": [entry() for _ in range(5)]})
        everything = [log["seq"] for log in backend.logs()]
        page = backend.get("/api/logs", order="newest", limit=2)
        following = backend.get("/api/logs", order="newest", limit=3, before=page["next"])
        assert [log["seq"] for log in page["logs"] + following["logs"]] == everything[-5:][::-1]
        between = {"after": everything[-4], "before": everything[-1]}
        assert [log["seq"] for log in backend.get("/api/logs", **between)["logs"]] == everything[-3:-1]
        ended = backend.get("/api/logs", order="newest", after=everything[-3], limit=2)
        assert ([log["seq"] for log in ended["logs"]], ended["next"]) == (everything[-2:][::-1], None)

    @pytest.mark.parametrize(
        "path",
        [
            *("/api/logs", "/api/logs/count", "/api/interactions", "/api/interactions/count"),
            *("/api/logs/prompt/tested", "/api/logs/cli/prompts", "/api/experiments", "/api/projects"),
            *("/api/auth/validate", "/api/experiments/half"),
        ],
    )
    def test_an_unknown_parameter_is_refused(self, backend: Backend, path: str) -> None:
        """Not ignored: a misspelt filter would choose every record. The answer names those there are."""
        answer = call(backend, "GET", path, params={"limitt": "5"})
        assert answer.status_code == 400
        told = re.fullmatch(
            r"'limitt' is no parameter of this call, was '5'; "
            r"(the parameters are \w.*|there are no parameters)",
            answer.json()["error"],
        )
        assert told is not None

    def test_an_order_that_there_is_not_is_refused(self, backend: Backend) -> None:
        """The answer names the two."""
        answer = call(backend, "GET", "/api/logs", params={"order": "down"})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "order must be oldest or newest, was 'down'",
        )

    @pytest.mark.parametrize(
        "query",
        [
            *({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"after": "-1"}, {"after": "9" * 5000}),
            *({"before": "x"}, {"after": "1.x"}, {"before": "1.2.3"}),
        ],
    )
    def test_a_wrong_limit_or_cursor_is_a_400(self, backend: Backend, query: dict[str, str]) -> None:
        """The answer names the parameter and what is allowed."""
        answer = call(backend, "GET", "/api/logs", params=query)
        assert answer.status_code == 400
        wanted = r"a whole number from 1 to 1000|the next of another page"
        assert re.match(rf"{next(iter(query))} must be ({wanted}), was ", answer.json()["error"])
