"""The API's document: it says of each call what it takes, and how it is refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from banyan_hp.feedback_tokens import make
from banyan_hp.server.api.otlp import TRACES
from tests.support.app import LocalApp

METHODS = {"get", "post", "put", "delete"}
PROMPTS, EXPERIMENTS = "/api/logs/cli/prompts", "/api/experiments"


@pytest.fixture
def document(application: LocalApp) -> Any:
    answer = application.call("GET", "/openapi.json", headers={"X-API-Key": ""})
    assert answer.status_code == 200
    return answer.json()


def test_every_reference_leads_somewhere(document: Any) -> None:
    """Generators of clients follow them."""
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used <= set(document["components"]["schemas"])
    assert "$defs" not in json.dumps(document)


def test_each_call_says_what_it_does_and_how_it_is_refused(document: Any) -> None:
    """In one form, and in none that FastAPI would use by itself."""
    for path, item in document["paths"].items():
        assert set(item) <= METHODS
        for method, operation in item.items():
            assert operation["description"], (method, path)
            refused = [each for each in operation["responses"].items() if each[0] >= "4"]
            for _, response in refused if path != "/readyz" else ():
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Refusal"}
            with_body = {"409", "413", "422"} <= set(operation["responses"])
            assert with_body is ("requestBody" in operation)
            assert ("security" in operation) is (path not in ("/healthz", "/readyz", "/api/feedback")), path


def test_each_call_says_what_it_responds(document: Any) -> None:
    """By a named schema, whose parts are named, too."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            good = [each for status, each in operation["responses"].items() if status < "3"]
            assert good, (method, path)
            for response in good if path != "/api/calls/follow" else ():
                assert _names(response["content"]["application/json"]["schema"]), (method, path)


def _names(schema: Any) -> list[str]:
    return [each["$ref"] for each in schema.get("anyOf", [schema])]


def test_each_call_responds_what_the_document_says(application: LocalApp, document: Any) -> None:
    """Real responses have the fields that are described, and no others."""
    app, checked = application.in_new_project(), set()
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    known: dict[str, str] = {}

    def send(method: str, path: str, body: object = None, **query: str) -> Any:
        where = re.sub(r"\{(\w+)\}", lambda each: known[each[1]], path)
        answer = app.call(method, where, body, query=list(query.items()))
        assert answer.is_success, (method, path, answer.text)
        described = document["paths"][path][method.lower()]["responses"][str(answer.status_code)]
        schema = {**described["content"]["application/json"]["schema"], "components": {"schemas": schemas}}
        jsonschema_rs.validate(schema, answer.json())
        checked.add((method.lower(), path))
        return answer.json()

    _say_everything(send, known)
    for path, item in document["paths"].items():
        assert path == "/api/calls/follow" or {(method, path) for method in item} <= checked, path


def _say_everything(send: Callable[..., Any], known: dict[str, str]) -> None:
    chat, config = [{"role": "user", "content": "Hi", "name": "me"}], {"model": "m"}
    known |= {"name": "email", "label": "staging", "experiment_id": "tone", "call_id": "c1"}
    known["trace_id"] = "5" * 32
    known["prompt_id"] = send("POST", PROMPTS, {"name": "email", "content": "one"})["id"]
    send("POST", f"{PROMPTS}/version", {"name": "email", "version": "2", "content": chat, "config": config})
    of_prompt = f"{PROMPTS}/{{prompt_id}}"
    send("PUT", of_prompt, {"metadata": {"a": [1]}})
    send("PUT", f"{of_prompt}/release", {"version": "1.0"})
    send("PUT", f"{of_prompt}/release", {"version": "2"})
    send("PUT", f"{of_prompt}/labels/{{label}}", {"version": "1.0"})
    send("GET", PROMPTS, limit="1")
    send("GET", f"{of_prompt}/versions", limit="1")
    send("GET", "/api/logs/prompt/{name}")
    send("GET", "/api/logs/prompt/{name}", label="staging")
    _say_of_experiments(send)
    _log(send)
    send("DELETE", of_prompt)
    _say_of_the_project(send, known)


def _say_of_experiments(send: Callable[..., Any]) -> None:
    version = {"experiment_version_id": "a", "version": "2", "traffic_percentage": 100}
    send("POST", EXPERIMENTS, {"experiment_id": "tone", "prompt_name": "email", "sticky_type": "user_id",
         "versions": [version], "control": "a", "primary_metric": "cost"})  # fmt: skip
    one = f"{EXPERIMENTS}/{{experiment_id}}"
    send("GET", EXPERIMENTS)
    send("GET", one)
    send("PUT", one, {"status": "running", "dry_run": True})
    send("PUT", one, {"status": "running"})
    key = send("POST", "/api/keys", {"role": "ingest"})["key"]
    who = {"experimentId": "tone", "stickyKey": "user_id", "stickyValue": "u", "apiKey": key}
    send("POST", f"{EXPERIMENTS}/route", who)
    send("GET", "/api/logs/prompt/{name}", sticky_key="user_id", sticky_value="u")
    send("GET", f"{one}/usage")
    send("GET", f"{one}/results")
    send("POST", f"{one}/rebuild")
    send("DELETE", one)


def _log(send: Callable[..., Any]) -> None:
    usage = {"input": "i", "output": "o", "metadata": {"user_id": "u"}, "duration_ms": 5, "model": "m"}
    told = {"user_prompt": "i", "response": "o", "org_id": "o", "mode": "prod"}
    for path, body in (("/api/logs/prompt-usage", usage), ("/v2/chatgpt/store_generated_response", told)):
        send("POST", path, body)
        good = {"id": "c1", "ts": "2026-01-01T00:00:00Z", "body": body}
        for records in ([], [good], [good, {**good, "id": "c2", "body": 1}]):
            send("POST", f"{path}/batch", {"records": records})
    for path in ("/api/logs", "/api/interactions"):
        send("GET", path, limit="1")
        send("GET", f"{path}/count")
    _export(send)
    mark = {"kind": "score", "v": 1, "name": "n", "value": 1.5, "record_id": "c1"}
    send("POST", "/api/logs/prompt-usage", {"input": "", "output": "", "metadata": {"banyan_hp": mark}})
    send("GET", "/api/scores")
    send("GET", "/api/calls")
    send("GET", "/api/calls/{call_id}")
    send("GET", "/api/calls/summary", by="model,user")
    scored = {"kind": "score", "v": 1, "name": "n", "value": True, "record_id": "c1"}
    send("POST", "/api/logs/prompt-usage", {"input": "", "output": "", "metadata": {"banyan_hp": scored}})
    send("GET", "/api/calls/{call_id}")
    send("GET", "/api/scores", record_id="c1")
    send("DELETE", "/api/calls", user="u")


def _export(send: Callable[..., Any]) -> None:
    ids = {"traceId": "5" * 32, "spanId": "5" * 16}
    span = {**ids, "name": "chat", "startTimeUnixNano": "1767322800000000000"}
    for path in TRACES:
        send("POST", path, {"resourceSpans": [{"scopeSpans": [{"spans": [span, {}]}]}]})
    send("POST", "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]})
    send("GET", "/api/traces/{trace_id}")


def _say_of_the_project(send: Callable[..., Any], known: dict[str, str]) -> None:
    made = send("POST", "/api/keys", {"role": "read"})
    known["key_id"] = made["id"]
    token = make(made["key"], "c1", ["n"], int(time.time()) + 60)
    send("POST", "/api/feedback", {"token": token, "name": "n", "value": 1})
    send("DELETE", "/api/keys/{key_id}")
    send("GET", "/api/keys")
    known["project_id"] = send("GET", "/api/auth/validate")["project"]
    send("GET", "/api/projects")
    send("GET", "/api/projects/{project_id}")
    send("GET", "/api/audit", limit="3")
    send("GET", "/api/audit")
    send("GET", "/healthz")
    send("GET", "/readyz")


def test_no_page_loads_anything_from_elsewhere(application: LocalApp) -> None:
    """FastAPI's own pages would: there is none, and what is at its place is the guide."""
    assert application.call("GET", "/redoc").status_code == 404
    assert "<script" not in application.call("GET", "/docs").text
