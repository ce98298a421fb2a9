"""Whatever the API's document allows, or does not: no 500, and no response that it does not name.

The requests are schemathesis'; `make soak` sends many more of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.support.backend import Backend
from tests.support.local_backend import RECORD, TS

Operation = Any  # schemathesis'
load_all_checks()
LONG = bool(os.environ.get("SOAK"))
ENDLESS = "/api/calls/follow"  # its response has no end to wait for
LOOKED_AT = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def known(backend: Backend) -> dict[str, str]:
    """Names that lead somewhere, for the parameters of paths."""
    prompt = _made(backend, "/api/logs/cli/prompts", {"name": "n", "content": "c"})
    versions = [{"experiment_version_id": "a", "version": "1", "content": "c", "traffic_percentage": 50}]
    experiment = {"experiment_id": "x", "prompt_name": "n", "sticky_type": "user_id", "versions": versions}
    _made(backend, "/api/experiments", experiment)
    _made(backend, "/api/logs/prompt-usage", RECORD, **{"Idempotency-Key": "c", "X-Event-Time": TS})
    key = _made(backend, "/api/keys", {"role": "read"})
    return {
        "prompt_id": prompt["id"],
        "name": "n",
        "experiment_id": "x",
        "call_id": "c",
        "key_id": key["id"],
        "project_id": "default",
        "label": "staging",
    }


def _made(backend: Backend, path: str, body: dict[str, Any], **headers: str) -> Any:
    sent = {"X-API-Key": backend.api_key, **headers}
    answer = requests.post(backend.url + path, json=body, headers=sent, timeout=10)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _operations(backend: Backend) -> list[Operation]:
    """All, those that remove something last."""
    schema: Any = schemathesis.openapi.from_url(f"{backend.url}/openapi.json")
    found: list[Operation] = [each.ok() for each in schema.get_all_operations()]
    return sorted((each for each in found if each.path != ENDLESS), key=lambda each: each.method == "delete")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_response_contradicts_the_document(
    backend: Backend, known: dict[str, str], mode: GenerationMode
) -> None:
    """Good requests and bad ones, to names that are there and to others."""
    for operation in _operations(backend):
        _check(operation, mode, known, backend)


def _check(operation: Operation, mode: GenerationMode, known: dict[str, str], backend: Backend) -> None:
    @settings(
        max_examples=300 if LONG else 5,
        derandomize=not LONG,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode), named=st.booleans())
    def check(case: Any, named: bool) -> None:
        if named:
            case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        headers = {"X-API-Key": backend.api_key}
        case.call_and_validate(headers=headers, checks=[CHECKS.get_one(each) for each in LOOKED_AT])

    with suppress(Unsatisfiable):  # nothing about it can be wrong
        check()
