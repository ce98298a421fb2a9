"""The ways of calling a provider, through its package and through what stands on it: the rows of the matrix.

A way makes one call and reads what comes to its end. Where its package is not installed it is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from banyan_hp import PromptStackLogger

SCHEMA: Any = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
NAMES = ("get_weather", "get_time")
CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA, "strict": True}} for name in NAMES
]
RESPONSE_TOOLS: Any = [
    {"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in NAMES
]
CLAUDE_TOOLS: Any = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
USAGE: Any = {"include_usage": True}


@dataclass(frozen=True)
class Setting:
    """What a way needs. The clients that it makes are closed with `clients`."""

    url: str
    logger: PromptStackLogger
    question: str
    clients: ExitStack = field(default_factory=ExitStack)


Call = Callable[[Setting], object]


@dataclass(frozen=True)
class Way:
    """A row: which API is called in which way, and with which package.

    Attributes:
        streamed: whether the answer comes bit by bit.
        tools: whether the request offers tools.
    """

    api: str
    name: str
    call: Call
    needs: str
    streamed: bool = False
    tools: bool = True

    @property
    def installed(self) -> bool:
        top, _, _ = self.needs.partition(".")
        return find_spec(top) is not None and find_spec(self.needs) is not None


WAYS: list[Way] = []


def way(api: str, name: str, needs: str, **more: Any) -> Callable[[Call], Call]:
    def add(call: Call) -> Call:
        WAYS.append(Way(api, name, call, needs, **more))
        return call

    return add


def asynchronous(call: Callable[[Setting], Awaitable[object]]) -> Call:
    async def bounded(setting: Setting) -> None:
        await asyncio.wait_for(call(setting), 20)

    return lambda setting: asyncio.run(bounded(setting))


def with_client(
    make: Callable[[Setting], Any],
) -> Callable[[Callable[[Setting, Any], Awaitable[None]]], Call]:
    """The decorated coroutine function gets an async client of its own, closed at its end."""

    def decorate(call: Callable[[Setting, Any], Awaitable[None]]) -> Call:
        async def with_one(setting: Setting) -> None:
            async with make(setting) as client:
                await call(setting, client)

        return asynchronous(with_one)

    return decorate


async def exhaust(stream: AsyncIterable[object]) -> None:
    async for _ in stream:
        pass


def package(name: str) -> Any:
    """Not all of them are in every environment, nor their types."""
    return import_module(name)


# -- openai --------------------------------------------------------------------------------------------------


def unwrapped_gpt(setting: Setting) -> Any:
    import openai

    return setting.clients.enter_context(
        openai.OpenAI(api_key="sk", base_url=f"{setting.url}/v1", max_retries=0)
    )


def gpt(setting: Setting) -> Any:
    return setting.logger.wrap_openai(unwrapped_gpt(setting))


def async_gpt(setting: Setting) -> Any:
    import openai

    client = openai.AsyncOpenAI(api_key="sk", base_url=f"{setting.url}/v1", max_retries=0)
    return setting.logger.wrap_openai(client)


def chat(setting: Setting, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": setting.question}]
    return {"model": "gpt", "messages": messages, "tools": CHAT_TOOLS, **more}


def chat_stream(setting: Setting) -> dict[str, Any]:
    return chat(setting, stream=True, stream_options=USAGE)


@way("openai chat", "create", "openai")
def _(setting: Setting) -> None:
    gpt(setting).chat.completions.create(**chat(setting))


@way("openai chat", "create(stream=True)", "openai", streamed=True)
def _(setting: Setting) -> None:
    list(gpt(setting).chat.completions.create(**chat_stream(setting)))


@way("openai chat", "parse", "openai")
def _(setting: Setting) -> None:
    gpt(setting).chat.completions.parse(**chat(setting))


@way("openai chat", "stream()", "openai", streamed=True)
def _(setting: Setting) -> None:
    with gpt(setting).chat.completions.stream(**chat(setting, stream_options=USAGE)) as stream:
        stream.get_final_completion()


@way("openai chat", "with_raw_response", "openai")
def _(setting: Setting) -> None:
    gpt(setting).chat.completions.with_raw_response.create(**chat(setting)).parse()


@way("openai chat", "with_raw_response, made before wrapping", "openai")
def _(setting: Setting) -> None:
    client = unwrapped_gpt(setting)
    raw = client.chat.completions.with_raw_response
    setting.logger.wrap_openai(client)
    raw.create(**chat(setting)).parse()


@way("openai chat", "with_raw_response(stream=True)", "openai", streamed=True)
def _(setting: Setting) -> None:
    list(gpt(setting).chat.completions.with_raw_response.create(**chat_stream(setting)).parse())


@way("openai chat", "with_streaming_response", "openai")
def _(setting: Setting) -> None:
    with gpt(setting).chat.completions.with_streaming_response.create(**chat(setting)) as response:
        response.parse()


@way("openai chat", "with_streaming_response(stream=True)", "openai", streamed=True)
def _(setting: Setting) -> None:
    with gpt(setting).chat.completions.with_streaming_response.create(**chat_stream(setting)) as response:
        list(response.iter_lines())


@way("openai chat", "with_options().create", "openai")
def _(setting: Setting) -> None:
    gpt(setting).with_options(timeout=9).chat.completions.create(**chat(setting))


@way("openai chat", "client.post", "openai")
def _(setting: Setting) -> None:
    gpt(setting).post("/chat/completions", body=chat(setting), cast_to=dict[str, Any])


@way("openai chat", "async create", "openai")
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    await client.chat.completions.create(**chat(setting))


@way("openai chat", "async create(stream=True)", "openai", streamed=True)
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    await exhaust(await client.chat.completions.create(**chat_stream(setting)))


@way("openai chat", "async stream()", "openai", streamed=True)
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    async with client.chat.completions.stream(**chat(setting, stream_options=USAGE)) as stream:
        await stream.get_final_completion()


@way("openai chat", "async with_raw_response", "openai")
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    (await client.chat.completions.with_raw_response.create(**chat(setting))).parse()


@way("openai chat", "async with_streaming_response(stream=True)", "openai", streamed=True)
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    async with client.chat.completions.with_streaming_response.create(**chat_stream(setting)) as response:
        await exhaust(response.iter_lines())


@way("openai completions", "create", "openai", tools=False)
def _(setting: Setting) -> None:
    gpt(setting).completions.create(model="gpt", prompt=setting.question)


@way("openai completions", "create(stream=True)", "openai", tools=False, streamed=True)
def _(setting: Setting) -> None:
    list(gpt(setting).completions.create(model="gpt", prompt=setting.question, stream=True))


def respond(setting: Setting, **more: Any) -> dict[str, Any]:
    return {
        "model": "gpt",
        "input": setting.question,
        "instructions": "Be brief.",
        "tools": RESPONSE_TOOLS,
        **more,
    }


@way("openai responses", "create", "openai")
def _(setting: Setting) -> None:
    gpt(setting).responses.create(**respond(setting))


@way("openai responses", "create(stream=True)", "openai", streamed=True)
def _(setting: Setting) -> None:
    list(gpt(setting).responses.create(**respond(setting, stream=True)))


@way("openai responses", "parse", "openai")
def _(setting: Setting) -> None:
    gpt(setting).responses.parse(**respond(setting))


@way("openai responses", "stream()", "openai", streamed=True)
def _(setting: Setting) -> None:
    with gpt(setting).responses.stream(**respond(setting)) as stream:
        stream.get_final_response()


@way("openai responses", "with_raw_response", "openai")
def _(setting: Setting) -> None:
    gpt(setting).responses.with_raw_response.create(**respond(setting)).parse()


@way("openai responses", "with_streaming_response(stream=True)", "openai", streamed=True)
def _(setting: Setting) -> None:
    with gpt(setting).responses.with_streaming_response.create(**respond(setting, stream=True)) as response:
        list(response.parse())


@way("openai responses", "beta.responses.create", "openai")
def _(setting: Setting) -> None:
    gpt(setting).beta.responses.create(**respond(setting))


@way("openai responses", "background=True, retrieve", "openai")
def _(setting: Setting) -> None:
    client = gpt(setting)
    begun = client.responses.create(**respond(setting, background=True))
    while client.responses.retrieve(begun.id).status in ("queued", "in_progress"):
        pass
    client.responses.retrieve(begun.id)


@way("openai responses", "async create", "openai")
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    await client.responses.create(**respond(setting))


@way("openai responses", "async create(stream=True)", "openai", streamed=True)
@with_client(async_gpt)
async def _(setting: Setting, client: Any) -> None:
    await exhaust(await client.responses.create(**respond(setting, stream=True)))


@way("openai chat", "litellm.completion(client=…)", "litellm")
def _(setting: Setting) -> None:
    litellm = package("litellm")
    litellm.completion(client=gpt(setting), num_retries=0, **{**chat(setting), "model": "openai/gpt"})


@way("openai chat", "litellm.completion(client=…, stream=True)", "litellm", streamed=True)
def _(setting: Setting) -> None:
    litellm = package("litellm")
    list(
        litellm.completion(
            client=gpt(setting), num_retries=0, **{**chat_stream(setting), "model": "openai/gpt"}
        )
    )


def chat_openai(setting: Setting, **more: Any) -> Any:
    model = package("langchain_openai").ChatOpenAI(
        model="gpt", base_url=f"{setting.url}/v1", api_key="sk", max_retries=0, **more
    )
    setting.logger.wrap_openai(model.root_client)
    setting.logger.wrap_openai(model.root_async_client)
    return model.bind_tools(CHAT_TOOLS)


@way("openai chat", "langchain invoke", "langchain_openai")
def _(setting: Setting) -> None:
    chat_openai(setting).invoke(setting.question)


@way("openai chat", "langchain stream", "langchain_openai", streamed=True)
def _(setting: Setting) -> None:
    list(chat_openai(setting, stream_usage=True).stream(setting.question))


@way("openai chat", "langchain ainvoke", "langchain_openai")
@asynchronous
async def _(setting: Setting) -> None:
    await chat_openai(setting).ainvoke(setting.question)


def agent(setting: Setting, kind: str) -> Any:
    agents = package("agents")
    agents.set_tracing_disabled(True)
    model: Any = getattr(agents, kind)(model="gpt", openai_client=async_gpt(setting))
    settings = agents.ModelSettings(include_usage=True)
    return agents.Agent(name="Brief", instructions="Be brief.", model=model, model_settings=settings)


@way("openai chat", "openai-agents run", "agents", tools=False)
@asynchronous
async def _(setting: Setting) -> None:
    agents = package("agents")
    await agents.Runner.run(agent(setting, "OpenAIChatCompletionsModel"), setting.question)


@way("openai chat", "openai-agents run_streamed", "agents", tools=False, streamed=True)
@asynchronous
async def _(setting: Setting) -> None:
    agents = package("agents")
    run = agents.Runner.run_streamed(agent(setting, "OpenAIChatCompletionsModel"), setting.question)
    await exhaust(run.stream_events())


@way("openai responses", "openai-agents run", "agents", tools=False)
@asynchronous
async def _(setting: Setting) -> None:
    agents = package("agents")
    await agents.Runner.run(agent(setting, "OpenAIResponsesModel"), setting.question)


@way("openai responses", "openai-agents run_streamed", "agents", tools=False, streamed=True)
@asynchronous
async def _(setting: Setting) -> None:
    agents = package("agents")
    run = agents.Runner.run_streamed(agent(setting, "OpenAIResponsesModel"), setting.question)
    await exhaust(run.stream_events())


# -- anthropic -----------------------------------------------------------------------------------------------


def claude(setting: Setting) -> Any:
    import anthropic

    client = setting.clients.enter_context(
        anthropic.Anthropic(api_key="sk", base_url=setting.url, max_retries=0)
    )
    return setting.logger.wrap_anthropic(client)


def async_claude(setting: Setting) -> Any:
    import anthropic

    client = anthropic.AsyncAnthropic(api_key="sk", base_url=setting.url, max_retries=0)
    return setting.logger.wrap_anthropic(client)


def message(setting: Setting, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": setting.question}]
    return {"model": "claude", "max_tokens": 99, "messages": messages, "tools": CLAUDE_TOOLS, **more}


@way("anthropic messages", "create", "anthropic")
def _(setting: Setting) -> None:
    claude(setting).messages.create(**message(setting))


@way("anthropic messages", "create(stream=True)", "anthropic", streamed=True)
def _(setting: Setting) -> None:
    list(claude(setting).messages.create(**message(setting, stream=True)))


@way("anthropic messages", "stream()", "anthropic", streamed=True)
def _(setting: Setting) -> None:
    with claude(setting).messages.stream(**message(setting)) as stream:
        stream.get_final_message()


@way("anthropic messages", "stream().text_stream", "anthropic", streamed=True)
def _(setting: Setting) -> None:
    with claude(setting).messages.stream(**message(setting)) as stream:
        list(stream.text_stream)


@way("anthropic messages", "with_raw_response", "anthropic")
def _(setting: Setting) -> None:
    claude(setting).messages.with_raw_response.create(**message(setting)).parse()


@way("anthropic messages", "with_streaming_response(stream=True)", "anthropic", streamed=True)
def _(setting: Setting) -> None:
    with claude(setting).messages.with_streaming_response.create(**message(setting, stream=True)) as response:
        list(response.iter_lines())


@way("anthropic messages", "beta.messages.create", "anthropic")
def _(setting: Setting) -> None:
    claude(setting).beta.messages.create(**message(setting))


@way("anthropic messages", "beta.messages.stream()", "anthropic", streamed=True)
def _(setting: Setting) -> None:
    with claude(setting).beta.messages.stream(**message(setting)) as stream:
        stream.get_final_message()


@way("anthropic messages", "with_options().create", "anthropic")
def _(setting: Setting) -> None:
    claude(setting).with_options(timeout=9).messages.create(**message(setting))


@way("anthropic messages", "async create", "anthropic")
@with_client(async_claude)
async def _(setting: Setting, client: Any) -> None:
    await client.messages.create(**message(setting))


@way("anthropic messages", "async stream()", "anthropic", streamed=True)
@with_client(async_claude)
async def _(setting: Setting, client: Any) -> None:
    async with client.messages.stream(**message(setting)) as stream:
        await stream.get_final_message()


@way("anthropic messages", "async with_raw_response", "anthropic")
@with_client(async_claude)
async def _(setting: Setting, client: Any) -> None:
    await (await client.messages.with_raw_response.create(**message(setting))).parse()


@way("anthropic messages", "langchain invoke", "langchain_anthropic")
def _(setting: Setting) -> None:
    chat_anthropic(setting).invoke(setting.question)


@way("anthropic messages", "langchain stream", "langchain_anthropic", streamed=True)
def _(setting: Setting) -> None:
    list(chat_anthropic(setting).stream(setting.question))


def chat_anthropic(setting: Setting) -> Any:
    model = package("langchain_anthropic").ChatAnthropic(
        model="claude", base_url=setting.url, api_key="sk", max_retries=0, max_tokens=99
    )
    # private: LangChain makes its client itself
    setting.logger.wrap_anthropic(model._client)
    return model.bind_tools(CLAUDE_TOOLS)
