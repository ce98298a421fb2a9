"""Scores by a token, without a key, on both databases: what is stored, and what is refused."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from banyan_hp.feedback_tokens import make, read
from banyan_hp.server.api.feedback import BURST, PER_SECOND
from banyan_hp.server.api.limits import RateLimit
from banyan_hp.server.store.database import Database
from tests.conftest import NewDatabase
from tests.support.app import AppCaller, LocalApp
from tests.support.clock import FakeClock

PATH = "/api/feedback"
NOBODY = {"X-API-Key": ""}
PAGE = "https://www.example.com"
FOREIGN = {"Origin": PAGE}


@pytest.fixture(scope="module")
def application(new_database: NewDatabase) -> Iterator[LocalApp]:
    options: Any = {"trusted_proxies": ["10.0.0.0/8", "127.0.0.1"], "feedback_origins": [PAGE]}
    with LocalApp(new_database(), **options) as running:
        running.app.state.feedback_limit = RateLimit(10**6, 1.0)
        yield running


@pytest.fixture
def app(application: LocalApp) -> AppCaller:
    return application.in_new_project()


def token(app: LocalApp, record: str = "answer", *names: str, ttl: float = 60) -> str:
    return make(app.key, record, names or ("thumbs",), int(time.time() + ttl))


def submit(app: LocalApp, sent: str, value: object = True, **more: Any) -> tuple[int, Any]:
    body = {"token": sent, "name": "thumbs", "value": value, **more}
    answer = app.call("POST", PATH, body, headers=NOBODY)
    return answer.status_code, answer.json()


def stored(app: LocalApp, sent: str, number: int = 0) -> Any:
    """One submission of a token, as it was stored; None: it was not."""
    permission = read(sent)
    assert permission is not None
    name = hashlib.sha256(permission.signed.encode()).hexdigest()[:32]
    answer = app.call("GET", f"/api/calls/feedback-{name}-{number}")
    return answer.json()["body"]["metadata"]["banyan_hp"] if answer.is_success else None


def test_a_score_is_stored_for_the_token_s_record(app: AppCaller) -> None:
    """In the project of the key that made it, with the user as its rater."""
    sent = token(app)
    assert submit(app, sent, comment="good") == (201, {"stored": True})
    assert stored(app, sent) == {
        "kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": "answer", "rater": "user",
        "comment": "good",
    }  # fmt: skip


@pytest.mark.parametrize("value", [False, -4.5, 3, "great", "x" * 200])
def test_all_values_of_scores(app: AppCaller, value: object) -> None:
    """As `score` takes them."""
    sent = token(app)
    assert submit(app, sent, value)[0] == 201
    found = stored(app, sent)["value"]
    assert (found, type(found)) == (value, type(value))


def test_somebody_may_change_their_mind(app: AppCaller) -> None:
    """Each submission is kept, the same value again, too: the last one counts."""
    sent = token(app)
    for value in (True, False, True):
        assert submit(app, sent, value)[0] == 201
    assert [stored(app, sent, number)["value"] for number in range(3)] == [True, False, True]


def test_a_token_is_used_up(app: AppCaller) -> None:
    """Whatever names it has."""
    sent = token(app, "answer", "thumbs", "stars")
    for number in range(20):
        assert submit(app, sent, number, name="stars" if number % 2 else "thumbs")[0] == 201
    assert submit(app, sent) == (403, {"error": "the token was used 20 times, and is used up"})
    assert stored(app, sent, 19) is not None and stored(app, sent, 20) is None
    assert submit(app, token(app, "other"))[0] == 201


def test_several_processes_count_together(new_database: NewDatabase) -> None:
    """Two applications over one database, at the same time: no more than 20 of 30 are stored."""
    url = new_database()
    Database(url).close()
    with LocalApp(url) as one, LocalApp(url) as two:
        caller = one.in_new_project()
        sent = token(caller)
        others = AppCaller(two, caller.project, caller.key)

        def fifteen(app: LocalApp) -> list[int]:
            app.app.state.feedback_limit = RateLimit(10**6, 1.0)
            return [submit(app, sent)[0] for _ in range(15)]

        with ThreadPoolExecutor(2) as pool:
            statuses = [status for each in pool.map(fifteen, (caller, others)) for status in each]
        assert (statuses.count(201), statuses.count(403)) == (20, 10)


def changed(sent: str) -> str:
    return sent[:-1] + ("A" if sent[-1] != "A" else "B")


def test_what_is_no_good_token_is_refused_alike(app: AppCaller, application: LocalApp) -> None:
    """Damaged, by an unknown key, by one that was revoked or is not in the database: nobody learns which."""
    revoked = application.in_project(app.project)
    sent = token(revoked)
    assert submit(revoked, sent)[0] == 201
    (key,) = [each for each in app.get("/api/keys")["keys"] if each["hint"] == f"…{revoked.key[-4:]}"]
    assert app.call("DELETE", f"/api/keys/{key['id']}").is_success
    unknown = make("psk_" + "x" * 43, "answer", ["thumbs"], int(time.time()) + 60)
    given = make(application.key, "answer", ["thumbs"], int(time.time()) + 60)
    good = token(app)
    for bad in (sent, unknown, given, changed(good), good[1:], "x", "f1..", "\x00", good + "é", "ü" * 1000):
        status, told = submit(app, bad)
        assert (status, told["error"][:22]) == (403, "the token is not valid"), bad
    assert submit(app, good)[0] == 201


def test_a_token_ends(app: AppCaller) -> None:
    """After its time, by this machine's clock."""
    assert submit(app, token(app, ttl=-1)) == (403, {"error": "the token has expired"})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "stars"}, "name must be one of thumbs, was 'stars'"),
        ({"name": ""}, "name must be a string of 1 to 100 characters, was ''"),
        ({"name": None}, "name must be a string of 1 to 100 characters, was None"),
        ({"value": None}, "value must be true, false, a number from -1e15 to 1e15, or a string of"),
        ({"value": "x" * 201}, "value must be"),
        ({"value": "\x00"}, "value must be"),
        ({"value": [1]}, "value must be"),
        ({"value": 1e16}, "value must be"),
        ({"comment": "x" * 2001}, "comment must be a string of at most 2000 characters"),
        ({"comment": "\x00"}, "comment must be a string of at most 2000 characters"),
        ({"token": 5}, "token must be a string: what feedback_token() returned, was 5"),
        ({"record_id": "another"}, "record_id is no field of the body"),
        ({"rater": "admin"}, "rater is no field of the body"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(app: AppCaller, wrong: dict[str, Any], message: str) -> None:
    """What the token does not permit is not in the body's hands."""
    sent = token(app)
    body = {"token": sent, "name": "thumbs", "value": True, **wrong}
    answer = app.call("POST", PATH, body, headers=NOBODY)
    assert (answer.status_code, answer.json()["error"][: len(message)]) == (422, message)
    assert stored(app, sent) is None


def test_a_body_is_small(app: AppCaller) -> None:
    """8 KiB, before anything is looked at; what is no JSON is a 400."""
    answer = app.call("POST", PATH, {"token": "x" * 9_000}, headers=NOBODY)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "body must be at most 8192 bytes, compressed or not",
    )
    assert app.call("POST", PATH, headers=NOBODY).status_code == 400


def test_a_token_opens_nothing_else(app: AppCaller, application: LocalApp) -> None:
    """By no route, in neither header."""
    sent = token(app)
    tried = 0
    for path, item in application.app.openapi()["paths"].items():
        if path in (PATH, "/healthz", "/readyz"):
            continue
        filled = re.sub(r"\{\w+\}", "anything", path)
        for method in item:
            body = {"apiKey": sent, "experimentId": "e", "stickyKey": "k", "stickyValue": "v"}
            for headers in ({"X-API-Key": sent}, {"Authorization": f"Bearer {sent}", **NOBODY}):
                answer = application.call(method.upper(), filled, body, headers=headers)
                assert answer.status_code == 401, (method, path)
                tried += 1
    assert tried > 50


def test_pages_of_an_allowed_origin_may_send_it(app: AppCaller) -> None:
    """They are told so before and after, refusals included; nobody else is, and no other call is open."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = app.call("OPTIONS", PATH, headers={**FOREIGN, **asked, **NOBODY})
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert "Origin" in preflight.headers["Vary"]
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert "access-control-allow-credentials" not in preflight.headers
    body = {"token": token(app), "name": "thumbs", "value": True}
    for sent, status in ((body, 201), ({**body, "token": "x"}, 403), ({}, 422)):
        answer = app.call("POST", PATH, sent, headers={**FOREIGN, **NOBODY})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        assert "Origin" in answer.headers["Vary"]
    for origin, method, path in (
        ("https://evil.example", "POST", PATH),
        ("https://evil.example", "OPTIONS", PATH),
        (PAGE, "GET", "/api/calls"),
        (PAGE, "OPTIONS", "/api/calls"),
    ):
        answer = app.call(method, path, body, headers={"Origin": origin, **asked})
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_each_address_has_a_limit(app: AppCaller, application: LocalApp) -> None:
    """Whatever its requests are; by the address that a trusted proxy has seen, and no other."""
    state = application.app.state
    before, state.feedback_limit = state.feedback_limit, RateLimit(BURST, PER_SECOND, FakeClock().monotonic)
    try:

        def status(forwarded: str) -> tuple[int, str | None]:
            headers = {"X-Forwarded-For": forwarded, **NOBODY}
            answer = app.call("POST", PATH, {}, headers=headers)
            return answer.status_code, answer.headers.get("Retry-After")

        # The first address is what the sender itself has claimed, the last one what the proxies have seen.
        found = [status(f"198.51.100.{number}, 192.0.2.1, 10.0.0.5") for number in range(BURST + 2)]
        assert found == [(422, None)] * BURST + [(429, "1")] * 2
        assert status("192.0.2.2") == (422, None)
    finally:
        state.feedback_limit = before


def test_without_proxies_the_header_counts_for_nothing(new_database: NewDatabase) -> None:
    """Anybody can send it."""
    with LocalApp(new_database()) as plain:
        plain.app.state.feedback_limit = RateLimit(BURST, PER_SECOND, FakeClock().monotonic)
        statuses = [
            plain.call("POST", PATH, {}, headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code
            for number in range(BURST + 1)
        ]
        assert statuses == [422] * BURST + [429]
        preflight = {**FOREIGN, "Access-Control-Request-Method": "POST"}
        assert plain.call("OPTIONS", PATH, headers=preflight).status_code == 405


def test_keys_are_named_after_their_digest(app: AppCaller) -> None:
    """So that a client knows its key's id without asking."""
    made = app.call("POST", "/api/keys", {"role": "ingest"}).json()
    digest = hashlib.sha256(made["key"].encode()).digest()
    assert made["id"] == hashlib.sha256(b"banyan_hp key id" + digest).hexdigest()[:12]
