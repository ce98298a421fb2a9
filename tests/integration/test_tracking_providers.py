"""The real `openai` and `anthropic` packages, wrapped, against a local server with recorded answers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import anthropic
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam

from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.models import models
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import one_by_one

TOOL = '[tool call] get_weather({"city": "Paris"})'
TOOLS: list[ChatCompletionToolParam] = [{"type": "function", "function": {"name": "get_weather"}}]
CLAUDE_TOOLS: Any = [{"name": "get_weather", "input_schema": {"type": "object"}}]


def ask(question: str = "Hi") -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]


def ask_claude(question: str = "Hi") -> Any:
    return [{"role": "user", "content": question}]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(models(one_by_one(status=200))) as scripted:
        yield scripted


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[HuggingPlace]:
    hp = HuggingPlace("key", "org", base_url=server.url, flush_interval=0.05, max_connections=1)
    yield hp
    hp.shutdown(5)
    assert hp.get_stats()["tracking_errors"] == 0


@pytest.fixture
def gpt(server: ScriptedServer, client: HuggingPlace) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield client.wrap_openai(made)


@pytest.fixture
def claude(server: ScriptedServer, client: HuggingPlace) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk", base_url=server.url, max_retries=0) as made:
        yield client.wrap_anthropic(made)


def logged(client: HuggingPlace, server: ScriptedServer) -> list[dict[str, Any]]:
    assert client.flush(5)
    return [body for _, body in server.records()]


def only(client: HuggingPlace, server: ScriptedServer) -> dict[str, Any]:
    (body,) = logged(client, server)
    return body


REFUSED = "Error: BadRequestError"


def ending(body: dict[str, Any]) -> tuple[str, str, str | None]:
    """Question, answer (of a refusal the beginning), and how it ended."""
    answer = REFUSED if body["response"].startswith(REFUSED) else body["response"]
    return body["user_prompt"], answer, body["metadata"].get("ended")


# -- whole answers -------------------------------------------------------------------------------------------


def test_a_chat_completion(gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer) -> None:
    """Returned as it is, and logged with model, tokens and time."""
    completion = gpt.chat.completions.create(model="gpt-4.1", messages=ask())
    assert type(completion) is ChatCompletion
    body = only(client, server)
    assert 0 < body.pop("response_time") < 5
    assert body == {
        "user_prompt": "Hi",
        "response": "Hello! How can I help?",
        "llm_model": "gpt-4.1-2025",
        "token_count": 29,
        "metadata": {
            "api": "openai.chat.completions",
            "input_tokens": 19,
            "output_tokens": 10,
            "cached_tokens": 8,
            "reasoning_tokens": 4,
            "finish_reason": "stop",
        },
        "org_id": "org",
        "mode": "prod",
    }


def test_arguments_are_not_touched(gpt: openai.OpenAI, server: ScriptedServer) -> None:
    """What goes over the wire is what goes without the wrapper, streaming included."""
    plain = openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0)
    for each in (plain, gpt):
        each.chat.completions.create(model="m", messages=ask(), temperature=0.5)
        each.chat.completions.create(model="m", messages=ask(), stream=True).close()
    plain.close()
    requests = [request for request in server.requests if request.route == "/v1/chat/completions"]
    bodies = [request.json() for request in requests]
    assert bodies[:2] == bodies[2:]
    names = [sorted(name for name in request.headers) for request in requests]
    assert names[:2] == names[2:]


def test_tool_calls_and_several_choices(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Calls are lines of the text; all choices are kept."""
    gpt.chat.completions.create(model="m", messages=ask(), tools=TOOLS)
    gpt.chat.completions.create(model="m", messages=ask(), n=2)
    assert [body["response"] for body in logged(client, server)] == [
        TOOL,
        "[choice 1] Heads.\n\n[choice 2] Tails.",
    ]


def test_the_other_calls_of_openai(gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer) -> None:
    """Responses, `parse`, completions of old, and a copy with other options."""
    gpt.responses.create(model="m", input="Tell me a story", instructions="Be brief.")
    gpt.responses.create(model="m", input="Weather?", tools=[{"type": "web_search"}])
    gpt.chat.completions.parse(model="m", messages=ask("parse"))
    gpt.completions.create(model="m", prompt="Once upon a time")
    gpt.with_options(timeout=9).chat.completions.create(model="m", messages=ask("copied"))
    gpt.with_options(timeout=9).beta.chat.completions.create(model="m", messages=ask("beta"))
    bodies = logged(client, server)
    assert [(body["user_prompt"], body["response"]) for body in bodies] == [
        ("Tell me a story", "Under a blanket of stars."),
        ("Weather?", TOOL),
        ("parse", "Hello! How can I help?"),
        ("Once upon a time", "and so on"),
        ("copied", "Hello! How can I help?"),
        ("beta", "Hello! How can I help?"),
    ]
    assert bodies[0]["metadata"]["reasoning_tokens"] == 64


def test_a_message_of_claude(
    claude: anthropic.Anthropic, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Text and tool calls; tokens read from a cache count as input."""
    claude.messages.create(model="m", max_tokens=9, messages=ask_claude(), tools=CLAUDE_TOOLS)
    claude.beta.messages.create(model="m", max_tokens=9, messages=ask_claude("beta"))
    tools, beta = logged(client, server)
    assert (tools["response"], tools["token_count"]) == (f"Let me look.\n{TOOL}", 123)
    assert tools["metadata"]["cached_tokens"] == 100
    assert (beta["user_prompt"], beta["metadata"]["api"]) == ("beta", "anthropic.beta.messages")


def test_errors_are_raised_as_they_are(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, client: HuggingPlace, server: ScriptedServer
) -> None:
    """And recorded, with what the provider answered; a wrong call that never reached it is none."""
    with pytest.raises(openai.BadRequestError, match="no such model"):
        gpt.chat.completions.create(model="m", messages=ask("refuse"))
    with pytest.raises(anthropic.BadRequestError, match="no such model"):
        claude.messages.create(model="m", max_tokens=9, messages=ask_claude("refuse"))
    with pytest.raises(TypeError, match="required"):
        gpt.chat.completions.create(model="m")  # type: ignore[call-overload]
    bodies = logged(client, server)
    assert [body["metadata"]["error_type"] for body in bodies] == ["BadRequestError"] * 2
    assert bodies[0]["response"].startswith("Error: BadRequestError: ")
    assert bodies[0]["llm_model"] == "m"


def test_raw_responses_are_recorded_and_stay_raw(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Headers and `parse()` as ever, streams too, and what is read by hand."""
    raw = gpt.chat.completions.with_raw_response.create(model="m", messages=ask("raw"))
    assert raw.headers["Content-Type"] == "application/json"
    assert raw.parse().choices[0].message.content == "Hello! How can I help?"
    raw_stream = gpt.chat.completions.with_raw_response.create(model="m", messages=ask("s"), stream=True)
    assert len(list(raw_stream.parse())) == 5
    with gpt.chat.completions.with_streaming_response.create(model="m", messages=ask("hand")) as by_hand:
        assert by_hand.parse().id == "chatcmpl-1"
    assert [(body["user_prompt"], body["response"]) for body in logged(client, server)] == [
        ("raw", "Hello! How can I help?"),
        ("s", "Hello there!"),
        ("hand", "Hello! How can I help?"),
    ]


# -- streams -------------------------------------------------------------------------------------------------


def test_chunks_pass_as_they_come(gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer) -> None:
    """The first ones while the model still thinks; nothing is logged before the end."""
    stream = gpt.chat.completions.create(
        model="m", messages=ask("wait"), stream=True, stream_options={"include_usage": True}
    )
    assert isinstance(stream, openai.Stream)
    assert stream.response.status_code == 200
    next(stream)
    assert next(stream).choices[0].delta.content == "Hello"
    assert client.get_stats()["logs_queued"] == 0
    server.release()
    assert len(list(stream)) == 4
    body = only(client, server)
    assert (body["response"], body["token_count"]) == ("Hello there!", 29)
    metadata = body["metadata"]
    assert 0 < metadata["time_to_first_chunk_ms"] <= body["response_time"] * 1000
    assert (metadata["finish_reason"], "ended" in metadata) == ("stop", False)


def test_a_stream_s_ends(gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer) -> None:
    """Closed by hand, by its `with`, by the collector, by an error: recorded once, with what had come."""

    def two(question: str) -> Any:
        stream = gpt.chat.completions.create(model="m", messages=ask(question), stream=True)
        next(stream), next(stream)
        return stream

    closed = two("close, wait")
    closed.close()
    closed.close()
    with two("with, wait"):
        pass
    two("collect, wait")
    gc.collect()
    with pytest.raises((openai.APIConnectionError, httpx.HTTPError)) as broken:
        list(two("fail"))
    gpt.chat.completions.create(model="m", messages=ask("unread"), stream=True)
    gc.collect()
    bodies = logged(client, server)
    ends = {body["user_prompt"]: (body["response"], body["metadata"].get("ended")) for body in bodies}
    assert ends == {
        "close, wait": ("Hello", "closed early"),
        "with, wait": ("Hello", "closed early"),
        "collect, wait": ("Hello", "garbage-collected"),
        "fail": ("Hello", None),
        "unread": ("[no response]", "garbage-collected"),
    }
    assert len(bodies) == 5
    (error_type,) = (body["metadata"]["error_type"] for body in bodies if body["user_prompt"] == "fail")
    assert error_type == type(broken.value.__cause__ or broken.value).__name__  # what happened below


def test_streamed_tool_calls_and_responses(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Put together from their pieces."""
    list(gpt.chat.completions.create(model="m", messages=ask(), tools=TOOLS, stream=True))
    list(gpt.responses.create(model="m", input="A story", stream=True))
    list(
        claude.messages.create(
            model="m", max_tokens=9, messages=ask_claude(), tools=CLAUDE_TOOLS, stream=True
        )
    )
    bodies = logged(client, server)
    assert [(body["response"], body.get("token_count")) for body in bodies] == [
        (TOOL, None),
        ("Under a blanket of stars.", 123),
        (f"Let me look.\n{TOOL}", 132),
    ]


def test_the_packages_own_helpers(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, client: HuggingPlace, server: ScriptedServer
) -> None:
    """`stream()` managers: one record each, however the helper is read."""
    with gpt.chat.completions.stream(model="m", messages=ask("final")) as chat:
        assert chat.get_final_completion().choices[0].message.content == "Hello there!"
    with gpt.responses.stream(model="m", input="events") as response:
        assert [event.type for event in response][-1] == "response.completed"
    with claude.messages.stream(model="m", max_tokens=9, messages=ask_claude("text")) as message:
        assert list(message.text_stream) == ["Hello", "!"]
        assert isinstance(message, anthropic.MessageStream)
    with claude.messages.stream(model="m", max_tokens=9, messages=ask_claude("left, wait")) as message:
        next(iter(message))
    with gpt.chat.completions.stream(model="m", messages=ask("left, too, wait")) as chat:
        next(chat), next(chat), next(chat)
    with (
        pytest.raises(openai.BadRequestError),
        gpt.chat.completions.stream(model="m", messages=ask("refuse")),
    ):
        pytest.fail("the body ran")
    bodies = logged(client, server)
    assert [ending(body) for body in bodies] == [
        ("final", "Hello there!", None),
        ("events", "Under a blanket of stars.", None),
        ("text", "Hello!", None),
        ("left, wait", "[no response]", "closed early"),
        ("left, too, wait", "Hello", "closed early"),
        ("refuse", REFUSED, None),
    ]


# -- async ---------------------------------------------------------------------------------------------------


def test_async_clients(client: HuggingPlace, server: ScriptedServer) -> None:
    """Whole answers, streams, helpers, errors, raw responses: as sync."""

    async def main() -> None:
        async with (
            openai.AsyncOpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as gpt,
            anthropic.AsyncAnthropic(api_key="sk", base_url=server.url, max_retries=0) as claude,
        ):
            assert client.wrap_openai(gpt) is gpt
            client.wrap_anthropic(claude)
            assert type(await gpt.chat.completions.create(model="m", messages=ask("whole"))) is ChatCompletion
            stream = await gpt.chat.completions.create(model="m", messages=ask("stream"), stream=True)
            assert isinstance(stream, openai.AsyncStream)
            assert len([chunk async for chunk in stream]) == 5
            left = await gpt.chat.completions.create(model="m", messages=ask("left, wait"), stream=True)
            await anext(left), await anext(left)
            await left.close()
            async with gpt.chat.completions.stream(model="m", messages=ask("final")) as chat:
                await chat.get_final_completion()
            async with claude.messages.stream(
                model="m", max_tokens=9, messages=ask_claude("text")
            ) as message:
                assert [text async for text in message.text_stream] == ["Hello", "!"]
            await claude.messages.create(model="m", max_tokens=9, messages=ask_claude("claude"))
            raw = await gpt.chat.completions.with_raw_response.create(model="m", messages=ask("raw"))
            assert raw.parse().id == "chatcmpl-1"
            with pytest.raises(openai.BadRequestError):
                await gpt.chat.completions.create(model="m", messages=ask("refuse"))

    asyncio.run(main())
    bodies = logged(client, server)
    assert [ending(body) for body in bodies] == [
        ("whole", "Hello! How can I help?", None),
        ("stream", "Hello there!", None),
        ("left, wait", "Hello", "closed early"),
        ("final", "Hello there!", None),
        ("text", "Hello!", None),
        ("claude", "Hello, I'm Claude.", None),
        ("raw", "Hello! How can I help?", None),
        ("refuse", REFUSED, None),
    ]


def test_a_cancelled_stream_is_recorded(client: HuggingPlace, server: ScriptedServer) -> None:
    """As closed early, with what had come by then and no error; the cancellation goes on."""

    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as gpt:
            client.wrap_openai(gpt)
            seen = asyncio.Event()

            async def read() -> None:
                stream = await gpt.chat.completions.create(model="m", messages=ask("wait"), stream=True)
                async for chunk in stream:
                    if chunk.choices[0].delta.content == "Hello":
                        seen.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(seen.wait(), 5)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()

    asyncio.run(main())
    body = only(client, server)
    assert (body["response"], body["metadata"]["ended"]) == ("Hello", "closed early")
    assert not {"error", "error_type"} & body["metadata"].keys()
    assert body["metadata"]["read_ms"] < 1000 * body["response_time"] + 1


def test_a_stream_cancelled_before_its_first_byte_is_closed_early(
    client: HuggingPlace, server: ScriptedServer
) -> None:
    """The client's disconnect may come while the model still thinks."""

    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as gpt:
            client.wrap_openai(gpt)
            request = gpt.chat.completions.create(model="m", messages=ask("q"), stream=True)
            task = asyncio.ensure_future(request)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert only(client, server)["metadata"]["ended"] == "closed early"


def test_beta_is_recorded_from_its_first_use_on(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """It is not made by wrapping; also when it is wrapped again, before and after."""
    assert isinstance(gpt, openai.OpenAI)
    assert "beta" not in vars(client.wrap_openai(gpt))
    gpt.beta.chat.completions.create(model="m", messages=ask("one"))
    client.wrap_openai(gpt).beta.chat.completions.parse(model="m", messages=ask("two"))
    bodies = logged(client, server)
    assert [body["user_prompt"] for body in bodies] == ["one", "two"]
    assert bodies[0]["metadata"]["api"] == "openai.chat.completions"  # which it is


# -- together with interactions ------------------------------------------------------------------------------


def test_completions_are_steps_of_the_open_interaction(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Answer, model and tokens of the interaction come of them, streams that end inside included."""
    with client.interaction("outer"):
        gpt.chat.completions.create(model="m", messages=ask("one"))
        list(gpt.chat.completions.create(model="m", messages=ask("two"), stream=True))
    body = only(client, server)
    steps = [(each["type"], each["user_question"], each["token"]) for each in body["step_data"]]
    assert steps == [("completion", "one", 29), ("completion", "two", 0)]
    assert (body["response"], body["llm_model"], body["token_count"]) == ("Hello there!", "gpt-4.1-2025", 29)
    assert body["metadata"]["step_details"][1]["time_to_first_chunk_ms"] > 0


def test_a_stream_that_outlives_its_interaction_is_logged_by_itself(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """A web framework reads it after the handler has returned."""
    with client.interaction("outer"):
        stream = gpt.chat.completions.create(model="m", messages=ask("late"), stream=True)
    list(stream)
    first, second = logged(client, server)
    assert (first["user_prompt"], first["response"], "step_data" in first) == (
        "outer",
        "[no response]",
        False,
    )
    assert (second["user_prompt"], second["response"]) == ("late", "Hello there!")


def test_ambient_metadata_of_a_stream_is_that_of_the_call(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer
) -> None:
    """Wherever it is read or collected."""
    import banyan_hp as banyan

    with banyan.context(user_id="u1"):
        stream = gpt.chat.completions.create(model="m", messages=ask(), stream=True)
    with banyan.context(user_id="u2"):
        list(stream)
    assert only(client, server)["user_id"] == "u1"


# -- wrapping ------------------------------------------------------------------------------------------------


def test_wrapping_again_changes_nothing(
    gpt: openai.OpenAI, client: HuggingPlace, server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """One record each; by another logger the records turn to that one."""
    assert client.wrap_openai(client.wrap_openai(gpt)) is gpt
    gpt.chat.completions.create(model="m", messages=ask())
    assert only(client, server)["user_prompt"] == "Hi"
    logger = make_logger(server.url)
    logger.wrap_openai(gpt).chat.completions.create(model="m", messages=ask("again"))
    assert logger.flush(5)
    bodies = logged(client, server)
    assert len(bodies) == 2
    assert bodies[1]["input"] == '[{"role":"system","content":"Be brief."},{"role":"user","content":"again"}]'
    assert (bodies[1]["output"], bodies[1]["model"]) == ("Hello! How can I help?", "gpt-4.1-2025")


def test_what_is_no_client_is_refused(client: HuggingPlace) -> None:
    """By name, at once."""
    with pytest.raises(ConfigurationError, match=r"wrap_openai\(\) takes a client of the openai .* was int"):
        client.wrap_openai(3)
    with pytest.raises(ConfigurationError, match=r"with messages.create\), was OpenAI"):
        client.wrap_anthropic(openai.OpenAI(api_key="sk"))


def test_mocks_stay_mocks(client: HuggingPlace, server: ScriptedServer) -> None:
    """Applications test with them: results pass, plain iterators as streams, too."""
    mock = MagicMock()
    create = mock.chat.completions.create
    client.wrap_openai(mock)
    assert mock.chat.completions.create(model="m", messages=ask()) is create.return_value
    create.return_value = iter(["a", "b"])
    assert list(mock.chat.completions.create(model="m", messages=ask("iterator"), stream=True)) == ["a", "b"]
    amock = MagicMock()
    amock.messages.create = AsyncMock(return_value="text")
    client.wrap_anthropic(amock)
    assert asyncio.run(amock.messages.create(model="m", messages=ask_claude("async"))) == "text"
    answers = {body["user_prompt"]: body["response"] for body in logged(client, server)}
    assert answers["Hi"].startswith("<MagicMock")
    assert (answers["iterator"], answers["async"]) == ("ab", "text")


def test_a_logger_that_fails_costs_no_completion(gpt: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a chunk: faults of ours are counted, whole answers and streams pass."""
    broken = PromptStackLogger("psk_x", "http://127.0.0.1:9", spool=False)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(broken, "log_prompt", fail)
    monkeypatch.setattr("banyan_hp.tracking.taps.Body", fail)
    broken.wrap_openai(gpt)
    assert gpt.chat.completions.create(model="m", messages=ask()).id == "chatcmpl-1"
    assert len(list(gpt.chat.completions.create(model="m", messages=ask(), stream=True))) == 5
    monkeypatch.setattr("banyan_hp.tracking.wrappers.question_in", fail)
    assert gpt.chat.completions.create(model="m", messages=ask()).id == "chatcmpl-1"
    assert broken.get_stats()["tracking_errors"] == 1 + (1 + 1) + 1
    broken.shutdown(0)


# -- what ends a process -------------------------------------------------------------------------------------


def without_openai_s_own(stderr: str) -> str:
    """From CPython 3.14 on its stream, wrapped or not, can't be closed by the interpreter's end."""
    return (
        ""
        if stderr.endswith("ImportError: sys.meta_path is None, Python is likely shutting down\n")
        else stderr
    )


def test_an_open_stream_is_recorded_when_sigterm_ends_the_process(server: ScriptedServer) -> None:
    """The signal's default action goes past `atexit`."""
    program = """
    import openai, signal
    banyan.configure("psk_x", os.environ["URL"])
    gpt = banyan.wrap_openai(openai.OpenAI(api_key="sk", base_url=os.environ["URL"] + "/v1"))
    stream = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}], stream=True)
    next(stream), next(stream)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    """
    finished = run_python(program, url=server.url)
    assert (finished.status, finished.stderr) == (-15, "")
    ((_, body),) = server.records()
    assert (body["output"], body["metadata"]["ended"]) == ("Hello", "process ended")


def test_an_open_stream_is_recorded_at_exit(server: ScriptedServer) -> None:
    """Once: a forked child does not log its parent's streams."""
    program = """
    import openai
    banyan.configure("psk_x", os.environ["URL"])
    gpt = banyan.wrap_openai(openai.OpenAI(api_key="sk", base_url=os.environ["URL"] + "/v1"))
    stream = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}], stream=True)
    next(stream), next(stream)
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    """
    finished = run_python(program, url=server.url)
    assert (finished.status, without_openai_s_own(finished.stderr)) == (0, "")
    ((_, body),) = server.records()
    assert (body["output"], body["metadata"]["ended"]) == ("Hello", "process ended")
