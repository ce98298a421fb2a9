"""Chains with a real model class, how to call them, and what their records say."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from tests.frameworks.talking import CACHED, INPUT, OUTPUT, REASONING
from tests.support.scripted import ScriptedServer

STREAMED = ("stream", "astream", "events")
WAYS = ("invoke", "ainvoke", "batch", "abatch", *STREAMED)
TOKENS = {
    "input_tokens": INPUT,
    "output_tokens": OUTPUT,
    "token_count": INPUT + OUTPUT,
    "cached_tokens": CACHED,
    "reasoning_tokens": REASONING,
}


def model_at(server: ScriptedServer, **options: Any) -> Any:
    return ChatOpenAI(model="gpt-6", base_url=f"{server.url}/v1", api_key="sk", max_retries=0, **options)


def chain_of(model: Any) -> Any:
    template = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
    return template | model | StrOutputParser()


def bodies(server: ScriptedServer, logger: Any) -> list[Any]:
    """All records that have come."""
    assert logger.flush(10)
    return [body for _, body in server.records()]


def steps_of(body: Any) -> list[tuple[str, str, str, str | None]]:
    """Of each step its type, question, answer and the type of the step around it."""
    metadata = body["metadata"] if "step_data" not in body else body
    types = {step["id"]: step["type"] for step in metadata.get("step_data", ())}
    details = {each["id"]: each for each in body["metadata"].get("step_details", ())}
    return [
        (
            step["type"],
            step["user_question"],
            step["prompt_response"],
            types.get(details[step["id"]].get("parent")),
        )
        for step in metadata.get("step_data", ())
    ]


def call(runnable: Any, way: str, asked: Any, config: Any) -> None:
    """Have it answer in one of the ways that there are."""
    if way == "stream":
        list(runnable.stream(asked, config))
    elif way == "astream":
        run(read_all(runnable.astream(asked, config)))
    elif way == "events":
        run(read_all(runnable.astream_events(asked, config, version="v2")))
    elif way in ("batch", "abatch"):
        called = getattr(runnable, way)([asked], config)
        run(result_of(called)) if way == "abatch" else called
    else:
        called = getattr(runnable, way)(asked, config)
        run(result_of(called)) if way == "ainvoke" else called


LOOP: list[asyncio.Runner] = []


def run(work: Any) -> Any:
    """As `asyncio.run`, in that loop."""
    return LOOP[0].run(work)


async def read_all(stream: Any) -> list[Any]:
    return [each async for each in stream]


async def result_of(called: Any) -> Any:
    return await called
