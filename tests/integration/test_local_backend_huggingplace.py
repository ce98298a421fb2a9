"""The local backend's HuggingPlace API, asked over HTTP in a process of its own."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from banyan_hp import HuggingPlace
from tests.conftest import NewDatabase
from tests.support.backend import Backend
from tests.support.local_backend import SHOWN_TS, TS
from tests.support.untyped import untyped

STORE = "/v2/chatgpt/store_generated_response"
INTERACTION: dict[str, Any] = {
    "user_prompt": "question",
    "response": "answer",
    "org_id": "org",
    "mode": "dev",
}
KEYS = ("psk_local", "hp ö%")


@pytest.fixture(scope="module")
def backend(new_database: NewDatabase) -> Iterator[Backend]:
    with Backend(db=new_database(), api_keys=KEYS) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


def call(backend: Backend, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {backend.api_key}", **options.pop("headers", {})}
    return requests.request(method, backend.url + path, headers=headers, timeout=10, **options)


def post(backend: Backend, body: Any, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(backend, "POST", STORE, json=body, headers=named)


def post_batch(backend: Backend, envelope: Any) -> requests.Response:
    return call(backend, "POST", f"{STORE}/batch", json=envelope)


def entry(record_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": record_id or new_id(), "ts": TS, "body": INTERACTION} | changes


def new_id() -> str:
    return str(uuid.uuid4())


def client(backend: Backend) -> HuggingPlace:
    return HuggingPlace(backend.api_key, "org", base_url=backend.url, spool=False)


def stored(backend: Backend, record_id: str) -> dict[str, Any]:
    (found,) = [each for each in backend.interactions() if each["id"] == record_id]
    return found


class TestKeys:
    @pytest.mark.parametrize("path", [STORE, f"{STORE}/batch"])
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer psk_loca"},
            {"Authorization": "psk_local"},
            {"Authorization": "Basic psk_local"},
            {"Authorization": "Bearer \xe9"},
            {"X-API-Key": "psk_loca"},
        ],
    )
    def test_without_a_good_key_it_is_a_401_and_nothing_is_stored(
        self, backend: Backend, path: str, headers: dict[str, str]
    ) -> None:
        """Another scheme, another key or none opens nothing."""
        before = backend.interactions_count()
        answer = requests.post(backend.url + path, json=INTERACTION, headers=headers, timeout=10)
        assert answer.status_code == 401
        assert list(answer.json()) == ["error"]
        assert backend.interactions_count() == before

    @pytest.mark.parametrize("token", ["Bearer psk_local", "bearer  psk_local", "Bearer hp ö%"])
    def test_any_of_the_backends_keys_is_a_good_token(self, backend: Backend, token: str) -> None:
        """The keys are those of the Banyan API, whatever bytes they are made of."""
        headers = {"Authorization": token.encode()}
        assert call(backend, "POST", STORE, json=INTERACTION, headers=headers).status_code == 200

    @pytest.mark.parametrize("path", ["/api/interactions", "/api/interactions/count", "/api/logs/count"])
    def test_callers_may_show_the_key_either_way(self, backend: Backend, path: str) -> None:
        """A good key in one of the two headers is enough; without any it is a 401 that names both."""
        bad, good = {"X-API-Key": "psk_wrong"}, {"Authorization": "Bearer psk_local"}
        statuses = [
            requests.get(backend.url + path, headers=headers, timeout=10).status_code
            for headers in (good, {"X-API-Key": "psk_local"}, bad | good, bad)
        ]
        assert statuses == [200, 200, 200, 401]
        reason = requests.get(backend.url + path, timeout=10).json()["error"]
        assert "Authorization: Bearer" in reason
        assert "X-API-Key" in reason


class TestLoggingOne:
    def test_an_interaction_is_stored_as_it_is(self, backend: Backend) -> None:
        """Every field reads back as it was sent, those that nobody knows included."""
        body = INTERACTION | {
            "response": {"choices": ["ä", "\ud800", "\0"]},
            "token_count": 12,
            "response_time": 0.5,
            "step_data": [{"type": "search"}],
            "user_metadata": {"plan": None},
            "session_id": "s-1",
            "llm_model": "m",
            "any thing": [1.5, {"deep": True}],
        }
        record_id = new_id()
        answer = post(backend, body, Idempotency_Key=record_id, X_Event_Time=TS)
        assert (answer.status_code, answer.json()) == (200, {"message": "stored", "id": record_id})
        found = stored(backend, record_id)
        assert found.pop("received_at").endswith("+00:00")
        assert found.pop("seq") > 0
        assert found == {
            "id": record_id,
            "event_time": SHOWN_TS,
            "deliveries": 1,
            "project": "default",
            "session_id": "s-1",
            "body": body,
        }

    def test_without_headers_the_backend_makes_an_id(self, backend: Backend) -> None:
        """Two posts without a key are two interactions of no known session, of the time of their arrival."""
        first, second = (post(backend, INTERACTION).json()["id"] for _ in range(2))
        assert uuid.UUID(first).version == 4
        assert first != second
        found = stored(backend, first)
        assert (found["event_time"], found["session_id"]) == (found["received_at"], None)

    def test_a_repeat_is_counted_and_not_stored_again(self, backend: Backend) -> None:
        """An id is stored once, as it first came; later deliveries only count."""
        record_id, before = new_id(), backend.get("/api/interactions/count")
        post(backend, INTERACTION, Idempotency_Key=record_id)
        again = post(backend, INTERACTION, Idempotency_Key=record_id)
        assert again.status_code == 200
        assert again.json() == {"message": "stored", "id": record_id, "repeat": True}
        assert backend.get("/api/interactions/count") == {
            "count": before["count"] + 1,
            "deliveries": before["deliveries"] + 2,
        }
        found = stored(backend, record_id)
        assert (found["deliveries"], found["body"]) == (2, INTERACTION)

    @pytest.mark.parametrize("change", [{"response": "other"}, {"org_id": "other"}])
    def test_an_id_with_another_content_is_a_409(self, backend: Backend, change: dict[str, str]) -> None:
        """Another answer, or another organisation, under a known id is refused aloud and hides nothing."""
        record_id = new_id()
        post(backend, INTERACTION, Idempotency_Key=record_id)
        again = post(backend, INTERACTION | change, Idempotency_Key=record_id)
        assert (again.status_code, again.json()["code"]) == (409, "id_conflict")
        found = stored(backend, record_id)
        assert (found["deliveries"], found["body"]) == (1, INTERACTION)

    def test_interactions_and_usage_records_are_kept_apart(self, backend: Backend) -> None:
        """Neither counts for the other; an id belongs to one of them, as it does to one record."""
        record_id, logs = new_id(), backend.count()
        post(backend, INTERACTION, Idempotency_Key=record_id)
        assert backend.count() == logs
        interactions = backend.interactions_count()
        usage = {"input": "question", "output": "answer", "metadata": {}}
        headers = {"X-API-Key": backend.api_key, "Idempotency-Key": record_id}
        assert call(backend, "POST", "/api/logs/prompt-usage", json=usage, headers=headers).status_code == 409
        headers = {"X-API-Key": backend.api_key, "Idempotency-Key": new_id()}
        assert call(backend, "POST", "/api/logs/prompt-usage", json=usage, headers=headers).status_code == 201
        assert (backend.count(), backend.interactions_count()) == (logs + 1, interactions)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ([], "body must be a JSON object, was []"),
            ({**INTERACTION, "mode": "test"}, "mode must be prod or dev, was 'test'"),
            ({**INTERACTION, "token_count": True}, "token_count must be a number >= 0, was True"),
            (
                {"response": "answer"},
                "user_prompt must be a value, not null or empty, nested at most 200 deep, was missing",
            ),
        ],
    )
    def test_a_bad_interaction_is_a_400_with_the_reason(
        self, backend: Backend, body: Any, reason: str
    ) -> None:
        """The checks of the unit tests stand before the database."""
        before = backend.interactions_count()
        answer = post(backend, body)
        assert (answer.status_code, answer.json()) == (400, {"error": reason})
        assert backend.interactions_count() == before

    @pytest.mark.parametrize(
        "headers", [{"X_Event_Time": "yesterday"}, {"Idempotency_Key": ""}, {"Idempotency_Key": "x" * 256}]
    )
    def test_a_malformed_header_is_a_400_that_names_it(
        self, backend: Backend, headers: dict[str, str]
    ) -> None:
        """Headers are checked as fields are."""
        answer = post(backend, INTERACTION, **headers)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(next(iter(headers)).replace("_", "-") + " must be ")

    @pytest.mark.parametrize("data", [b"", b"{", b'{"response": NaN}', b"\xff\xfe"])
    def test_a_body_that_is_no_json_is_a_400(self, backend: Backend, data: bytes) -> None:
        """The reason is given for what can't be read, too."""
        answer = call(backend, "POST", STORE, data=data)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("body isn't valid JSON: ")


class TestLoggingABatch:
    def test_an_empty_batch_says_what_is_understood(self, backend: Backend) -> None:
        """Clients find out by it that there are batches, and that they may be compressed."""
        answer = post_batch(backend, {"records": []})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "gzip": True})

    def test_a_batch_is_stored_in_order(self, backend: Backend) -> None:
        """A batch taken whole is answered in short, repeats included, and reads back as it was sent."""
        session = new_id()
        entries = [
            entry(body=INTERACTION | {"user_prompt": str(number), "session_id": session})
            for number in range(250)
        ]
        answer = post_batch(backend, {"records": [*entries, entries[0]]})
        assert (answer.status_code, answer.json()) == (200, {"accepted": 251})
        found = backend.interactions(session)
        assert [(each["id"], each["event_time"], each["body"]) for each in found] == [
            (each["id"], SHOWN_TS, each["body"]) for each in entries
        ]
        assert [found[0]["deliveries"], found[1]["deliveries"]] == [2, 1]

    def test_a_refused_interaction_does_not_hold_up_the_others(self, backend: Backend) -> None:
        """Each gets its own verdict, in order; only the good ones are stored."""
        known, fresh, wrong, late = (new_id() for _ in range(4))
        post(backend, INTERACTION, Idempotency_Key=known, X_Event_Time=TS)
        count = backend.interactions_count()
        bad_body = entry(wrong, body=INTERACTION | {"org_id": ""})
        answer = post_batch(
            backend, {"records": [entry(fresh), bad_body, entry(known), entry(late, ts="late")]}
        )
        assert answer.status_code == 200
        assert answer.json()["results"] == [
            {"id": fresh, "status": 200},
            {"id": wrong, "status": 400, "error": "org_id must be a string that isn't empty, was ''"},
            {"id": known, "status": 200},
            {"id": late, "status": 400, "error": "ts must be an ISO-8601 date and time, was 'late'"},
        ]
        assert backend.interactions_count() == count + 1

    @pytest.mark.parametrize("envelope", [[], {}, {"records": 5}, {"records": [entry(), entry(id=5)]}])
    def test_a_mistake_in_the_envelope_is_a_400_and_stores_nothing(
        self, backend: Backend, envelope: Any
    ) -> None:
        """What can't be answered one by one is refused whole."""
        before = backend.interactions_count()
        answer = post_batch(backend, envelope)
        assert answer.status_code == 400
        assert "must be" in answer.json()["error"]
        assert backend.interactions_count() == before

    def test_a_compressed_batch_is_taken(self, backend: Backend) -> None:
        """`Content-Encoding: gzip` is understood."""
        record_id = new_id()
        data = gzip.compress(json.dumps({"records": [entry(record_id)]}).encode())
        headers = {"Content-Encoding": "gzip"}
        answer = call(backend, "POST", f"{STORE}/batch", data=data, headers=headers)
        assert answer.json() == {"accepted": 1}
        assert stored(backend, record_id)["body"] == INTERACTION


class TestWhatClientsSend:
    @pytest.mark.parametrize(
        "options",
        [
            {"token_count": None, "response_time": None, "llm_model": None, "step_data": None},
            {"metadata": None, "user_metadata": None, "session_id": None},
            {"metadata": "text", "user_metadata": ["list"], "step_data": "step"},
            {"user_prompt": [{"role": "user", "content": "hi"}], "response": {"text": "hello"}},
            {"user_prompt": 5, "response": 0.5},
            {"user_prompt": ("tuple",), "response": True},
            {"session_id": {"no": "name"}},
        ],
    )
    def test_what_log_takes_is_stored(self, backend: Backend, options: dict[str, Any]) -> None:
        """Our client and our backend agree on what a good interaction is; None is not given."""
        with client(backend) as huggingplace:
            huggingplace.log(untyped({"user_prompt": "q", "response": "a", **options})).result(timeout=10)
        body = backend.interactions()[-1]["body"]
        for name, value in json.loads(json.dumps(options)).items():
            sent = body.get(name)
            texts = name in ("user_prompt", "session_id") and value is not None
            assert (json.loads(sent) if texts else sent) == value

    @pytest.mark.parametrize(("session", "text"), [(5, "5"), (1.5, "1.5"), (True, "true"), ("s", "s")])
    def test_a_session_is_read_by_the_text_of_its_id(
        self, backend: Backend, session: object, text: str
    ) -> None:
        """And the client sends it as text."""
        with client(backend) as huggingplace:
            huggingplace.log(untyped({"user_prompt": "q", "response": "a", "session_id": session})).result(
                timeout=10
            )
        assert backend.interactions(text)[-1]["body"]["session_id"] == text

    def test_the_published_clients_step_without_token_and_time_is_taken(self, backend: Backend) -> None:
        """Its log_step() sends null for what the step does not have."""
        step = {"type": "search", "user_question": "q", "prompt_response": "a"}
        body = {"user_prompt": "q", "response": "a", "llm_model": None, "token_count": None}
        sent = {**body, "response_time": None, "step_data": [step], "org_id": "org", "mode": "prod"}
        record_id = new_id()
        assert post(backend, sent, Idempotency_Key=record_id).status_code == 200
        assert stored(backend, record_id)["body"] == sent


class TestReadingBack:
    def test_pages_follow_one_another_without_gap_or_overlap(self, backend: Backend) -> None:
        """The cursor of a page leads to the next, and the last page has none."""
        post_batch(backend, {"records": [entry() for _ in range(5)]})
        everything = [each["seq"] for each in backend.interactions()]
        page = backend.get("/api/interactions", limit=3, after=everything[-6])
        following = backend.get("/api/interactions", limit=2, after=page["next"])
        assert [each["seq"] for each in page["interactions"] + following["interactions"]] == everything[-5:]
        assert following["next"] is None

    def test_a_session_is_read_and_counted_by_itself(self, backend: Backend) -> None:
        """Among others' interactions, page after page, and in the count; an unknown session is empty."""
        mine, other = f"ä&{new_id()}", new_id()
        sessions = [mine, other, mine, other, mine]
        bodies = [INTERACTION | {"session_id": session} for session in sessions]
        post_batch(backend, {"records": [entry(body=body) for body in bodies]})
        page = backend.get("/api/interactions", session_id=mine, limit=2)
        following = backend.get("/api/interactions", session_id=mine, after=page["next"])
        assert [len(page["interactions"]), len(following["interactions"])] == [2, 1]
        assert {each["session_id"] for each in backend.interactions(mine)} == {mine}
        assert backend.get("/api/interactions/count", session_id=mine) == {"count": 3, "deliveries": 3}
        assert backend.get("/api/interactions/count", session_id="none") == {"count": 0, "deliveries": 0}
        assert backend.get("/api/interactions", session_id="none") == {"interactions": [], "next": None}

    @pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"after": "-1"}])
    def test_a_wrong_limit_or_cursor_is_a_400(self, backend: Backend, query: dict[str, str]) -> None:
        """The answer is that of `/api/logs`."""
        answer = call(backend, "GET", "/api/interactions", params=query)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"{next(iter(query))} must be ")


class TestLife:
    def test_what_was_answered_is_there_after_a_kill(self, new_database: NewDatabase) -> None:
        """SIGKILL takes no interaction and no repeat's memory."""
        with Backend(db=new_database()) as backend:
            record_id = post(backend, INTERACTION).json()["id"]
            backend.kill()
            backend.start()
            assert post(backend, INTERACTION, Idempotency_Key=record_id).json()["repeat"] is True
            assert backend.interactions_count() == 1
