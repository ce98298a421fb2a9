"""The HuggingPlace client as an application sees it, sync and async."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from banyan_hp import (
    AuthenticationError,
    ConfigurationError,
    HuggingPlace,
    HuggingPlaceSDKError,
    ValidationError,
)
from tests.integration.conftest import Make, bodies
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching, one_by_one
from tests.support.untyped import untyped

LOG = {"user_prompt": "What's the weather like?", "response": "Sunny."}
STEP = {"type": "sql", "user_question": "q", "prompt_response": "SELECT 1", "token": 5, "response_time": 0.5}
NOWHERE = "http://127.0.0.1:9"


# -- construction --------------------------------------------------------------------------------------------


def test_a_missing_key_is_both_errors() -> None:
    """Published code catches ValidationError, the README says AuthenticationError."""
    for kind in (AuthenticationError, ValidationError, HuggingPlaceSDKError):
        with pytest.raises(kind, match=r"api_key=.*HUGGINGPLACE_API_KEY"):
            HuggingPlace(org_id="o")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": "k"}, r"org_id=.*HUGGINGPLACE_ORG_ID"),
        ({"api_key": "k", "org_id": "o", "mode": "test"}, r"mode must be 'prod' or 'dev', was 'test'"),
        (
            {"api_key": "k", "org_id": "o", "timeout": 0},
            r"timeout must be a number of milliseconds, 10 or more, was 0",
        ),
        (
            {"api_key": "k", "org_id": "o", "timeout": 0.5},
            r"timeout is in milliseconds and must be 10 or more, was 0\.5; 0\.5 s are timeout=500",
        ),
        ({"api_key": "k", "org_id": "o", "timeout": -5}, r"timeout must be .*was -5"),
    ],
)
def test_bad_arguments_say_what_to_set(arguments: dict[str, Any], message: str) -> None:
    """ValidationError, naming the thing, what it was and what is allowed."""
    with pytest.raises(ValidationError, match=message):
        HuggingPlace(**arguments)


def test_a_dict_and_keywords_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published class takes one dict, its README shows keywords: both, and the environment."""
    wanted: dict[str, Any] = {"org_id": "o", "mode": "dev", "base_url": NOWHERE, "timeout": 500}
    assert HuggingPlace(untyped({"api_key": "k", **wanted, "queue_size": 5})).get_config() == wanted
    assert HuggingPlace(api_key="k", **wanted).get_config() == wanted
    for name, value in (("API_KEY", "k"), ("ORG_ID", "o"), ("MODE", "dev"), ("BASE_URL", NOWHERE)):
        monkeypatch.setenv(f"HUGGINGPLACE_{name}", value)
    assert HuggingPlace(timeout=500).get_config() == wanted


def test_an_engine_setting_is_checked() -> None:
    """As in the Banyan client."""
    with pytest.raises(ConfigurationError, match="overflow"):
        HuggingPlace("k", "o", overflow="explode")  # type: ignore[arg-type]


def test_switched_off_needs_nothing() -> None:
    """`enabled=False`: no key, no organisation, and waiting ends at once."""
    client = HuggingPlace(enabled=False)
    client.log(untyped(LOG)).result(1)
    asyncio.run(client.log(untyped({})))
    assert client.flush(0)


# -- what is sent --------------------------------------------------------------------------------------------


def test_the_body_is_the_caller_s_dict_and_org_and_mode(make: Make, server: ScriptedServer) -> None:
    """Nothing else is added, unknown fields pass, the caller's dict is not changed."""
    server.handler = one_by_one(status=200)
    given = {**LOG, "anything": [1, {"a": None}], "metadata": {"likes": 1}}
    kept = dict(given)
    make(server.url).log(untyped(given)).result(5)
    assert given == kept
    assert bodies(server) == [{**given, "org_id": "org", "mode": "prod"}]
    (request,) = [request for request in server.requests if request.route.endswith("response")]
    assert request.headers["Authorization"] == "Bearer key"


def test_a_step_by_itself(make: Make, server: ScriptedServer) -> None:
    """The same endpoint, with the step's fields under their other names."""
    server.handler = one_by_one(status=200)
    make(server.url).log_step(untyped(STEP)).result(5)
    assert bodies(server) == [
        {
            "user_prompt": "q",
            "response": "SELECT 1",
            "token_count": 5,
            "response_time": 0.5,
            "step_data": [STEP],
            "org_id": "org",
            "mode": "prod",
        }
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response": "r"}, "user_prompt is missing"),
        ({"user_prompt": "", "response": "r"}, "user_prompt must not be empty, was an empty str"),
        ({"user_prompt": "p", "response": None}, "response must not be empty"),
        (["no dict"], "log\\(\\) takes a dict"),
    ],
)
def test_bad_records_are_validation_errors_on_the_wait(make: Make, options: Any, message: str) -> None:
    """The message names the field, what it was and what it should be; the record is counted as rejected."""
    client = make(NOWHERE)
    with pytest.raises(ValidationError, match=message):
        asyncio.run(client.log(options))
    with pytest.raises(ValidationError, match=message):
        client.log(options).result(1)
    assert client.get_stats()["logs_rejected"] == 2


@pytest.mark.parametrize("missing", ["type", "user_question", "prompt_response"])
def test_bad_steps_are_validation_errors(make: Make, missing: str) -> None:
    """A step needs all of these."""
    step = {name: value for name, value in STEP.items() if name != missing}
    with pytest.raises(ValidationError, match=missing):
        make(NOWHERE).log_step(untyped(step)).result(1)


def test_an_error_nobody_looks_at_is_logged_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Fire and forget with a bad record: counted, and a line in the log; none where somebody looked."""
    client = make(NOWHERE)
    with pytest.raises(ValidationError):
        client.log(untyped({})).result(1)
    gc.collect()
    assert "its receipt was not read" not in caplog.text
    client.log(untyped({}))
    client.log(untyped({}))
    gc.collect()
    assert caplog.text.count("its receipt was not read") == 1


def test_a_record_too_large_is_shortened_and_delivered(make: Make, server: ScriptedServer) -> None:
    """The longest texts give way, the record is delivered, and the stats count it."""
    server.handler = one_by_one(status=200)
    client = make(server.url, max_record_bytes=10_000)
    client.log(untyped({**LOG, "parts": ["x" * 1000] * 20})).result(5)
    client.log(untyped({**LOG, "response": "x" * 2_000_000})).result(5)
    parts, response = bodies(server)
    assert len(parts["parts"]) == 20
    assert "… [cut: 1000 characters of text, SHA-256 " in parts["parts"][0]
    assert "… [cut: 2000000 characters of text, SHA-256 " in response["response"]
    assert client.get_stats()["records_shortened"] == 2


@pytest.mark.parametrize(
    ("name", "given", "aside"),
    [
        ("token_count", -1, -1),
        ("token_count", True, True),
        ("response_time", "fast", "fast"),
        ("response_time", -1e-6, -1e-6),
        ("response_time", timedelta(seconds=-2), -2.0),
        ("response_time", float("nan"), "nan"),
    ],
)
def test_a_number_out_of_range_costs_its_field_only(
    make: Make, server: ScriptedServer, caplog: pytest.LogCaptureFixture, name: str, given: Any, aside: Any
) -> None:
    """It goes into `metadata` under its name, is counted and logged; the record is delivered."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    options = {**LOG, name: given, "metadata": {"tenant": "acme"}}
    client.log(untyped(options)).result(5)
    (body,) = bodies(server)
    assert name not in body
    assert body["metadata"] == {"tenant": "acme", name: aside}
    assert client.get_stats()["values_set_aside"] == 1
    assert f"{name} must be a number, 0 or more" in caplog.text
    assert options["metadata"] == {"tenant": "acme"}


def test_a_step_keeps_to_its_record_when_a_number_is_wrong(make: Make, server: ScriptedServer) -> None:
    """Its fields are left empty, in `step_data`, too, and the record's `metadata` has what was given."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    client.log_step(untyped({**STEP, "token": Decimal(12), "response_time": -0.25})).result(5)
    (body,) = bodies(server)
    assert (body["token_count"], body["metadata"]) == (12.0, {"response_time": -0.25})
    assert body["step_data"][0]["token"] == 12.0
    assert "response_time" not in {**body, **body["step_data"][0]}


# -- sessions, operation -------------------------------------------------------------------------------------


def test_a_session_s_logs_carry_its_id_and_defaults(make: Make, server: ScriptedServer) -> None:
    """The call's own values win, no empty dicts are added, steps carry the session, too."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    with client.start_session("s1", metadata={"a": 1, "b": 1}) as session:
        session.log(untyped(LOG)).result(5)
        session.log(untyped({**LOG, "session_id": "own", "metadata": {"b": 2}})).result(5)
        session.update_defaults(user_metadata={"name": "ada"})
        session.log_step(untyped(STEP)).result(5)
        assert session.get_session_info() == {
            "session_id": "s1",
            "metadata": {"a": 1, "b": 1},
            "user_metadata": {"name": "ada"},
        }
    first, second, step = bodies(server)
    assert (first["session_id"], first["metadata"], "user_metadata" in first) == (
        "s1",
        {"a": 1, "b": 1},
        False,
    )
    assert (second["session_id"], second["metadata"]) == ("own", {"a": 1, "b": 2})
    assert (step["session_id"], step["user_metadata"], step["metadata"]) == (
        "s1",
        {"name": "ada"},
        {"a": 1, "b": 1},
    )
    assert client.start_session().session_id != client.start_session().session_id


@pytest.mark.parametrize("timeout", [-1, "5", None, True, float("nan")])
def test_a_bad_timeout_is_named(make: Make, timeout: Any) -> None:
    """flush and shutdown refuse what is not a number of seconds, as in the Banyan client."""
    client = make(NOWHERE)
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        client.flush(timeout)
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        client.shutdown(timeout)


def test_async_twins_and_context_managers(make: Make, server: ScriptedServer) -> None:
    """`async with`, `aflush`, `ashutdown`."""
    server.handler = batching()

    async def main() -> None:
        async with make(server.url) as client:
            client.log(untyped(LOG))
            assert await client.aflush(5)
        assert client.get_stats()["state"] == "stopped"
        assert await client.ashutdown(0)

    asyncio.run(main())
    with make(server.url) as client:
        client.log(untyped(LOG))
    assert len(server.requests) >= 2


def test_the_connection_test_writes_nothing_where_it_can(make: Make, server: ScriptedServer) -> None:
    """An empty batch where batches are taken, else one minimal record; False with a bad key."""
    server.handler = batching()
    assert asyncio.run(make(server.url).test_connection())
    assert bodies(server) == []
    server.handler = one_by_one(status=200)
    assert asyncio.run(make(server.url).test_connection())
    assert bodies(server)[-1]["user_prompt"] == "connection test"
    server.handler = lambda _request: Reply(401, {})
    assert not asyncio.run(make(server.url).test_connection())
    assert "key" not in str(make(server.url).get_config())
