"""The API's document: it says of each call what it takes, and how it is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.app import LocalApp

METHODS = {"get", "post", "put", "delete"}


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


def test_no_page_loads_anything_from_elsewhere(application: LocalApp) -> None:
    """FastAPI's own pages would: there is none, and what is at its place is the guide."""
    assert application.call("GET", "/redoc").status_code == 404
    assert "<script" not in application.call("GET", "/docs").text
