"""The real LiteLLM against a scripted server: each call is one record, however it is made and ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger, context
from tests.sdks.answers import INPUT, OUTPUT, REASONING, TEXT, TOOL_LINES
from tests.sdks.scripted import providers
from tests.sdks.ways import CHAT_TOOLS
from tests.support.process import run_python
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Reply, Request

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks GitHub for prices
litellm: Any = import_module("litellm")
BanyanLogger: Any = import_module("banyan_hp.integrations.litellm").BanyanLogger

ROOT = Path(__file__).parents[2]
Record = dict[str, Any]
CALLBACKS = (
    *("callbacks", "success_callback", "failure_callback", "_async_success_callback"),
    *("_async_failure_callback", "input_callback"),
)
BUSY: Any = {"error": {"message": "too busy", "type": "overloaded_error"}}
VECTORS: Any = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.123456] * 8}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of the package among itself


class Provider:
    """Answers as OpenAI, after as many errors as a test asks for."""

    def __init__(self) -> None:
        self.failures = 0
        self._others = providers()

    def __call__(self, request: Request) -> Answer:
        if request.route == "/v1/embeddings":
            return Reply(200, VECTORS)
        if request.route == "/v1/chat/completions" and self.failures:
            self.failures -= 1
            return Reply(503, BUSY)
        return self._others(request)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def server(provider: Provider) -> Iterator[ScriptedServer]:
    with ScriptedServer(provider) as scripted:
        yield scripted


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    made = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01)
    yield made
    made.shutdown(5)


@pytest.fixture(autouse=True)
def callbacks(logger: PromptStackLogger) -> Iterator[None]:
    before = {name: list(getattr(litellm, name)) for name in CALLBACKS}
    litellm.callbacks = [BanyanLogger(logger)]
    yield
    for name, value in before.items():
        setattr(litellm, name, value)


@pytest.fixture
def call(server: ScriptedServer) -> dict[str, Any]:
    return {
        "model": "openai/gpt-4o",
        "api_base": f"{server.url}/v1",
        "api_key": "sk-secret",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_retries": 0,
    }


def logged(server: ScriptedServer, count: int) -> list[Record]:
    """What arrives: LiteLLM reports a call on a thread, or a task, of its own."""
    server.wait_for(lambda _: len(server.records()) >= count, 15)
    records = [body for _, body in server.records()]
    assert len(records) == count
    assert "sk-secret" not in json.dumps(records)
    return records


def run(coroutine: Any, server: ScriptedServer, count: int) -> list[Record]:
    """Run it, and let LiteLLM's loop report it."""

    async def whole() -> list[Record]:
        await coroutine
        return await asyncio.to_thread(logged, server, count)

    return asyncio.run(asyncio.wait_for(whole(), 30))


async def exhausted(stream: Any) -> None:
    async for _ in await stream:
        pass


def test_a_call_has_its_tokens_and_its_cost(server: ScriptedServer, call: dict[str, Any]) -> None:
    """As LiteLLM computes it; with user, session, prompt, parameters, tools and its ids."""
    metadata = {"user_id": "u1", "session_id": "s1", "prompt_name": "greeting", "tags": ["a"], "feature": "x"}
    response = litellm.completion(**call, metadata=metadata, temperature=0.5, tools=CHAT_TOOLS)
    (record,) = logged(server, 1)
    found = record["metadata"]
    assert json.loads(record["input"]) == [{"role": "user", "content": "Hi"}]
    assert record["output"] == f"{TEXT}\n" + TOOL_LINES
    assert (record["model"], record["prompt_name"]) == ("gpt-6", "greeting")
    assert (found["input_tokens"], found["output_tokens"], found["reasoning_tokens"]) == (
        INPUT,
        OUTPUT,
        REASONING,
    )
    assert found["cost"] == litellm.completion_cost(response, model="gpt-4o") > 0
    assert (found["user_id"], found["session_id"], found["tags"]) == ("u1", "s1", ["a"])
    assert (found["api"], found["provider"]) == ("litellm.completion", "openai")
    assert (found["parameters"], found["tools"]) == ({"temperature": 0.5}, ["get_weather", "get_time"])
    assert found["finish_reason"] == "tool_calls"
    assert {"litellm_call_id", "litellm_trace_id"} <= found.keys()
    assert "feature" not in found
    assert record["duration_ms"] > 0


def test_a_stream_is_one_record(server: ScriptedServer, call: dict[str, Any]) -> None:
    """With tokens, and the time to the first chunk."""
    list(litellm.completion(**call, stream=True, stream_options={"include_usage": True}))
    (record,) = logged(server, 1)
    assert (record["output"], record["metadata"]["output_tokens"]) == (TEXT, OUTPUT)
    assert 0 < record["metadata"]["time_to_first_chunk_ms"] <= record["duration_ms"]


def test_async_calls_and_streams_are_one_record_each(server: ScriptedServer, call: dict[str, Any]) -> None:
    """Of the same name as sync ones."""

    async def both() -> None:
        await litellm.acompletion(**call)
        await exhausted(litellm.acompletion(**call, stream=True))

    records = run(both(), server, 2)
    assert [record["output"] for record in records] == [TEXT, TEXT]
    assert {record["metadata"]["api"] for record in records} == {"litellm.completion"}


def test_other_calls_of_models_are_recorded(server: ScriptedServer, call: dict[str, Any]) -> None:
    """Responses and embeddings; no vector is kept."""
    asked = {name: value for name, value in call.items() if name not in ("messages", "max_retries")}

    async def both() -> None:
        await litellm.aresponses(**asked, input="Hi")
        await litellm.aembedding(**{**asked, "model": "openai/text-embedding-3-small"}, input=["Hi", "there"])

    response, embedding = run(both(), server, 2)
    assert (response["output"], response["metadata"]["output_tokens"]) == (TEXT, OUTPUT)
    assert embedding["output"] == "[1 embedding of 8 dimensions]"
    assert json.loads(embedding["input"]) == ["Hi", "there"]
    assert embedding["metadata"]["operation"] == "embeddings"
    assert embedding["metadata"]["cost"] > 0
    assert "0.123456" not in json.dumps(embedding)


def test_a_failure_is_one_record(server: ScriptedServer, call: dict[str, Any]) -> None:
    """Sync and async, with the error that the application got, and no cost."""
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**call, "messages": [{"role": "user", "content": "refuse"}]})
    with pytest.raises(litellm.BadRequestError):
        run(litellm.acompletion(**{**call, "messages": [{"role": "user", "content": "refuse"}]}), server, 2)
    for record in logged(server, 2):
        assert record["metadata"]["error_type"] == "BadRequestError"
        assert "no such model" in record["metadata"]["error"]
        assert "cost" not in record["metadata"]


def test_attempts_of_the_router_are_joined_by_their_trace(
    server: ScriptedServer, provider: Provider, call: dict[str, Any]
) -> None:
    """One that failed, its retry that failed, and the fallback that answered: a record for each request."""
    shared = {name: call[name] for name in ("api_base", "api_key")}
    router = litellm.Router(
        model_list=[
            {"model_name": "first", "litellm_params": {"model": "openai/gpt-4o", **shared}},
            {"model_name": "second", "litellm_params": {"model": "openai/gpt-4o-mini", **shared}},
        ],
        fallbacks=[{"first": ["second"]}],
        num_retries=1,
        retry_after=0,
        disable_cooldowns=True,
    )
    provider.failures = 2
    records = run(router.acompletion("first", call["messages"], max_retries=0), server, 3)
    details = [record["metadata"] for record in records]
    assert sorted("error" in each for each in details) == [False, True, True]
    assert len({each["litellm_trace_id"] for each in details}) == 1
    assert {each.get("model_group") for each in details} == {"first", "second"}


def test_fallbacks_that_share_an_id_are_two_records(
    server: ScriptedServer, provider: Provider, call: dict[str, Any]
) -> None:
    """LiteLLM gives the attempt and its fallback one id; neither hides the other."""
    provider.failures = 1
    records = run(litellm.acompletion(**call, fallbacks=["openai/gpt-4o-mini"]), server, 2)
    assert len({record["metadata"]["litellm_call_id"] for record in records}) == 1
    assert sorted("error" in record["metadata"] for record in records) == [False, True]


def test_fifty_calls_at_once_do_not_mix(server: ScriptedServer, call: dict[str, Any]) -> None:
    """Each question has its user, by `context` and by metadata."""

    async def one(number: int) -> None:
        with context(feature=f"f{number}"):
            asked = [{"role": "user", "content": f"question {number}"}]
            await litellm.acompletion(**{**call, "messages": asked}, metadata={"user_id": f"u{number}"})

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(50)))

    records = run(all_of_them(), server, 50)
    seen = {}
    for record in records:
        question, found = json.loads(record["input"])[0]["content"], record["metadata"]
        seen[question] = (found["user_id"], found["feature"])
    assert seen == {f"question {number}": (f"u{number}", f"f{number}") for number in range(50)}


def test_a_call_that_is_reported_twice_is_one_record(
    logger: PromptStackLogger, server: ScriptedServer
) -> None:
    """By the sync and the async hook; another call, or another end of it, is another record."""
    banyan = BanyanLogger(logger)
    start = datetime(2026, 11, 1)
    told = {"litellm_call_id": "c1", "messages": "Hi", "call_type": "acompletion", "model": "m"}
    answer = {"choices": [{"message": {"content": "Hello"}}]}
    hooks = {
        "kwargs": told,
        "response_obj": answer,
        "start_time": start,
        "end_time": start + timedelta(seconds=2),
    }
    banyan.log_success_event(**hooks)
    asyncio.run(banyan.async_log_success_event(**hooks))
    banyan.log_success_event(**{**hooks, "kwargs": {**told, "litellm_call_id": "c2"}})
    banyan.log_failure_event(**{**hooks, "response_obj": None})
    assert logger.flush(10)
    assert [record["output"] for record in logged(server, 3)] == ["Hello", "Hello", ""]
    assert server.records()[0][1]["duration_ms"] == 2000


def test_the_proxys_key_stands_in_for_a_user(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """The client's own metadata comes first; of LiteLLM's only what is named is on the record."""
    banyan = BanyanLogger(logger, metadata=["feature"])
    start = datetime(2026, 11, 1)
    keys = {"user_api_key_user_id": "ann", "user_api_key_alias": "web", "user_api_key_hash": "sk-secret"}
    for number, asked in enumerate([None, {"user_id": "bob", "session_id": "s1", "feature": "search"}]):
        told = {
            "litellm_call_id": f"c{number}",
            "messages": "Hi",
            "call_type": "acompletion",
            "litellm_params": {"metadata": {**keys, "headers": {"authorization": "sk-secret"}}},
            "standard_logging_object": {"metadata": {**keys, "requester_metadata": asked}, "trace_id": "t"},
        }
        banyan.log_success_event(told, {"choices": [{"message": {"content": "a"}}]}, start, start)
    assert logger.flush(10)
    first, second = (record["metadata"] for record in logged(server, 2))
    assert (first["user_id"], first["key_alias"], "session_id" in first) == ("ann", "web", False)
    assert (second["user_id"], second["session_id"], second["feature"]) == ("bob", "s1", "search")


def test_what_the_proxy_puts_in_is_not_the_callers(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Its name for the model, the user behind its master key, and user agents among the tags."""
    told = {
        "litellm_call_id": "c",
        "messages": "Hi",
        "call_type": "acompletion",
        "model": "gpt-4o",
        "standard_logging_object": {
            "metadata": {"user_api_key_user_id": "default_user_id"},
            "request_tags": ["mine", "User-Agent: curl", "User-Agent: curl/7.88.1"],
            "model_group": "assistant",
        },
    }
    answer = {"model": "assistant", "choices": [{"message": {"content": "a"}}]}
    BanyanLogger(logger).log_success_event(told, answer, datetime(2026, 11, 1), datetime(2026, 11, 1))
    assert logger.flush(10)
    (record,) = logged(server, 1)
    assert (record["model"], record["metadata"]["tags"]) == ("gpt-4o", ["mine"])
    assert "user_id" not in record["metadata"]


def test_it_never_raises(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Whatever LiteLLM hands over."""

    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    banyan = BanyanLogger(logger)
    for told in (None, {}, {"optional_params": 7, "litellm_params": []}, Hostile()):
        banyan.log_success_event(told, Hostile(), None, None)
        banyan.log_failure_event(told, None, "x", "y")
    logger.flush(10)


def test_what_is_no_logger_is_refused(logger: PromptStackLogger) -> None:
    """At once, by name."""
    with pytest.raises(ConfigurationError, match="logger must be"):
        BanyanLogger("psk_x")
    with pytest.raises(ConfigurationError, match="metadata must be"):
        BanyanLogger(logger, metadata="user_id")


def test_litellms_own_redaction_holds(
    logger: PromptStackLogger, server: ScriptedServer, call: dict[str, Any]
) -> None:
    """Numbers without texts."""
    litellm.callbacks = [BanyanLogger(logger, turn_off_message_logging=True)]
    litellm.completion(**call)
    (record,) = logged(server, 1)
    assert TEXT not in json.dumps(record)
    assert record["metadata"]["output_tokens"] == OUTPUT


def test_huggingplace_has_the_last_question(server: ScriptedServer, call: dict[str, Any]) -> None:
    """Time in seconds; and an error in place of a response."""
    place = HuggingPlace(api_key="k", org_id="o", base_url=server.url, spool=False, flush_interval=0.01)
    litellm.callbacks = [BanyanLogger(place)]
    litellm.completion(**call, user="u1")
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**call, "messages": [{"role": "user", "content": "refuse"}]})
    good, bad = sorted(logged(server, 2), key=lambda record: "error" in record["metadata"])
    assert (good["user_prompt"], good["response"], good["user_id"]) == ("Hi", TEXT, "u1")
    assert (good["token_count"], 0 < good["response_time"] < 20) == (INPUT + OUTPUT, True)
    assert bad["response"].startswith("Error: BadRequestError")
    place.shutdown(5)


@pytest.mark.parametrize(
    "call",
    [
        "asyncio.run(litellm.acompletion(**asked))",
        "litellm.completion(**asked, fallbacks=['openai/gpt-4o-mini'])",
    ],
)
def test_what_litellm_reports_at_the_exit_arrives(server: ScriptedServer, call: str) -> None:
    """A script that ends right after a call whose report waits in LiteLLM's queue, without a disk."""
    program = f"""
    import asyncio, litellm
    from banyan_hp.integrations.litellm import BanyanLogger
    litellm.callbacks = [BanyanLogger(make(spool=False))]
    asked = dict(model="openai/gpt-4o", api_key="sk", api_base=os.environ["URL"] + "/v1")
    asked["messages"] = [{{"role": "user", "content": "Hi"}}]
    {call}
    """
    finished = run_python(program, url=server.url, LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert finished.status == 0, finished.stderr
    assert [record["output"] for record in logged(server, 1)] == [TEXT]


def test_the_example_streams_and_logs(server: ScriptedServer) -> None:
    """`examples/litellm_app.py`: one record, with its cost and user."""
    keys = {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": f"{server.url}/v1", "BANYAN_API_KEY": "psk_x"}
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples/litellm_app.py"), "Why?"],
        env={**os.environ, **keys, "BANYAN_BASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert {TEXT, "logged: True"} <= set(finished.stdout.splitlines())  # LiteLLM prints of its own
    (record,) = logged(server, 1)
    assert (record["output"], record["prompt_name"]) == (TEXT, "sky")
    assert (record["metadata"]["user_id"], record["metadata"]["cost"] > 0) == ("user_123", True)
