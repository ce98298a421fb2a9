"""What both backends, the fake one for users' tests and `banyan-hp serve`, say over HTTP: the same."""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import requests

from banyan_hp.feedback_tokens import make
from banyan_hp.testing.fake_backend import FakeBackend
from tests.support.backend import Backend

USAGE = "/api/logs/prompt-usage"
INTERACTION = "/v2/chatgpt/store_generated_response"
TS = "2026-01-02T03:04:05.678Z"
GOOD_USAGE: dict[str, Any] = {"input": "q", "output": "a", "metadata": {"n": 1}}
GOOD_INTERACTION: dict[str, Any] = {"user_prompt": "q", "response": "a", "org_id": "o", "mode": "prod"}
TONE: dict[str, Any] = {
    "prompt_name": "tested",
    "sticky_type": "user_id",
    "versions": [
        {
            "experiment_version_id": "tone-a",
            "version": "1.0",
            "content": "default",
            "traffic_percentage": 40,
        },
        {"experiment_version_id": "tone-b", "version": "b", "content": "B", "traffic_percentage": 40},
    ],
}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]
CONFIG = {"model": "m-1", "tools": []}
PAUSED: dict[str, Any] = {**TONE, "status": "paused", "sticky_type": "session_id"}


DRAFT: dict[str, Any] = {
    "prompt_name": "chat",
    "sticky_type": "user_id",
    "versions": [{"experiment_version_id": "draft-2", "version": "2", "traffic_percentage": 100}],
}


@dataclass(frozen=True)
class Kind:
    """One client's way to log."""

    path: str
    body: Mapping[str, Any]
    new: int
    bad: int
    wrong: Mapping[str, Any]


USAGES = Kind(USAGE, GOOD_USAGE, 201, 422, {**GOOD_USAGE, "metadata": "text"})
INTERACTIONS = Kind(INTERACTION, GOOD_INTERACTION, 200, 400, {**GOOD_INTERACTION, "response": ""})
KINDS = pytest.mark.parametrize("kind", [USAGES, INTERACTIONS], ids=["banyan", "huggingplace"])


@dataclass(frozen=True)
class Target:
    """A backend and its key."""

    url: str
    key: str

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        own = (
            {"Authorization": f"Bearer {self.key}"}
            if path.startswith(INTERACTION)
            else {"X-API-Key": self.key}
        )
        headers = {**own, **options.pop("headers", {})}
        return requests.request(
            method, self.url + path, headers=headers, timeout=10, allow_redirects=False, **options
        )

    def log(self, kind: Kind, body: Any, record_id: str | None = None, **headers: str) -> requests.Response:
        named = {"Idempotency-Key": record_id or new_id(), "X-Event-Time": TS, **headers}
        return self.call("POST", kind.path, json=body, headers=named)

    def batch(self, kind: Kind, *entries: Mapping[str, Any]) -> requests.Response:
        return self.call("POST", f"{kind.path}/batch", json={"records": entries})

    def prompt(self, name: str, *pairs: tuple[str, str], **headers: str) -> requests.Response:
        named = {header.replace("_", "-"): value for header, value in headers.items()}
        path = f"/api/logs/prompt/{quote(name, safe='')}"
        return self.call("GET", path, params=[("branch", "main"), *pairs], headers=named)


@pytest.fixture(scope="module", params=["fake", "serve"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Both with the same prompts and experiments."""
    if request.param == "fake":
        with FakeBackend(api_key="psk_" + "f" * 43) as fake:
            for name, content in {
                "greeting": "Hello {{name}}",
                "a/b ä%": "odd name",
                "tested": "default",
            }.items():
                fake.prompts[name] = content
            fake.prompts["greeting"] = {
                "content": "Hi",
                "version": "2",
                "versions": {"1.0": "Hello {{name}}"},
            }
            fake.prompts["greeting", "dev"] = "Hello from dev"
            fake.prompts["described"] = {"content": "described", "metadata": {"k": [1]}}
            fake.prompts["chat"] = {
                "content": CHAT,
                "config": CONFIG,
                "versions": {"2": "draft"},
                "labels": {"staging": "2"},
            }
            fake.experiments["tone"] = TONE
            fake.experiments["draft"] = DRAFT
            fake.experiments["paused"] = PAUSED
            yield Target(fake.url, fake.api_key)
        return
    with Backend() as served:
        yield filled(Target(served.url, served.new_key()))


def filled(target: Target) -> Target:
    """By the calls of the published command line and of experiments."""
    managed = "/api/logs/cli/prompts"
    calls = [
        (managed, {"name": "greeting", "content": "Hello {{name}}"}),
        (f"{managed}/version", {"name": "greeting", "content": "Hi", "version": "2"}),
        (managed, {"name": "a/b ä%", "content": "odd name"}),
        (managed, {"name": "tested", "content": "default"}),
        (managed, {"name": "greeting", "content": "Hello from dev", "branch": "dev"}),
        (managed, {"name": "described", "content": "described", "metadata": {"k": [1]}}),
        (managed, {"name": "chat", "content": CHAT, "config": CONFIG}),
        (f"{managed}/version", {"name": "chat", "content": "draft", "version": "2", "release": False}),
        ("/api/experiments", {"experiment_id": "tone", **TONE}),
        ("/api/experiments", {"experiment_id": "draft", **DRAFT}),
        ("/api/experiments", {"experiment_id": "paused", **PAUSED}),
    ]
    for path, body in calls:
        response = target.call("POST", path, json=body)
        assert response.status_code == 201, response.text
    (chat,) = target.call("GET", managed, params={"name": "chat"}).json()["prompts"]
    target.call("PUT", f"{managed}/{chat['id']}/labels/staging", json={"version": "2"})
    return target


def new_id() -> str:
    return str(uuid.uuid4())


def entry(body: Mapping[str, Any], record_id: str | None = None, ts: str = TS) -> dict[str, Any]:
    return {"id": record_id or new_id(), "ts": ts, "body": body}


# -- keys and paths ------------------------------------------------------------------------------------------


def test_the_key_is_checked_everywhere(target: Target) -> None:
    """A wrong key and none are 401, with the reason as JSON; the right one is valid."""
    assert target.call("GET", "/api/auth/validate").json() == {
        "valid": True,
        "project": "default",
        "role": "admin",
    }
    paths = [
        ("GET", "/api/auth/validate"),
        ("GET", "/api/logs/prompt/greeting"),
        ("GET", "/api/experiments/tone"),
    ]
    for method, path in [*paths, ("POST", USAGE), ("POST", f"{USAGE}/batch")]:
        for headers in ({"X-API-Key": "psk_wrong"}, {"X-API-Key": None}):
            response = target.call(method, path, headers=headers)
            assert response.status_code == 401 and response.json()["error"], path
    for path in (INTERACTION, f"{INTERACTION}/batch"):
        for wrong in ("Bearer wrong", f"Basic {target.key}"):
            assert target.call("POST", path, headers={"Authorization": wrong}).status_code == 401


def test_unknown_paths_and_methods_are_refused_as_json(target: Target) -> None:
    """404 and 405, never HTML."""
    for method, path, status in [
        ("GET", "/api/nothing", 404),
        ("POST", f"{USAGE}/", 404),
        ("GET", USAGE, 405),
        ("POST", "/api/auth/validate", 405),
    ]:
        response = target.call(method, path)
        assert response.status_code == status
        assert isinstance(response.json()["error"], str)


def test_unknown_parameters_are_refused(target: Target) -> None:
    """A misspelt one would otherwise do nothing."""
    for method, path in [
        ("GET", "/api/logs/prompt/greeting?branche=dev"),
        ("GET", "/api/auth/validate?x=1"),
        ("GET", "/api/experiments/tone?x=1"),
        ("POST", f"{USAGE}?x=1"),
        ("POST", f"{INTERACTION}/batch?x=1"),
    ]:
        response = target.call(method, path, json={})
        assert (response.status_code, "is no parameter of" in response.json()["error"]) == (400, True), path


def test_connections_are_kept(target: Target) -> None:
    """HTTP/1.1 without `Connection: close`, after errors, too."""
    with requests.Session() as session:
        for path in ("/api/auth/validate", "/api/nothing"):
            response = session.get(target.url + path, headers={"X-API-Key": target.key}, timeout=10)
            assert response.raw.version == 11
            assert response.headers.get("Connection", "keep-alive").lower() == "keep-alive"


# -- logging -------------------------------------------------------------------------------------------------


@KINDS
def test_one_record_is_stored_once(target: Target, kind: Kind) -> None:
    """A repeat is thanked for with 200 and `repeat`; another content under the same id is a conflict."""
    record_id = new_id()
    first = target.log(kind, kind.body, record_id)
    assert (first.status_code, first.json()["id"]) == (kind.new, record_id)
    repeat = target.log(kind, dict(reversed(list(kind.body.items()))), record_id)
    assert (repeat.status_code, repeat.json()["repeat"]) == (200, True)
    conflict = target.log(kind, {**kind.body, "metadata": {"n": 2}}, record_id)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "id_conflict")


def test_the_response_to_an_interaction_has_a_message(target: Target) -> None:
    """The published SDK reads it."""
    assert target.log(INTERACTIONS, GOOD_INTERACTION).json()["message"] == "stored"


@KINDS
def test_an_id_names_one_record_of_a_day(target: Target, kind: Kind) -> None:
    """Whichever client it is from; the day is that of the event."""
    record_id = new_id()
    other = USAGES if kind is INTERACTIONS else INTERACTIONS
    assert target.log(kind, kind.body, record_id).status_code == kind.new
    assert target.log(other, other.body, record_id).status_code == 409
    the_next_day = {"X-Event-Time": "2026-01-03T00:00:00Z"}
    assert target.log(other, other.body, record_id, **the_next_day).status_code == other.new


@KINDS
def test_null_is_not_given(target: Target, kind: Kind) -> None:
    """In any field that need not be there; the same record with and without it is the same."""
    record_id = new_id()
    optional = ("model", "duration_ms") if kind is USAGES else ("token_count", "response_time")
    assert target.log(kind, {**kind.body, **dict.fromkeys(optional)}, record_id).status_code == kind.new
    assert target.log(kind, kind.body, record_id).json()["repeat"] is True


@KINDS
def test_a_bad_record_is_refused_with_the_reason(target: Target, kind: Kind) -> None:
    """The error names the field."""
    field = next(name for name in kind.wrong if kind.wrong[name] != kind.body.get(name))
    refused = target.log(kind, kind.wrong)
    assert refused.status_code == kind.bad
    assert field in refused.json()["error"]
    assert target.log(kind, [1]).status_code == kind.bad


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "x"},
        {"input": 1},
        {"output": None},
        {"duration_ms": -1},
        {"duration_ms": True},
        {"model": 1},
    ],
    ids=str,
)
def test_what_a_usage_may_not_have(target: Target, wrong: dict[str, Any]) -> None:
    """Fields that nobody knows, and values of another type."""
    assert target.log(USAGES, {**GOOD_USAGE, **wrong}).status_code == 422


@pytest.mark.parametrize(
    "wrong", [{"mode": "test"}, {"org_id": ""}, {"token_count": -1}, {"user_prompt": None}], ids=str
)
def test_what_an_interaction_may_not_have(target: Target, wrong: dict[str, Any]) -> None:
    """Everything else is welcome, whatever it is."""
    assert target.log(INTERACTIONS, {**GOOD_INTERACTION, **wrong}).status_code == 400
    assert target.log(INTERACTIONS, {**GOOD_INTERACTION, "anything": [{"at": 1}]}).status_code == 200


@KINDS
def test_an_empty_batch_says_that_batches_are_taken(target: Target, kind: Kind) -> None:
    """Compressed ones, too."""
    response = target.batch(kind)
    assert (response.status_code, response.json()) == (200, {"accepted": 0, "gzip": True})


@KINDS
def test_a_batch_s_records_are_judged_one_by_one(target: Target, kind: Kind) -> None:
    """All good: how many. Else a result for each, in order; the good ones are stored."""
    assert target.batch(kind, entry(kind.body), entry(kind.body)).json() == {"accepted": 2}
    known, fresh, wrong = new_id(), new_id(), new_id()
    assert target.log(kind, kind.body, known).status_code == kind.new
    other = entry({**kind.body, "metadata": {"n": 3}}, known)
    mixed = target.batch(
        kind, entry(kind.body, fresh), entry(kind.wrong, wrong), entry(kind.body, known), other
    )
    results = mixed.json()["results"]
    assert [each["id"] for each in results] == [fresh, wrong, known, known]
    assert [each["status"] for each in results] == [kind.new, kind.bad, 200, 409]
    assert results[1]["error"] and results[3]["code"] == "id_conflict"
    assert target.log(kind, kind.body, fresh).json()["repeat"] is True


@KINDS
def test_a_batch_that_is_none_is_refused_whole(target: Target, kind: Kind) -> None:
    """Entries without an id can't be answered one by one."""
    path = f"{kind.path}/batch"
    envelopes: list[Any] = [{}, {"records": {}}, {"records": [{"ts": TS, "body": {}}]}, [1]]
    for envelope in envelopes:
        assert target.call("POST", path, json=envelope).status_code == kind.bad
    (result,) = target.batch(kind, entry(kind.body, ts="yesterday")).json()["results"]
    assert result["status"] == kind.bad


@KINDS
def test_bodies_may_be_compressed(target: Target, kind: Kind) -> None:
    """gzip is read; what is neither gzip nor JSON is 400, another encoding 415."""
    path = f"{kind.path}/batch"
    content = json.dumps({"records": [entry(kind.body)]}).encode()
    packed = target.call("POST", path, data=gzip.compress(content), headers={"Content-Encoding": "gzip"})
    assert packed.json() == {"accepted": 1}
    broken = target.call("POST", path, data=content, headers={"Content-Encoding": "gzip"})
    assert broken.status_code == 400
    assert target.call("POST", path, data=content, headers={"Content-Encoding": "br"}).status_code == 415
    assert target.call("POST", kind.path, data=b"{").status_code == 400


# -- prompts and experiments ---------------------------------------------------------------------------------


def test_a_prompt_has_all_fields(target: Target) -> None:
    """By its URL-quoted name, at its current version."""
    found = target.prompt("greeting")
    assert found.status_code == 200
    prompt = found.json()
    assert prompt.pop("prompt_id")
    assert prompt == {
        "name": "greeting", "content": "Hi", "version": "2", "branch": "main", "project": "default",
        "enable_logging": True, "metadata": {},
    }  # fmt: skip
    assert target.prompt("a/b ä%").json()["content"] == "odd name"


def test_a_prompt_s_version_and_branch_are_what_is_asked_for(target: Target) -> None:
    """404 where there is none."""
    assert target.prompt("greeting", ("version", "1.0")).json()["content"] == "Hello {{name}}"
    dev = target.call("GET", "/api/logs/prompt/greeting", params={"branch": "dev"})
    assert (dev.json()["content"], dev.json()["version"]) == ("Hello from dev", "1.0")
    for missing in (target.prompt("greeting", ("version", "9")), target.prompt("nobody")):
        assert missing.status_code == 404 and missing.json()["error"]


def test_a_key_opens_one_project(target: Target) -> None:
    """To name another one is refused, and the reason names both."""
    for own in ({}, {"X_Project_Id": "default"}):
        assert target.prompt("described", **own).json()["metadata"] == {"k": [1]}
    refused = target.prompt("described", X_Project_Id="p2")
    assert refused.status_code == 403
    assert "'p2'" in refused.json()["error"] and "'default'" in refused.json()["error"]


def test_a_chat_and_its_configuration(target: Target) -> None:
    """`content` is a text all the same; another version has none of either."""
    chat = target.prompt("chat").json()
    assert (chat["messages"], chat["config"]) == (CHAT, CONFIG)
    assert chat["content"] == "system: Be brief.\n\nuser: {{question}}"
    for other in (
        target.prompt("chat", ("version", "2")),
        target.prompt("chat", ("sticky_key", "user_id"), ("sticky_value", "u")),
    ):
        draft = other.json()
        assert (draft["version"], draft["content"]) == ("2", "draft")
        assert not {"messages", "config"} & set(draft)


def test_a_label_is_repeated(target: Target) -> None:
    """`production` is the released version; a label that is not there is a 404."""
    found = [target.prompt("chat", ("label", label)).json() for label in ("staging", "production")]
    assert [(each["label"], each["version"]) for each in found] == [("staging", "2"), ("production", "1.0")]
    assert "label" not in target.prompt("chat").json()
    gone = target.prompt("chat", ("label", "beta"))
    assert (gone.status_code, gone.json()["error"]) == (
        404,
        "prompt 'chat' on branch 'main' has no label 'beta'",
    )
    both = target.prompt("chat", ("label", "staging"), ("version", "2"))
    assert (both.status_code, "exclude each other" in both.json()["error"]) == (400, True)
    pinned = target.prompt("chat", ("label", "staging"), ("sticky_key", "user_id"), ("sticky_value", "u"))
    assert pinned.json()["experiment_id"] is None


def test_an_etag_saves_the_body(target: Target) -> None:
    """304 for the content that the client has."""
    tag = target.prompt("greeting").headers["ETag"]
    same = target.prompt("greeting", If_None_Match=tag)
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert target.prompt("greeting", If_None_Match='"other"').status_code == 200


def test_a_sticky_value_is_routed_as_the_rule_says(target: Target) -> None:
    """Each user always gets the same, on both backends: the versions' slots are those of a new experiment."""
    expected = {"u1": None, "u2": None, "u3": "tone-b", "u4": "tone-b", "u6": "tone-a"}
    found = {}
    for user in expected:
        body = target.prompt("tested", ("sticky_key", "user_id"), ("sticky_value", user)).json()
        found[user] = body.get("experiment_version_id")
        if found[user] is None:
            assert (body["experiment_id"], body["content"]) == (None, "default")
        else:
            assert (body["experiment_id"], body["sticky_key"], body["sticky_value"]) == (
                "tone",
                "user_id",
                user,
            )
            assert body["content"] == {"tone-a": "default", "tone-b": "B"}[found[user]]
    assert found == expected


def test_what_no_experiment_routes(target: Target) -> None:
    """No sticky value: no field; a version by name, another key, a paused experiment: none."""
    assert "experiment_id" not in target.prompt("tested").json()
    user = ("sticky_key", "user_id"), ("sticky_value", "u3")
    assert target.prompt("tested", *user, ("version", "1.0")).json()["experiment_id"] is None
    for key in ("customer_id", "session_id"):
        body = target.prompt("tested", ("sticky_key", key), ("sticky_value", "x")).json()
        assert (body["experiment_id"], body["content"]) == (None, "default")
    several = [("sticky_key", "customer_id"), ("sticky_value", "x"), *user]
    assert target.prompt("tested", *several).json()["experiment_version_id"] == "tone-b"
    assert target.prompt("tested", ("sticky_key", "user_id")).status_code == 400


def test_an_experiment_s_details(target: Target) -> None:
    """What a client needs to ask for the prompt, or to route by itself."""
    found = target.call("GET", "/api/experiments/tone")
    details = found.json()
    assert details == {
        "experiment_id": "tone", "prompt_name": "tested", "branch": "main", "project_id": "default",
        "status": "running", "sticky_type": "user_id", "salt": "tone", "allocation": 2,
        "control": None, "primary_metric": None,
        "window_seconds": 86_400, "guards": [], "directions": {},
        "versions": TONE["versions"], "slots": {"tone-a": [[0, 400_000]], "tone-b": [[400_000, 800_000]]},
    }  # fmt: skip
    tag = {"If-None-Match": found.headers["ETag"]}
    assert target.call("GET", "/api/experiments/tone", headers=tag).status_code == 304
    assert target.call("GET", "/api/experiments/nobody").status_code == 404


def test_routing_by_the_published_call(target: Target) -> None:
    """The chosen prompt and version; the default where the user takes no part, or nothing runs."""

    def route(**changes: str) -> requests.Response:
        asked = {"experimentId": "tone", "stickyKey": "user_id", "stickyValue": "u3", "apiKey": target.key}
        return target.call("POST", "/api/experiments/route", json={**asked, **changes})

    routed = route().json()
    assert routed["selected_version_id"] == "tone-b"
    assert (routed["prompt"]["name"], routed["prompt"]["content"]) == ("tested", "B")
    for default in (route(stickyValue="u1"), route(experimentId="paused", stickyKey="session_id")):
        assert default.json()["selected_version_id"] is None
        assert default.json()["prompt"]["content"] == "default"
    assert route(stickyKey="session_id").status_code == 422
    assert route(experimentId="nobody").status_code == 404
    assert route(apiKey="psk_wrong").status_code == 401


# -- scores --------------------------------------------------------------------------------------------------


def score(**changes: Any) -> dict[str, Any]:
    content = {"kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": new_id(), **changes}
    return {name: value for name, value in content.items() if value is not None}


def form(kind: Kind, content: Mapping[str, Any]) -> dict[str, Any]:
    """A score as the client of this kind sends it."""
    texts = (
        {"input": "", "output": ""} if kind is USAGES else {"user_prompt": "[score]", "response": "[score]"}
    )
    return {**kind.body, **texts, "metadata": {"banyan_hp": content}}


def scores(target: Target, **about: str) -> list[dict[str, Any]]:
    found = target.call("GET", "/api/scores", params=about)
    assert found.status_code == 200, found.text
    listed: list[dict[str, Any]] = found.json()["scores"]
    return listed


@KINDS
def test_a_score_is_found_by_what_it_is_about(target: Target, kind: Kind) -> None:
    """Once, however often it comes; with all that was said, and nothing for the rest."""
    record_id, session, user = new_id(), new_id(), new_id()
    said = {"session_id": session, "sticky_key": "user_id", "sticky_value": user, "comment": "good"}
    body = form(kind, score(record_id=record_id, value=4.5, experiment_id="tone", **said))
    ident = new_id()
    assert [target.log(kind, body, ident).status_code for _ in range(2)] == [kind.new, 200]
    for about in ({"record_id": record_id}, {"session_id": session}, {"user": user}):
        (found,) = scores(target, **about)
        assert {name: found[name] for name in said} == said
        assert (found["id"], found["name"], found["value"]) == (ident, "thumbs", 4.5)
        assert (found["experiment_id"], found["experiment_version_id"], found["rater"]) == (
            "tone",
            None,
            None,
        )
    assert scores(target, record_id=new_id()) == []


@KINDS
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "metadata.banyan_hp.name"),
        ({"value": None}, "metadata.banyan_hp.value"),
        ({"value": "x" * 201}, "metadata.banyan_hp.value"),
        ({"value": [1]}, "metadata.banyan_hp.value"),
        ({"value": 1e16}, "metadata.banyan_hp.value"),
        ({"comment": "x" * 2001}, "metadata.banyan_hp.comment"),
        ({"session_id": ""}, "metadata.banyan_hp.session_id"),
        ({"record_id": None}, "metadata.banyan_hp must have a record_id, a session_id or a sticky_value"),
    ],
    ids=str,
)
def test_a_malformed_score_is_refused(target: Target, kind: Kind, wrong: dict[str, Any], field: str) -> None:
    """By the field that is wrong."""
    refused = target.log(kind, form(kind, score(**wrong)))
    assert (refused.status_code, refused.json()["error"][: len(field)]) == (kind.bad, field)


@KINDS
def test_what_has_texts_is_a_call(target: Target, kind: Kind) -> None:
    """Whatever its metadata say; so is a score of another version."""
    content = score()
    calls = [
        {**kind.body, "metadata": {"banyan_hp": {**content, "value": None}}},
        form(kind, {**content, "v": 2}),
        form(kind, {**content, "kind": "other"}),
    ]
    assert [target.log(kind, body).status_code for body in calls] == [kind.new] * 3
    assert scores(target, record_id=content["record_id"]) == []


def test_feedback_takes_a_token_and_no_key(target: Target) -> None:
    """The last submission is the first in the list; its rater is the user."""
    record_id = new_id()
    token = make(target.key, record_id, ["thumbs"], int(time.time()) + 60)

    def submit(**changes: Any) -> requests.Response:
        body = {"token": token, "name": "thumbs", "value": True, **changes}
        return requests.post(f"{target.url}/api/feedback", json=body, timeout=10)

    accepted = submit(value=False), submit(comment="on second thoughts")
    assert [(each.status_code, each.json()) for each in accepted] == [(201, {"stored": True})] * 2
    found = [(each["value"], each["rater"], each["comment"]) for each in scores(target, record_id=record_id)]
    assert found == [(True, "user", "on second thoughts"), (False, "user", None)]
    ended = make(target.key, record_id, ["thumbs"], int(time.time()) - 1)
    for changes, status, told in (
        ({"token": token[:-2]}, 403, "the token is not valid"),
        ({"token": ended}, 403, "the token has expired"),
        ({"name": "stars"}, 422, "name must be one of thumbs, was 'stars'"),
        ({"value": None}, 422, "value must be true, false, a number"),
    ):
        refused = submit(**changes)
        assert (refused.status_code, refused.json()["error"][: len(told)]) == (status, told)
    assert target.call("GET", "/api/auth/validate", headers={"X-API-Key": token}).status_code == 401
