"""The real `openai` and `anthropic` packages, wrapped: what stays as it is, and errors in good answers.

The matrix of all ways of calling is in `tests/sdks`.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from banyan_hp import ConfigurationError, PromptStackLogger
from banyan_hp.tracking import calls
from banyan_hp.tracking.reading.pieces import CUT
from banyan_hp.tracking.span import Stopwatch
from tests.sdks.answers import INPUT, OUTPUT, TEXT, response
from tests.sdks.scripted import providers
from tests.sdks.ways import SCHEMA, Setting, async_claude, async_gpt, chat, claude, gpt, message, respond
from tests.support.parts import part_of
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request

Record = dict[str, Any]


pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module", autouse=True)
def dropped_clients() -> Iterator[None]:
    """The sockets of clients that a test drops are collected in here, where that is no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(providers()) as scripted:
        yield scripted


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    made = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01)
    yield made
    made.shutdown(5)
    assert made.get_stats()["tracking_errors"] == 0


@pytest.fixture
def asking(server: ScriptedServer, logger: PromptStackLogger) -> Setting:
    return Setting(server.url, logger, "Hi")


def ask(setting: Setting, question: str) -> Setting:
    return Setting(setting.url, setting.logger, question)


def logged(logger: PromptStackLogger, server: ScriptedServer) -> list[Record]:
    assert logger.flush(5)
    return [body for _, body in server.records()]


def only(logger: PromptStackLogger, server: ScriptedServer) -> Record:
    (record,) = logged(logger, server)
    return record


# -- what stays what it was ----------------------------------------------------------------------------------


def clients() -> list[Any]:
    return [
        openai.OpenAI(api_key="sk"),
        openai.AsyncOpenAI(api_key="sk"),
        openai.AzureOpenAI(api_key="sk", azure_endpoint="http://127.0.0.1:9", api_version="v1"),
        anthropic.Anthropic(api_key="sk"),
        anthropic.AsyncAnthropic(api_key="sk"),
    ]


def wrapped(logger: PromptStackLogger, client: Any) -> Any:
    wrap = logger.wrap_anthropic if "nthropic" in type(client).__name__ else logger.wrap_openai
    return wrap(client)


@pytest.mark.parametrize("number", range(len(clients())))
def test_a_wrapped_client_is_of_the_class_that_it_was(logger: PromptStackLogger, number: int) -> None:
    """As are its copies and resources; nothing of it is made by wrapping, and `repr` shows nothing."""
    plain, client = clients()[number], clients()[number]
    before = set(vars(client))
    assert wrapped(logger, client) is client
    assert set(vars(client)) - before == {"request", "copy", "with_options"}
    for each in (client, client.copy(), client.with_options(timeout=3), copy.copy(client)):
        assert type(each) is type(plain)
        assert repr(each).partition(" at ")[0] == repr(plain).partition(" at ")[0]
        assert type(each.beta) is type(plain.beta)
    assert client.with_options(timeout=3).timeout == 3
    resource = "messages" if hasattr(type(plain), "messages") else "chat"
    assert type(getattr(client, resource)) is type(getattr(plain, resource))


def test_copies_keep_credentials_of_a_token_provider(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """The class decides about them, which is not changed."""
    client = openai.OpenAI(api_key=lambda: "fresh", base_url=f"{server.url}/v1", max_retries=0)
    copied = logger.wrap_openai(client).with_options(timeout=9)
    copied.chat.completions.create(**chat(asking))
    (request,) = [each for each in server.requests if each.route == "/v1/chat/completions"]
    assert request.headers["Authorization"] == "Bearer fresh"
    assert only(logger, server)["output"].startswith(TEXT)


def test_wrapping_imports_nothing(server: ScriptedServer) -> None:
    """Resources are made, of many modules, when they are first asked for."""
    program = """
    import openai, anthropic
    gpt, claude = openai.OpenAI(api_key="sk"), anthropic.Anthropic(api_key="sk")
    logger = make()
    before = set(sys.modules)
    logger.wrap_openai(gpt), logger.wrap_anthropic(claude)
    made = {name for name in set(sys.modules) - before if name.startswith(("openai", "anthropic"))}
    print(sorted(made), "chat" in vars(gpt), "messages" in vars(claude))
    """
    finished = run_python(program, url=server.url)
    assert finished.stdout.strip() == "[] False False", finished.stderr


def test_serialising_an_answer_raises_no_warning(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """A parsed one holds an object of the application's own; pytest makes a warning an error."""

    class Weather(pydantic.BaseModel):
        text: str

    logs = server.handler

    def handle(request: Request) -> Any:
        if request.route != "/v1/chat/completions":
            return logs(request)
        message = {"role": "assistant", "content": '{"text": "sunny"}'}
        return Reply(
            200, {"model": "gpt-6", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )

    server.handler = handle
    client = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1"))
    asked: Any = [{"role": "user", "content": "Hi"}]
    parsed = client.chat.completions.parse(model="m", messages=asked, response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(text="sunny")
    assert only(logger, server)["output"] == '{"text": "sunny"}'


def test_what_the_application_changes_later_is_not_recorded(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """Neither in the question nor in the answer, though both are read later."""
    slow = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=60)
    client = slow.wrap_openai(openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0))
    request = chat(asking)
    answer = client.chat.completions.create(**request)
    request["messages"][1]["content"] = "changed"
    request["messages"].append({"role": "user", "content": "appended"})
    answer.choices[0].message.content = "changed"
    record = only(slow, server)
    assert json.loads(record["input"])[-1] == {"role": "user", "content": "Hi"}
    assert record["output"].startswith(TEXT)
    slow.shutdown(5)


# -- what is not recorded, and what is refused ---------------------------------------------------------------


def test_other_requests_pass_unrecorded(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Moderations, counts of tokens, threads' messages: they are named in the guide."""
    logs = server.handler
    replies: dict[str, Any] = {
        "/v1/moderations": {"id": "m", "model": "m", "results": []},
        "/v1/messages/count_tokens": {"input_tokens": 3},
    }

    def handle(request: Request) -> Any:
        return Reply(200, replies[request.route]) if request.route in replies else logs(request)

    server.handler = handle
    asked: Any = [{"role": "user", "content": "Hi"}]
    gpt = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0))
    gpt.moderations.create(input="Hi")
    claude = logger.wrap_anthropic(anthropic.Anthropic(api_key="sk", base_url=server.url, max_retries=0))
    assert claude.messages.count_tokens(model="m", messages=asked).input_tokens == 3
    with pytest.raises(openai.APIStatusError):
        gpt.post("/threads/t1/messages", body={}, cast_to=object)
    assert logged(logger, server) == []


def test_a_client_of_another_make_is_refused(logger: PromptStackLogger) -> None:
    """By its name, also where it has a method `responses.create`, or makes its resources anew."""

    class Mistral:
        responses = SimpleNamespace(create=lambda: None)

    class Anew:
        @property
        def chat(self) -> Any:
            return SimpleNamespace(completions=SimpleNamespace(create=lambda: None))

    with pytest.raises(ConfigurationError, match=r"was .*Mistral"):
        logger.wrap_openai(Mistral())
    with pytest.raises(ConfigurationError, match=r"Anew: its chat\.completions is another object"):
        logger.wrap_openai(Anew())
    with pytest.raises(ConfigurationError, match="was Anthropic"):
        logger.wrap_openai(anthropic.Anthropic(api_key="sk"))


def test_a_client_inside_of_another_is_recorded(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """`instructor` holds one as `client`: the record has what it was told, not what was made of it."""

    class Instructor:
        def __init__(self, client: openai.OpenAI) -> None:
            self.client = client

        def create(self) -> int:
            self.client.chat.completions.create(**chat(asking))
            return 42

    inside = openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0)
    instructor = logger.wrap_openai(Instructor(inside))
    assert instructor.create() == 42
    assert only(logger, server)["output"].startswith(TEXT)


# -- errors in good answers ----------------------------------------------------------------------------------


def failure(record: Record) -> tuple[Any, Any, Any]:
    metadata = record["metadata"]
    return metadata.get("error_type"), metadata.get("error"), metadata.get("ended")


BUSY = ("overloaded_error", "overloaded_error: Too busy.", None)


def test_the_error_event_of_a_stream_is_the_record_s_error(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """Of all three APIs, with what had come before; the application gets its own exception."""
    busy = ask(asking, "overloaded")
    with pytest.raises(openai.APIError):
        list(gpt(busy).chat.completions.create(**chat(busy, stream=True)))
    list(gpt(busy).responses.create(**respond(busy, stream=True)))
    with pytest.raises(anthropic.APIStatusError):
        list(claude(busy).messages.create(**message(busy, stream=True)))
    records = logged(logger, server)
    assert [failure(record) for record in records] == [BUSY] * 3
    assert records[0]["output"] == TEXT


def test_a_stream_that_breaks_off_says_so(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """Where the connection ends in good order, but the answer does not."""
    broken = ask(asking, "broken")
    list(gpt(broken).chat.completions.create(**chat(broken, stream=True)))
    list(claude(broken).messages.create(**message(broken, stream=True)))
    assert [failure(record) for record in logged(logger, server)] == [(None, None, "broken off")] * 2


def test_a_response_that_failed_tells_why(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """Streamed, or worked out in the background and fetched: once."""
    fails = ask(asking, "failed")
    list(gpt(fails).responses.create(**respond(fails, stream=True)))
    client = gpt(fails)
    begun = client.responses.create(**respond(fails, background=True))
    for _ in range(4):
        client.responses.retrieve(begun.id)
    records = logged(logger, server)
    assert [failure(record) for record in records] == [("server_error", "server_error: It broke.", None)] * 2
    assert [record["metadata"]["finish_reason"] for record in records] == ["failed"] * 2


def test_a_background_response_that_is_never_fetched_is_recorded_at_exit(server: ScriptedServer) -> None:
    """As it began."""
    program = """
    import openai
    logger = make()
    gpt = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=os.environ["URL"] + "/v1"))
    gpt.responses.create(model="gpt", input="Hi", background=True)
    """
    finished = run_python(program, url=server.url)
    assert (finished.status, finished.stderr) == (0, "")
    ((_, record),) = server.records()
    metadata = record["metadata"]
    assert (record["input"], metadata["finish_reason"], metadata["ended"]) == ("Hi", "queued", "not fetched")


def test_too_many_background_responses_give_up_the_oldest(
    logger: PromptStackLogger, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded as it began; memory is bounded."""
    monkeypatch.setattr("banyan_hp.tracking.calls.MAX_IN_BACKGROUND", 2)
    logs = server.handler
    numbers = iter(range(3))

    def handle(request: Request) -> Any:
        if request.route != "/v1/responses":
            return logs(request)
        return Reply(200, response(id=f"resp_{next(numbers)}", background=True, status="queued", output=[]))

    server.handler = handle
    client = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1"))
    for question in ("first", "second", "third"):
        client.responses.create(model="gpt", input=question, background=True)
    record = only(logger, server)
    assert (record["input"], record["metadata"]["ended"]) == ("first", "not fetched")
    for number in (1, 2):
        calls.forget_response(f"resp_{number}")


def test_an_answer_that_was_cut_is_kept(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """`parse` raises on it, but it was paid for: text, model, tokens and reason are on the record."""
    logs = server.handler

    def handle(request: Request) -> Any:
        if request.route != "/v1/chat/completions":
            return logs(request)
        message = {"role": "assistant", "content": '{"text": "su'}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        return Reply(200, {"model": "gpt-6", "choices": [choice], "usage": usage})

    server.handler = handle
    client = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1"))
    asked: Any = [{"role": "user", "content": "Hi"}]
    schema: Any = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": SCHEMA}}
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="m", messages=asked, response_format=schema)
    record = only(logger, server)
    metadata = record["metadata"]
    assert (record["output"], record["model"]) == ('{"text": "su', "gpt-6")
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["finish_reason"]) == (
        9,
        4,
        "length",
    )
    assert metadata["error_type"] == "LengthFinishReasonError"


# -- time ----------------------------------------------------------------------------------------------------


def test_a_slow_reader_is_no_slow_model(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """The time ends with the last chunk received; what the application took is told apart."""
    now = [0.0]
    stream = gpt(asking).chat.completions.create(**chat(asking, stream=True))
    watch = _watch_of(stream)
    watch.clock = lambda: now[0]
    watch.restart()
    now[0] = 1.0
    next(stream)
    now[0] = 61.0
    for _ in stream:
        pass
    record = only(logger, server)
    assert record["metadata"]["read_ms"] >= 60_000
    assert record["duration_ms"] <= 61_000


def _watch_of(stream: Any) -> Any:
    return part_of(stream.response.stream, Stopwatch)


def test_a_stream_that_is_dropped_late_ends_with_its_last_chunk(
    logger: PromptStackLogger, asking: Setting, server: ScriptedServer
) -> None:
    """However long the garbage collector, or the application, takes to dispose of it."""
    now = [0.0]
    stream = gpt(asking).chat.completions.create(**chat(asking, stream=True))
    watch = _watch_of(stream)
    watch.clock = lambda: now[0]
    watch.restart()
    now[0] = 2.0
    next(stream)
    now[0] = 500.0
    stream.close()
    record = only(logger, server)
    assert (record["duration_ms"], record["metadata"]["read_ms"]) == (2_000.0, 498_000.0)


def test_of_a_stream_that_is_too_long_the_beginning_and_the_end_are_kept(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; the text says that something is left out, and the tokens are there."""
    monkeypatch.setattr("banyan_hp.tracking.taps.MOST_BYTES", 500)
    monkeypatch.setattr("banyan_hp.tracking.taps.MOST_TAIL_BYTES", 100)
    stream = gpt(asking).chat.completions.create(
        **chat(asking, stream=True, stream_options={"include_usage": True})
    )
    list(stream)
    record = only(logger, server)
    assert CUT in record["output"]
    assert record["metadata"]["output_tokens"] == OUTPUT


# -- side by side --------------------------------------------------------------------------------------------


def test_streams_of_many_threads_and_tasks_are_kept_apart(
    logger: PromptStackLogger, server: ScriptedServer, asking: Setting
) -> None:
    """Each record has its own question, and all are there."""

    def read(number: int) -> None:
        mine = ask(asking, f"thread {number}")
        list(gpt(mine).chat.completions.create(**chat(mine, stream=True)))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    async def tasks() -> None:
        async with async_gpt(asking) as client, async_claude(asking) as other:

            async def one(number: int) -> None:
                mine = ask(asking, f"task {number}")
                async for _ in await client.chat.completions.create(**chat(mine, stream=True)):
                    pass
                await other.messages.create(**message(mine))

            await asyncio.gather(*map(one, range(8)))

    asyncio.run(tasks())
    records = logged(logger, server)
    questions = sorted(json.loads(record["input"])[-1]["content"] for record in records)
    asked = [f"{each} {number}" for each in ("thread", "task", "task") for number in range(8)]
    assert questions == sorted(asked)
    assert {record["output"].partition("\n")[0] for record in records} == {TEXT}


def test_before_send_sees_the_answer(server: ScriptedServer) -> None:
    """What is read by our threads is read before the application looks at the record."""
    seen: list[Record] = []

    def look(record: Record) -> Record:
        seen.append(record)
        return record

    with PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01, before_send=look) as made:
        setting = Setting(server.url, made, "Hi")
        gpt(setting).chat.completions.create(**chat(setting))
    (record,) = seen
    assert (record["metadata"]["input_tokens"], record["metadata"]["output_tokens"]) == (INPUT, OUTPUT)


def test_an_answer_is_on_disk_with_its_text(server: ScriptedServer, tmp_path: Any) -> None:
    """With `durability="disk"` it is read at the call."""
    made = PromptStackLogger(
        "psk_x", "http://127.0.0.1:9", spool_dir=str(tmp_path), durability="disk", max_retries=0
    )
    setting = Setting(server.url, made, "Hi")
    gpt(setting).chat.completions.create(**chat(setting))
    assert any(TEXT.encode() in path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    made.shutdown(0)
