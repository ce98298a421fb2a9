"""Two projects in one backend: nobody reads, writes or changes anything across them, by any route."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from banyan_hp.server.api.otlp import TRACES
from banyan_hp.server.store.keys import Keys, Role
from tests.support.app import LocalApp

SECRET = "the secret of theirs"
TS = "2026-01-02T03:04:05Z"
PROMPTS = "/api/logs/cli/prompts"
BY_TOKEN = "/api/feedback"  # takes no key; see `test_feedback.py`
OPEN = {"/healthz", "/readyz", BY_TOKEN}  # to everybody, about nobody


def usage(text: str) -> dict[str, Any]:
    named = {"prompt_name": "email", "experiment_id": "tone", "experiment_version_id": "a"}
    return {"input": text, "output": text, "metadata": {"session_id": "s", "user_id": text}, **named}


def interaction(text: str) -> dict[str, Any]:
    own = {"user_prompt": text, "response": text, "org_id": "o", "mode": "prod"}
    return {**own, "session_id": "s", "user_metadata": {"user_id": text}}


def experiment(text: str) -> dict[str, Any]:
    version = {"experiment_version_id": "a", "version": "2.0", "content": text, "traffic_percentage": 100}
    where = {"experiment_id": "tone", "prompt_name": "email", "sticky_type": "user_id"}
    return {**where, "versions": [version]}


TRACE = "5" * 32


def exported(text: str) -> dict[str, Any]:
    time = "1767322800000000000"
    span = {"traceId": TRACE, "spanId": "5" * 16, "name": text, "startTimeUnixNano": time}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "endTimeUnixNano": time}]}]}]}


class Tenant:
    """A project with one of everything, and the ids by which others may ask for it."""

    def __init__(self, app: LocalApp, name: str, secret: str) -> None:
        self.app = app.in_project(name)
        self.name = name
        made = self._made("POST", PROMPTS, {"name": "email", "content": secret, "config": {"secret": secret}})
        self._made("POST", f"{PROMPTS}/version", {"name": "email", "version": "2.0", "content": secret})
        self._made("PUT", f"{PROMPTS}/{made['id']}/labels/staging", {"version": "1.0"})
        self._made("POST", "/api/experiments", experiment(secret))
        key = self._made("POST", "/api/keys", {"role": "read"})
        sent = {"Idempotency-Key": f"usage of {name}", "X-Event-Time": TS}
        self._made("POST", "/api/logs/prompt-usage", usage(secret), sent)
        sent = {"Idempotency-Key": f"interaction of {name}", "X-Event-Time": TS}
        self._made("POST", "/v2/chatgpt/store_generated_response", interaction(secret), sent)
        self._made("POST", "/v1/traces", exported(secret))
        mark = {"kind": "score", "v": 1, "name": "n", "value": secret, "record_id": f"usage of {name}"}
        score = {"input": "", "output": "", "metadata": {"banyan_hp": mark}}
        self._made("POST", "/api/logs/prompt-usage", score)
        self.ids = {
            "trace_id": TRACE,
            "call_id": f"usage of {name}",
            "prompt_id": made["id"],
            "experiment_id": "tone",
            "name": "email",
            "project_id": name,
            "key_id": key["id"],
            "label": "staging",
        }

    def _made(self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
        answer = self.app.call(method, path, body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def everything(self) -> list[Any]:
        """All that the project's own key can see."""
        lists = [
            *("/api/calls", "/api/logs", "/api/interactions", "/api/logs/count", "/api/interactions/count"),
            *(PROMPTS, f"{PROMPTS}/{self.ids['prompt_id']}/versions", "/api/experiments", "/api/keys"),
            f"/api/traces/{TRACE}",
            *("/api/projects", "/api/audit", "/api/experiments/tone/usage", "/api/calls/summary"),
            "/api/scores",
        ]
        return [self.app.get(path) for path in lists]


@pytest.fixture(scope="module")
def theirs(application: LocalApp) -> Tenant:
    return Tenant(application, "theirs", SECRET)


@pytest.fixture(scope="module")
def mine(application: LocalApp) -> Tenant:
    """A project whose things have the same names, and another text."""
    return Tenant(application, "mine", "my own")


def bodies_of(path: str, method: str, project: str) -> Iterator[Any]:
    """Good bodies for a route, that name the other project where they can."""
    if method in ("get", "delete"):
        yield None
    elif path == "/api/experiments/route":
        yield {"experimentId": "tone", "stickyKey": "user_id", "stickyValue": "u", "apiKey": "{their key}"}
    elif path.endswith("/batch"):
        sent = usage("mine") if "prompt-usage" in path else interaction("mine")
        yield {"records": [{"id": "{call_id}", "ts": TS, "body": sent}]}
    elif path == "/api/logs/prompt-usage":
        yield usage("mine")
    elif path.endswith("/v1/traces"):
        yield exported("mine")
    elif path == "/v1/logs":
        yield {"resourceLogs": []}
    elif path.startswith("/v2/"):
        yield interaction("mine")
    elif path == PROMPTS:
        yield {"name": "new", "content": "c", "project_id": project}
    elif path == f"{PROMPTS}/version":
        yield {"name": "email", "version": "9", "content": "c", "project_id": project}
    elif path == "/api/experiments":
        yield {**experiment("mine"), "experiment_id": "other", "project_id": project}
    elif path == "/api/keys":
        yield {"role": "admin"}
    elif path.endswith(("/release", "/labels/{label}")):
        yield {"version": "1.0"}
    elif path.startswith(PROMPTS):
        yield from ({"content": "overwritten"}, {"version": "1.0"}, {"branch": "stolen"})
    elif path.startswith("/api/experiments"):
        yield from ({"status": "paused"}, {"salt": "other"}, {"status": "paused", "dry_run": True})
    else:
        raise AssertionError(f"no body for {method} {path}: this test has to know each route")


def test_strangers_have_no_body_read(application: LocalApp) -> None:
    """Whoever has no good key is refused before a body is read, by each route that takes one."""
    for path, item in application.app.openapi()["paths"].items():
        for method in item.keys() & {"post", "put"}:
            if path in ("/api/experiments/route", BY_TOKEN):  # what opens them may be in the body
                continue
            answer = application.call(
                method.upper(), path, {"not": "what it takes"}, headers={"X-API-Key": "no"}
            )
            assert answer.status_code == 401, (method, path)


def attempts(application: LocalApp, theirs: Tenant) -> Iterator[tuple[str, str, Any, list[tuple[str, str]]]]:
    """For each route of the document: method, path with their ids, body, and query."""
    for path, item in application.app.openapi()["paths"].items():
        for method, route in item.items():
            if path in OPEN:
                continue
            filled = re.sub(r"\{(\w+)\}", lambda found: quote(theirs.ids[found[1]], safe=""), path)
            named = [each["name"] for each in route.get("parameters", ()) if each["in"] == "query"]
            queries: list[list[tuple[str, str]]] = [[]]
            if "project_id" in named:
                queries.append([("project_id", theirs.name)])
            if "id" in named:
                queries.append([("id", theirs.ids["call_id"])])
            if "record_id" in named:
                queries.append([("record_id", theirs.ids["call_id"])])
            if "subject" in named:
                queries.append([("subject", f"prompt:{theirs.ids['prompt_id']}")])
            for body in bodies_of(path, method, theirs.name):
                yield from ((method.upper(), filled, body, query) for query in queries)


WAYS: dict[str, Any] = {
    "as it is": lambda mine, theirs: {},
    "under their name": lambda mine, theirs: {"X-Project-Id": theirs.name},
    "under their name in other letters": lambda mine, theirs: {"X-Project-Id": theirs.name.upper()},
    "as their repeat": lambda mine, theirs: {
        "Idempotency-Key": theirs.ids["call_id"],
        "X-Event-Time": TS,
    },
    "with both keys": lambda mine, theirs: {"Authorization": "Bearer wrong", "X-API-Key": mine.app.key},
}


def test_no_attempt_across_projects_succeeds(application: LocalApp, mine: Tenant, theirs: Tenant) -> None:
    """Each route, with ids of theirs in path, query, body and headers: nothing is read or changed."""
    before = theirs.everything()
    tried = 0
    for method, path, body, query in attempts(application, theirs):
        for way, headers in WAYS.items():
            sent = _filled(body, mine, theirs)
            answer = mine.app.call(method, path, sent, query=query, headers=headers(mine, theirs))
            where = f"{method} {path} {query} {way}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, where
            assert SECRET not in answer.text, where
            if way.startswith("under their name"):
                assert answer.status_code == 403, where
                assert repr(mine.name) in answer.json()["error"], where
            tried += 1
    assert tried >= 200
    assert theirs.everything() == before


def _filled(body: Any, mine: Tenant, theirs: Tenant) -> Any:
    if isinstance(body, dict) and "apiKey" in body:
        return {**body, "apiKey": theirs.app.key}
    if isinstance(body, dict) and "records" in body:
        return {"records": [{**each, "id": theirs.ids["call_id"]} for each in body["records"]]}
    return body


@pytest.mark.parametrize("where", ["body", "query"])
def test_a_project_id_is_refused_by_name(mine: Tenant, theirs: Tenant, where: str) -> None:
    """The refusal names both projects."""
    body = {"name": "new", "content": "c", "project_id": theirs.name}
    if where == "body":
        answer = mine.app.call("POST", PROMPTS, body)
    else:
        answer = mine.app.call("GET", "/api/experiments", query=[("project_id", theirs.name)])
    told = {"error": "project_id is 'theirs', the API key is for project 'mine'"}
    assert (answer.status_code, answer.json()) == (403, told)


ALLOWED = {
    Role.INGEST: {
        *("GET /api/auth/validate", "GET /api/projects", "GET /api/projects/{project_id}"),
        *("GET /api/logs/prompt/{name}", "GET /api/experiments/{experiment_id}"),
        *("POST /v1/logs", *(f"POST {path}" for path in TRACES)),
        "POST /api/experiments/route",
        *("POST /api/logs/prompt-usage", "POST /api/logs/prompt-usage/batch"),
        *("POST /v2/chatgpt/store_generated_response", "POST /v2/chatgpt/store_generated_response/batch"),
    },
    Role.READ: {
        *(
            "GET /api/calls",
            "GET /api/calls/summary",
            "GET /api/calls/follow",
            "GET /api/calls/{call_id}",
            "GET /api/audit",
            "GET /api/traces/{trace_id}",
            "GET /api/scores",
        ),
        *("GET /api/logs", "GET /api/logs/count", "GET /api/interactions", "GET /api/interactions/count"),
        *(f"GET {PROMPTS}", f"GET {PROMPTS}/{{prompt_id}}/versions"),
        *("GET /api/experiments", "GET /api/experiments/{experiment_id}/usage"),
        "GET /api/experiments/{experiment_id}/results",
    },
}


@pytest.mark.parametrize("role", Role)
def test_a_role_opens_its_routes_and_no_others(application: LocalApp, theirs: Tenant, role: Role) -> None:
    """An ingest key logs, fetches and routes; a read key reads besides; the rest needs an admin's."""
    _, secret = Keys(application.database).create(theirs.name, role)
    allowed = set().union(*(ALLOWED.get(each, set()) for each in Role if role.covers(each)))
    for path, item in application.app.openapi()["paths"].items():
        for method in item:
            if path in OPEN:
                continue
            filled = re.sub(r"\{\w+\}", "nothing", path)
            answer = application.call(method.upper(), filled, {}, headers={"X-API-Key": secret})
            is_open = role is Role.ADMIN or f"{method.upper()} {path}" in allowed
            needs_more = answer.status_code == 403 and "this needs a key with the role" in answer.text
            assert needs_more is not is_open, f"{method} {path} {answer.text}"
