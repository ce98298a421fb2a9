"""Nothing that a request can hold is a failure of the backend: each call, with nasty values in each place."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.app import LocalApp

TEXTS = [
    *("", " ", "\x00", "a\x00b", "\n", "ä", "\U0001f600", "%", "'", '"', '"a', "!!!", "a/b", "..", "NaN"),
    *("-1", "0", "1", "1.0", "99999999999999999999", "9" * 5000, "1.1", "1.99999999999999999999", "0.-1"),
    *("true", "null", "[]", "yesterday", "2026-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"),
    *("user", "model,model", "x" * 300, "x" * 3000, "OR", "NOT x", "x*", "a <-> b", "' | 'x"),
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**400, 1e308, 2**63, "", "\x00", "a\x00b", "\ud800", "x" * 3000),
    *([], [[]], [None], [1], [{}], {}, {"": ""}, {"a": "\x00"}, {"a": {"b": "\udfff"}}, "1.0", "main"),
]


class Shares:
    """Deals values to the databases: each is tried in each place on one of them, in `make soak` on both."""

    def __init__(self, *, first: bool) -> None:
        self._turns = itertools.count(int(first))

    def of(self, tried: list[Any]) -> list[Any]:
        return tried if os.environ.get("SOAK") else tried[next(self._turns) % 2 :: 2]


@pytest.fixture
def shares(request: pytest.FixtureRequest) -> Shares:
    return Shares(first=request.node.callspec.params["new_database"] == "sqlite")


def checked(answer: httpx.Response, *what: object) -> None:
    """No failure, and each refusal in our form."""
    assert answer.status_code < 500, (*what, answer.status_code, answer.text[:300])
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"], str), what
        assert "\n" not in answer.json()["error"], what


def operations(app: LocalApp) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in app.app.openapi()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


@pytest.fixture(scope="module")
def known(application: LocalApp) -> LocalApp:
    """A project with a prompt and an experiment, so that nasty values get as far as they can."""
    app = application.in_new_project()
    prompt = app.call("POST", "/api/logs/cli/prompts", {"name": "email", "content": "c"})
    assert prompt.is_success
    version = {"experiment_version_id": "a", "version": "1.0", "traffic_percentage": 100}
    made = {"experiment_id": "tone", "prompt_name": "email", "sticky_type": "user_id", "versions": [version]}
    assert app.call("POST", "/api/experiments", made).is_success
    app.call("POST", "/api/logs/prompt-usage", {"input": "i", "output": "o", "metadata": {}})
    return app


NAMES = {"name": "email", "experiment_id": "tone"}


def filled(path: str, values: dict[str, str] | None = None) -> str:
    """The path with its parameters, each of which is in the project."""
    return re.sub(
        r"\{(\w+)\}", lambda each: quote({**NAMES, **(values or {})}.get(each[1], "x"), safe=""), path
    )


def test_any_text_in_a_query_is_good_or_refused(known: LocalApp, shares: Shares) -> None:
    """One parameter at a time."""
    for method, path, operation in operations(known):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            for text in shares.of(TEXTS):
                query = [(parameter["name"], text)]
                checked(known.call(method, filled(path), query=query), method, path, query)


def test_any_text_in_a_path_is_good_or_refused(known: LocalApp, shares: Shares) -> None:
    """One that names nothing is a 404, whatever it is made of."""
    for method, path, _ in operations(known):
        for name in re.findall(r"\{(\w+)\}", path):
            for text in shares.of(TEXTS):
                where = filled(path, {name: text})
                if method != "DELETE" or text not in NAMES.values():
                    checked(known.call(method, where, {} if method != "GET" else None), method, where)


def test_a_nul_in_a_path_names_nothing(known: LocalApp) -> None:
    """PostgreSQL takes none, so no call may get as far: a 404 for each parameter of each call."""
    tried = 0
    for method, path, _ in operations(known):
        for name in re.findall(r"\{(\w+)\}", path):
            for text in ("\x00", "a\x00b", "email\x00"):
                where = filled(path, {name: text})
                assert "%00" in where
                answer = known.call(method, where, {} if method in ("POST", "PUT") else None)
                assert answer.status_code == 404, (method, where, answer.status_code, answer.text)
                assert "\x00" not in answer.json()["error"]
                tried += 1
    assert tried >= 3 * 12
    assert known.call("GET", "/docs/%00").status_code == 404


def test_any_value_in_a_body_is_good_or_refused(known: LocalApp, shares: Shares) -> None:
    """The whole, each field that a call knows, and all of them."""
    for method, path, operation in operations(known):
        if "requestBody" not in operation:
            continue
        for value in shares.of(VALUES):
            checked(known.call(method, filled(path), value), method, path, value)
            for body in bodies(known, operation, value):
                checked(known.call(method, filled(path), body), method, path, body)


def bodies(app: LocalApp, operation: dict[str, Any], value: Any) -> Iterator[dict[str, Any]]:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = app.app.openapi()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    good = {
        "name": "email",
        "content": "c",
        "prompt_name": "email",
        "input": "i",
        "output": "o",
        "metadata": {},
    }
    good = {name: good.get(name, "x") for name in schema.get("required", ())}
    for name in schema["properties"]:
        yield {**good, name: value}
    yield dict.fromkeys(schema["properties"], value)


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "X-Event-Time", "X-Project-Id", "If-None-Match", "Authorization"]
)
def test_any_bytes_in_a_header_are_good_or_refused(known: LocalApp, name: str) -> None:
    """Latin-1, UTF-8 or neither."""
    usage = {"input": "i", "output": "o", "metadata": {}}
    for value in (
        b"",
        b"\xff",
        b"\xed\xa0\x80",
        "ä".encode(),
        b"x" * 5000,
        b"Bearer \xff",
        b'"',
        b"9999-99-99T",
    ):
        for method, path, body in (
            ("POST", "/api/logs/prompt-usage", usage),
            ("POST", "/v2/chatgpt/store_generated_response", usage),
            ("GET", "/api/logs/prompt/email", None),
        ):
            headers: Any = {name: value}
            checked(known.call(method, path, body, headers=headers), method, path, name, value)
