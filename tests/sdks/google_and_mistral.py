"""More rows of the matrix: the clients of Google and Mistral, wrapped, and what they return given by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tests.sdks.ways import CHAT_TOOLS, NAMES, SCHEMA, Setting, asynchronous, exhaust, package, way

# -- by hand: what they return is given to an interaction, or yielded by a traced generator ------------------


def record(setting: Setting, ask: Callable[[], object]) -> None:
    with setting.logger.interaction(setting.question) as it:
        it.response = ask()


def record_stream(setting: Setting, ask: Callable[[], Iterable[object]]) -> None:
    @setting.logger.trace
    def asked(question: str) -> Any:
        yield from ask()

    list(asked(setting.question))


def gemini(setting: Setting) -> Any:
    return package("google.genai").Client(api_key="sk", http_options={"base_url": setting.url})


def gemini_request(setting: Setting) -> dict[str, Any]:
    declarations = [{"name": name, "description": name} for name in NAMES]
    config = {"tools": [{"function_declarations": declarations}]}
    return {"model": "gemini", "contents": setting.question, "config": config}


@way("google generateContent", "generate_content", "google.genai")
def _(setting: Setting) -> None:
    client = gemini(setting)  # one that nobody holds closes itself in the middle of its request
    record(setting, lambda: client.models.generate_content(**gemini_request(setting)))


@way("google generateContent", "generate_content_stream, traced", "google.genai", streamed=True)
def _(setting: Setting) -> None:
    client = gemini(setting)
    record_stream(setting, lambda: client.models.generate_content_stream(**gemini_request(setting)))


def interaction(setting: Setting, **more: Any) -> dict[str, Any]:
    tools = [{"type": "function", "name": name, "description": name, "parameters": SCHEMA} for name in NAMES]
    return {"model": "gemini", "input": setting.question, "tools": tools, **more}


@way("google interactions", "interactions.create", "google.genai")
def _(setting: Setting) -> None:
    client = gemini(setting)
    record(setting, lambda: client.interactions.create(**interaction(setting)))


@way("google interactions", "interactions.create(stream=True), traced", "google.genai", streamed=True)
def _(setting: Setting) -> None:
    client = gemini(setting)
    record_stream(setting, lambda: client.interactions.create(**interaction(setting, stream=True)))


def mistral(setting: Setting) -> Any:
    return package("mistralai.client").Mistral(api_key="sk", server_url=f"{setting.url}/mistral")


def mistral_request(setting: Setting) -> dict[str, Any]:
    return {
        "model": "mistral",
        "messages": [{"role": "user", "content": setting.question}],
        "tools": CHAT_TOOLS,
    }


@way("mistral chat", "chat.complete", "mistralai")
def _(setting: Setting) -> None:
    record(setting, lambda: mistral(setting).chat.complete(**mistral_request(setting)))


@way("mistral chat", "chat.stream, traced", "mistralai", streamed=True)
def _(setting: Setting) -> None:
    @setting.logger.trace
    def ask(question: str) -> Any:
        with mistral(setting).chat.stream(**mistral_request(setting)) as events:
            yield from events

    list(ask(setting.question))


# -- wrapped -------------------------------------------------------------------------------------------------


def wrapped_gemini(setting: Setting) -> Any:
    return setting.logger.wrap_google_genai(gemini(setting))


@asynccontextmanager
async def wrapped_aio(setting: Setting) -> AsyncIterator[Any]:
    client = wrapped_gemini(setting)
    try:
        yield client.aio
    finally:
        await client.aio.aclose()


@way("google generateContent", "wrapped, generate_content", "google.genai")
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    client.models.generate_content(**gemini_request(setting))


@way("google generateContent", "wrapped, generate_content_stream", "google.genai", streamed=True)
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    list(client.models.generate_content_stream(**gemini_request(setting)))


@way("google generateContent", "wrapped, chat.send_message", "google.genai")
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    chat = client.chats.create(model="gemini", config=gemini_request(setting)["config"])
    chat.send_message(setting.question)


@way("google generateContent", "wrapped, chat.send_message_stream", "google.genai", streamed=True)
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    chat = client.chats.create(model="gemini", config=gemini_request(setting)["config"])
    list(chat.send_message_stream(setting.question))


@way("google generateContent", "wrapped, aio generate_content", "google.genai")
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_aio(setting) as aio:
        await aio.models.generate_content(**gemini_request(setting))


@way("google generateContent", "wrapped, aio generate_content_stream", "google.genai", streamed=True)
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_aio(setting) as aio:
        await exhaust(await aio.models.generate_content_stream(**gemini_request(setting)))


@way("google generateContent", "wrapped, aio chat.send_message", "google.genai")
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_aio(setting) as aio:
        chat = aio.chats.create(model="gemini", config=gemini_request(setting)["config"])
        await chat.send_message(setting.question)


@way("google interactions", "wrapped, interactions.create", "google.genai")
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    client.interactions.create(**interaction(setting))


@way("google interactions", "wrapped, interactions.create(stream=True)", "google.genai", streamed=True)
def _(setting: Setting) -> None:
    client = wrapped_gemini(setting)
    list(client.interactions.create(**interaction(setting, stream=True)))


@way("google interactions", "wrapped, aio interactions.create", "google.genai")
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_aio(setting) as aio:
        await aio.interactions.create(**interaction(setting))


@way("google interactions", "wrapped, aio interactions.create(stream=True)", "google.genai", streamed=True)
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_aio(setting) as aio:
        await exhaust(await aio.interactions.create(**interaction(setting, stream=True)))


def wrapped_mistral(setting: Setting) -> Any:
    return setting.logger.wrap_mistral(mistral(setting))


@way("mistral chat", "wrapped, chat.complete", "mistralai")
def _(setting: Setting) -> None:
    wrapped_mistral(setting).chat.complete(**mistral_request(setting))


@way("mistral chat", "wrapped, chat.stream", "mistralai", streamed=True)
def _(setting: Setting) -> None:
    with wrapped_mistral(setting).chat.stream(**mistral_request(setting)) as events:
        list(events)


@way("mistral chat", "wrapped, chat.complete_async", "mistralai")
@asynchronous
async def _(setting: Setting) -> None:
    async with wrapped_mistral(setting) as client:
        await client.chat.complete_async(**mistral_request(setting))


@way("mistral chat", "wrapped, chat.stream_async", "mistralai", streamed=True)
@asynchronous
async def _(setting: Setting) -> None:
    async with (
        wrapped_mistral(setting) as client,
        await client.chat.stream_async(**mistral_request(setting)) as events,
    ):
        await exhaust(events)
