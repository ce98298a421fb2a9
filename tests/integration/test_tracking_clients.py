"""Tracking by the two clients: what arrives at a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptData, PromptStackLogger, ValidationError
from tests.conftest import MakeLogger
from tests.support import recorded
from tests.support.backend import Backend
from tests.support.ledger import assert_balanced
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import one_by_one
from tests.support.untyped import untyped

Make = Callable[..., HuggingPlace]
IN_ORDER: dict[str, Any] = {"flush_interval": 0.05, "max_connections": 1}


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[HuggingPlace] = []

    def build(base_url: str, **options: Any) -> HuggingPlace:
        client = HuggingPlace("key", "org", base_url=base_url, **{**IN_ORDER, **options})
        made.append(client)
        return client

    yield build
    for client in made:
        client.shutdown(5)
        assert_balanced(client.get_stats())


def sent(client: HuggingPlace | PromptStackLogger, server: ScriptedServer) -> list[dict[str, Any]]:
    """The bodies that have arrived, without what is on each of them."""
    assert client.flush(5)
    both = {"org_id": "org", "mode": "prod"}
    return [{name: body[name] for name in body if name not in both} for _, body in server.records()]


def without_times(body: dict[str, Any]) -> dict[str, Any]:
    """The body, once its times are seen to be numbers of a sensible size."""
    assert 0 <= body.pop("response_time") < 5
    for step in body.get("step_data", ()):
        assert 0 <= step.pop("response_time") < 5
    for step in (body.get("metadata") or {}).get("step_details", ()):
        assert 0 <= step.pop("start_ms") < 5000
    return body


def test_an_interaction_with_steps_on_the_wire(make: Make, server: ScriptedServer) -> None:
    """The fields of the published README; what it has no field for is in the metadata."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    with client.interaction("How many?", user_id="u1", metadata={"likes": 1}) as it:
        with it.step("sql", user_question="As SQL?") as step:
            step.response = recorded.CHAT
        it.response = recorded.MESSAGE
    assert it.receipt is not None
    it.receipt.result(5)
    (body,) = sent(client, server)
    assert without_times(body) == {
        "user_prompt": "How many?",
        "response": "Hello, I'm Claude.",
        "llm_model": "claude-sonnet-4-5",
        "token_count": 29 + 123,
        "user_id": "u1",
        "metadata": {
            "input_tokens": 19 + 117,
            "output_tokens": 10 + 6,
            "cached_tokens": 8 + 100,
            "cache_write_tokens": 5,
            "reasoning_tokens": 4,
            "finish_reason": "end_turn",
            "likes": 1,
            "step_details": [{"id": 1, "cached_tokens": 8, "reasoning_tokens": 4, "finish_reason": "stop"}],
        },
        "step_data": [
            {
                "id": 1,
                "type": "sql",
                "user_question": "As SQL?",
                "prompt_response": "Hello! How can I help?",
                "token": 29,
                "input_tokens": 19,
                "output_tokens": 10,
                "llm_model": "gpt-4.1-2025",
            }
        ],
    }


def test_the_backend_takes_what_has_no_answer(make: Make) -> None:
    """It refuses an empty prompt or response: something stands in for them, and nothing is lost."""
    with Backend() as backend:
        client = HuggingPlace("psk_local", "org", base_url=backend.url, **IN_ORDER)
        with pytest.raises(ValueError, match="boom"), client.interaction("q"):
            raise ValueError("boom")
        with client.interaction(""):
            pass
        with client.interaction([]) as it, it.step("empty"):
            it.response = ""
        with client.step("alone", user_question=None):
            pass
        assert client.shutdown(10)
        stats = client.get_stats()
        assert (stats["logs_sent"], stats["logs_rejected"], stats["tracking_errors"]) == (4, 0, 0)
        bodies = [each["body"] for each in backend.interactions()]
    assert [(body["user_prompt"], body["response"]) for body in bodies] == [
        ("q", "Error: ValueError: boom"),
        ("[no prompt]", "[no response]"),
        ("[]", "[no response]"),
        ("[no prompt]", "[no response]"),
    ]
    assert bodies[0]["metadata"] == {"error_type": "ValueError", "error": "ValueError: boom"}


def test_a_session_s_interactions_are_the_session_s(make: Make, server: ScriptedServer) -> None:
    """With its id and defaults; steps that the client opens inside are theirs."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    session = client.start_session("s1", metadata={"channel": "web"})
    with session.interaction("q") as it, client.step("inside"):
        it.response = "a"
    (body,) = sent(client, server)
    (details,) = body["metadata"].pop("step_details")
    assert (body["session_id"], body["metadata"]) == ("s1", {"channel": "web"})
    assert 0 <= details["start_ms"] < 5_000
    assert body["step_data"][0]["type"] == "inside"


def test_ambient_metadata_is_on_everything(make: Make, server: ScriptedServer) -> None:
    """Plain logs and steps, too; what a call gives itself wins; ids become fields of their own."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    log = {"user_prompt": "q", "response": "a"}
    step = {"type": "t", "user_question": "q", "prompt_response": "a", "token": 1, "response_time": 0.5}
    with banyan.context(user_id="u1", session_id="s1", plan="pro"):
        client.log(untyped(log))
        client.log(untyped({**log, "user_id": "u2", "metadata": {"plan": "own"}}))
        client.log(untyped({**log, "metadata": "odd"}))
        client.log_step(untyped(step))
        client.start_session("s2").log(untyped(log))
    client.log(untyped(log))
    first, second, odd, stepped, in_session, last = sent(client, server)
    around = {"user_id": "u1", "session_id": "s1", "plan": "pro"}
    assert first == {**log, "user_id": "u1", "session_id": "s1", "metadata": around}
    assert (second["user_id"], second["metadata"]) == ("u2", {**around, "plan": "own"})
    assert odd == {**log, "metadata": "odd"}
    assert (stepped["session_id"], stepped["metadata"]) == ("s1", around)
    assert in_session["session_id"] == "s2"
    assert last == log


def test_log_with_timing(make: Make, server: ScriptedServer) -> None:
    """As published code calls it: awaited with an async function, plainly with a sync one."""
    server.handler = one_by_one(status=200)
    client = make(server.url)

    async def ask() -> str:
        await asyncio.sleep(0.01)
        return "sunny"

    def fail() -> str:
        raise OSError("down")

    async def main() -> None:
        options = {"session_id": "s1", "llm_model": "m", "metadata": {"source": "api"}}
        assert await client.log_with_timing("Weather?", ask, untyped(options)) == "sunny"

    asyncio.run(main())
    assert client.log_with_timing("Twice?", lambda: "yes") == "yes"
    with pytest.raises(OSError, match="down"):
        client.start_session("s2").log_with_timing("Thrice?", fail)
    awaited, plain, failed = sent(client, server)
    assert awaited["response_time"] >= 0.009
    assert without_times(awaited) == {
        "user_prompt": "Weather?",
        "response": "sunny",
        "llm_model": "m",
        "session_id": "s1",
        "metadata": {"source": "api"},
    }
    assert (plain["user_prompt"], plain["response"]) == ("Twice?", "yes")
    assert (failed["response"], failed["session_id"]) == ("Error: OSError: down", "s2")


def test_a_record_the_client_refuses_is_the_receipt_s_business(make: Make, server: ScriptedServer) -> None:
    """Own fields win, wrong ones too: the caller is not bothered, the receipt tells, the stats count."""
    client = make(server.url)
    with client.interaction("q", response="") as it:
        it.response = "a"
    assert it.receipt is not None
    with pytest.raises(ValidationError, match="response"):
        it.receipt.result(1)
    assert client.get_stats()["logs_rejected"] == 1


def test_fields_of_a_traced_function_may_have_any_name(make: Make, server: ScriptedServer) -> None:
    """Also those that are arguments elsewhere: the function runs, the field wins."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    fields: dict[str, Any] = {"user_prompt": "always this", "type": "own", "user_question": "?"}
    assert client.trace(**fields)(str.upper)("a") == "A"
    assert client.trace(step="s", **fields)(str.upper)("b") == "B"
    interaction, step = sent(client, server)
    assert (interaction["user_prompt"], interaction["response"]) == ("always this", "A")
    assert (step["step_data"][0]["type"], step["step_data"][0]["user_question"]) == ("own", "?")


def test_a_banyan_interaction_on_the_wire(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """`duration_ms`, the prompt's fields, and all else in the metadata."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    prompt = PromptData("p1", "greeting", "Hi {{name}}", "3", "main", "proj")
    messages = [{"role": "user", "content": "Hi"}]
    with logger.interaction(messages, prompt_data=prompt, model="m") as it:
        with it.step("draft") as step:
            step.set_tokens(2, 3)
        it.output = "Hello"
    (body,) = sent(logger, server)
    assert 0 <= body.pop("duration_ms") < 5_000
    assert body["metadata"]["step_data"][0].pop("response_time") < 5
    (details,) = body["metadata"].pop("step_details")
    assert 0 <= details["start_ms"] < 5_000
    assert body == {
        "input": '[{"role":"user","content":"Hi"}]',
        "output": "Hello",
        "model": "m",
        "prompt_id": "p1",
        "prompt_name": "greeting",
        "version": "3",
        "branch_name": "main",
        "metadata": {
            "token_count": 5,
            "input_tokens": 2,
            "output_tokens": 3,
            "step_data": [
                {
                    "id": 1,
                    "type": "draft",
                    "user_question": "Hi",
                    "prompt_response": "[no response]",
                    "token": 5,
                    "input_tokens": 2,
                    "output_tokens": 3,
                }
            ],
        },
    }


def test_the_module_functions_use_the_default_logger(server: ScriptedServer) -> None:
    """Whichever it is when a record is logged: functions are decorated before `configure()`."""
    server.handler = one_by_one()

    @banyan.trace
    def answer(question: str) -> str:
        with banyan.step("inside") as step:
            step.response = "found"
        return question.upper()

    logger = banyan.configure("psk_local", server.url, **IN_ORDER)
    with banyan.context(user_id="u1"):
        assert answer("hi") == "HI"
        with logger.interaction("direct"), banyan.step("joined"):
            pass
        banyan.log_prompt("plain", "text", metadata={"user_id": "own"})
    traced, direct, plain = sent(logger, server)
    assert (traced["input"], traced["output"]) == ("hi", "HI")
    assert traced["metadata"]["step_data"][0]["prompt_response"] == "found"
    assert traced["metadata"]["user_id"] == direct["metadata"]["user_id"] == "u1"
    assert direct["metadata"]["step_data"][0]["type"] == "joined"
    assert plain["metadata"] == {"user_id": "own"}


def test_without_any_logger_the_code_runs(caplog: pytest.LogCaptureFixture) -> None:
    """A traced function is no reason to fail; a warning says what to do."""

    @banyan.trace
    def answer(question: str) -> str:
        return question.upper()

    assert answer("hi") == "HI"
    assert "call configure() first" in caplog.text
    assert banyan.get_stats()["tracking_errors"] == 0


def test_faults_of_tracking_are_counted(make: Make, server: ScriptedServer) -> None:
    """In the client's stats."""
    client = make(server.url)
    with client.interaction("q") as it:
        it.metadata = 3  # type: ignore[assignment]
    assert client.get_stats()["tracking_errors"] == 1
    assert it.receipt is None


def test_switched_off_everything_still_works() -> None:
    """`enabled=False`: nothing is logged, results pass."""
    client = HuggingPlace(enabled=False)
    logger = PromptStackLogger(enabled=False)
    with client.interaction("q") as it, it.step("s"), logger.interaction("q"):
        pass
    assert client.trace(lambda question: question)("x") == "x"
    assert client.get_stats()["logs_queued"] == client.get_stats()["tracking_errors"] == 0


def test_a_client_that_disconnects_from_starlette_s_stream_is_no_error(
    make: Make, server: ScriptedServer
) -> None:
    """Starlette cancels what it streams, by a scope of anyio; the record has what came until then."""
    server.handler = one_by_one(status=200)
    client = make(server.url)
    half_sent = asyncio.Event()

    @client.trace
    async def answer(question: str) -> AsyncIterator[str]:
        yield "half"
        await asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        await half_sent.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            half_sent.set()

    scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}}
    asyncio.run(StreamingResponse(answer("q"))(scope, receive, send))
    (body,) = sent(client, server)
    assert (body["response"], body["metadata"]["ended"]) == ("half", "closed early")
    assert not {"error", "error_type"} & body["metadata"].keys()
