"""What the published SDK's README shows works as shown, but for the import's name: against the local backend.

The prelude of each test supplies the names that README leaves undefined: a client, or its configuration.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp import AuthenticationError, HuggingPlace, NetworkError, ValidationError
from tests.support.backend import Backend
from tests.support.untyped import untyped

STEP = {
    "id": 1,
    "type": "sql_generation",
    "user_question": "Generate SQL to find last month's sales",
    "prompt_response": "SELECT COUNT(*) FROM sales",
    "token": 150,
    "response_time": 1.5,
    "input_tokens": 50,
    "output_tokens": 100,
    "llm_model": "gpt-4o",
}
EVERY_FIELD: dict[str, Any] = {
    "user_prompt": "How many sales were there last month?",
    "response": "There were 1,245 sales last month.",
    "user_id": "user-123",
    "session_id": "session-456",
    "file_name": "sales_data.csv",
    "llm_model": "gpt-4o",
    "llm_model2": "gpt-4o",
    "token_count": 350,
    "response_time": 2.3,
    "message_id": "msg-789",
    "metadata": {"session_id": "session-456", "likes": 0, "dislikes": 0, "recommendation_id": "rec-789"},
    "user_metadata": {"email": "user@example.com", "username": "john_doe", "org_name": "Example Corp"},
    "step_data": [STEP],
    "user_roles": "admin",
    "org_uuid": "org-202",
    "mapping_table": "mappings_org_202",
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(api_keys=("your-api-key",)) as running:
        yield running


@pytest.fixture
def huggingplace(backend: Backend) -> Iterator[HuggingPlace]:
    """The README's client, with all arguments of its "Configuration"."""
    with HuggingPlace(
        api_key="your-api-key", org_id="your-org-id", mode="prod", base_url=backend.url, timeout=10000
    ) as client:
        yield client


def newest(backend: Backend) -> dict[str, Any]:
    body: dict[str, Any] = backend.interactions()[-1]["body"]
    return body


def test_a_simple_interaction(huggingplace: HuggingPlace, backend: Backend) -> None:
    """ "Quick Start": two required fields and metadata."""

    async def main() -> None:
        await huggingplace.log(
            {
                "user_prompt": "What's the weather like?",
                "response": "The weather is sunny today.",
                "metadata": {"session_id": "session-123", "user_id": "user-456"},
            }
        )

    asyncio.run(main())
    assert newest(backend) == {
        "user_prompt": "What's the weather like?",
        "response": "The weather is sunny today.",
        "metadata": {"session_id": "session-123", "user_id": "user-456"},
        "org_id": "your-org-id",
        "mode": "prod",
    }


def test_every_field_arrives_as_it_is(huggingplace: HuggingPlace, backend: Backend) -> None:
    """ "log(options)": no transformation is performed."""
    asyncio.run(huggingplace.log(untyped(EVERY_FIELD)))
    assert newest(backend) == {**EVERY_FIELD, "org_id": "your-org-id", "mode": "prod"}


def test_a_step_by_itself(huggingplace: HuggingPlace, backend: Backend) -> None:
    """ "log_step(step_data)"."""
    asyncio.run(huggingplace.log_step(untyped(STEP)))
    assert newest(backend)["step_data"] == [STEP]


def test_a_conversation(huggingplace: HuggingPlace, backend: Backend) -> None:
    """ "Session-based Logging": two logs of one session."""
    session = huggingplace.start_session("conversation-123")

    async def main() -> None:
        await session.log({"user_prompt": "Hello", "response": "Hi there!", "metadata": {"step": 1}})
        await session.log({"user_prompt": "And tomorrow?", "response": "Cloudy.", "metadata": {"step": 2}})

    asyncio.run(main())
    logged = backend.interactions(session_id="conversation-123")
    assert [entry["body"]["metadata"] for entry in logged] == [{"step": 1}, {"step": 2}]


def test_configuration_from_the_environment(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Environment Variables" and "Manual Logging"."""
    monkeypatch.setenv("HUGGINGPLACE_API_KEY", "your-api-key")
    monkeypatch.setenv("HUGGINGPLACE_ORG_ID", "your-org-id")
    monkeypatch.setenv("HUGGINGPLACE_MODE", "dev")
    monkeypatch.setenv("HUGGINGPLACE_BASE_URL", backend.url)
    key, org = os.getenv("HUGGINGPLACE_API_KEY"), os.getenv("HUGGINGPLACE_ORG_ID")
    with HuggingPlace(api_key=key, org_id=org) as client:
        asyncio.run(client.log(untyped(EVERY_FIELD)))
    assert newest(backend)["mode"] == "dev"


@pytest.mark.parametrize(
    ("options", "record", "kind"),
    [
        ({"api_key": "wrong"}, {"user_prompt": "p", "response": "r"}, AuthenticationError),
        ({}, {"user_prompt": "p"}, ValidationError),
        (
            {"base_url": "http://127.0.0.1:9", "max_retries": 0},
            {"user_prompt": "p", "response": "r"},
            NetworkError,
        ),
    ],
)
def test_error_handling(
    backend: Backend, options: dict[str, Any], record: dict[str, Any], kind: type
) -> None:
    """ "Error Handling": each error is the one that its except clause names."""
    arguments = {"api_key": "your-api-key", "org_id": "your-org-id", "base_url": backend.url, **options}
    caught = ""

    async def main() -> str:
        try:
            await client.log(untyped(record))
        except AuthenticationError:
            return "AuthenticationError"
        except ValidationError:
            return "ValidationError"
        except NetworkError:
            return "NetworkError"
        return "delivered"

    with HuggingPlace(**arguments) as client:
        caught = asyncio.run(main())
    assert caught == kind.__name__
