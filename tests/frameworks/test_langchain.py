"""LangChain with the real `langchain-openai`: what is recorded of chains, models, tools and retrievers."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import tool
from langchain_openai import OpenAI

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.integrations.langchain import BanyanCallbackHandler
from tests.frameworks.chains import (
    STREAMED,
    TOKENS,
    WAYS,
    bodies,
    call,
    chain_of,
    model_at,
    read_all,
    result_of,
    run,
    steps_of,
)
from tests.frameworks.talking import INPUT, OUTPUT
from tests.sdks.answers import TEXT, TOOL_LINES
from tests.sdks.scripted import providers
from tests.support.scripted import ScriptedServer

pytestmark = pytest.mark.usefixtures("one_loop")


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_a_chain_is_a_record_with_its_model_as_a_step(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Templates and parsers are not shown; the model's tokens are the chain's."""
    config = {
        "callbacks": [handler],
        "tags": ["mine"],
        "run_name": "greeting",
        "metadata": {"user_id": "u", "session_id": "s", "n": 1},
    }
    assert chain_of(model_at(server, temperature=0.5)).invoke({"question": "hi"}, config=config) == "re hi"
    (body,) = bodies(server, logger)
    assert (body["input"], body["output"], body["model"]) == ("hi", "re hi", "gpt-6-2026")
    metadata = body["metadata"]
    about = {"user_id": "u", "session_id": "s", "n": 1, "run_name": "greeting", "run_type": "chain"}
    assert metadata.items() >= {**TOKENS, **about}.items()
    assert metadata["tags"] == ["mine"]
    assert steps_of(body) == [("ChatOpenAI", "hi", "re hi", None)]
    (details,) = metadata["step_details"]
    assert details["provider"] == "openai"
    assert (details["temperature"], details["run_type"]) == (0.5, "llm")
    assert "tags" not in details and "user_id" not in details
    assert 0 < metadata["step_data"][0]["response_time"] <= body["duration_ms"] / 1000


def test_each_way_of_calling_a_model_gives_the_same_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Streams, too, which also have the time to their first chunk."""
    for way in WAYS:
        call(model_at(server), way, [("system", "Be brief."), ("human", "hi")], {"callbacks": [handler]})
    for way, body in zip(WAYS, bodies(server, logger), strict=True):
        metadata = body["metadata"]
        assert (body["output"], body["model"]) == ("re hi", "gpt-6-2026"), way
        assert json.loads(body["input"]) == MESSAGES, way
        assert metadata.items() >= {**TOKENS, "finish_reason": "stop", "provider": "openai"}.items(), way
        assert ("time_to_first_chunk_ms" in metadata) == (way in STREAMED), way
        assert "ended" not in metadata and "error" not in metadata, way


def test_each_way_of_calling_a_chain_gives_the_same_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """What a stream was asked comes at its end."""
    for way in WAYS:
        call(chain_of(model_at(server)), way, {"question": "hi"}, {"callbacks": [handler]})
    for way, body in zip(WAYS, bodies(server, logger), strict=True):
        metadata = body["metadata"]
        assert (body["input"], body["output"], body["model"]) == ("hi", "re hi", "gpt-6-2026"), way
        assert steps_of(body) == [("ChatOpenAI", "hi", "re hi", None)], way
        assert ("time_to_first_chunk_ms" in metadata["step_details"][0]) == (way in STREAMED), way
        assert metadata["token_count"] == INPUT + OUTPUT, way
        assert "ended" not in metadata and "error" not in metadata, way


# -- what is inside ------------------------------------------------------------------------------------------


@tool  # type: ignore[untyped-decorator]
def shout(word: str) -> str:
    """Say a word loudly."""
    return word.upper()


class Shelf(BaseRetriever):  # type: ignore[misc]
    """A retriever of one document."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(page_content=f"about {query}", metadata={"page": 3})]


def test_retrievers_tools_and_branches_are_steps_where_they_were_made(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """With names, questions and answers; of parallel branches each has its own."""
    both = RunnableParallel(found=Shelf(), loud=RunnableLambda(lambda word: shout.invoke({"word": word})))
    chain = both | RunnableLambda(lambda found: found["loud"]).with_config(run_name="choose")
    assert chain.invoke("hi", {"callbacks": [handler]}) == "HI"
    (body,) = bodies(server, logger)
    steps: dict[str, Any] = {kind: rest for kind, *rest in steps_of(body)}
    assert list(steps) == ["RunnableParallel<found,loud>", "Shelf", "RunnableLambda", "shout", "choose"]
    document = [{"page_content": "about hi", "metadata": {"page": 3}}]
    parallel = "RunnableParallel<found,loud>"
    assert json.loads(steps["Shelf"][1]) == document
    assert (steps["Shelf"][0], steps["Shelf"][2]) == ("hi", parallel)
    assert steps["RunnableLambda"] == ["hi", "HI", parallel]
    assert steps["shout"] == ['{"word":"hi"}', "HI", "RunnableLambda"]
    assert steps["choose"][1:] == ["HI", None]
    kinds = [each["run_type"] for each in body["metadata"]["step_details"]]
    assert sorted(kinds) == ["chain", "chain", "chain", "retriever", "tool"]


def test_a_model_of_texts_is_recorded(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """With its tokens; a fake one without."""
    with openai.DefaultHttpxClient() as http:
        model = OpenAI(model="gpt-6", base_url=f"{server.url}/v1", api_key="sk", http_client=http)
        model.invoke("hi", {"callbacks": [handler]})
    FakeListLLM(responses=["hello"]).invoke("fake", {"callbacks": [handler]})
    real, fake = bodies(server, logger)
    assert (real["input"], real["output"], real["model"]) == ("hi", "re hi", "gpt-6")
    assert real["metadata"].items() >= {"token_count": INPUT + OUTPUT, "finish_reason": "stop"}.items()
    assert (fake["input"], fake["output"]) == ("fake", "hello")


def test_the_other_client_has_its_fields(server: ScriptedServer) -> None:
    """User and session, of `configurable`, too; a session of HuggingPlace's own keeps its id."""
    model = model_at(server)

    def inner(word: str) -> Any:
        return model.invoke(word)

    chain = RunnableLambda(inner)
    with HuggingPlace("psk_local", "org", base_url=server.url) as client:
        given = {"callbacks": [BanyanCallbackHandler(client)]}
        chain.invoke("a", {**given, "metadata": {"user_id": 7, "thread_id": "t"}})
        chain.invoke("b", {**given, "configurable": {"user_id": "u", "thread_id": "t2"}})
        chain.invoke(
            "c",
            {
                "callbacks": [BanyanCallbackHandler(client.start_session("own"))],
                "metadata": {"thread_id": "t"},
            },
        )
        found = bodies(server, client)
    assert [(body["user_prompt"], body["response"], body["llm_model"]) for body in found] == [
        (word, f"re {word}", "gpt-6-2026") for word in "abc"
    ]
    assert [(body.get("user_id"), body.get("session_id")) for body in found] == [
        ("7", "t"),
        ("u", "t2"),
        (None, "own"),
    ]
    assert [body["token_count"] for body in found] == [INPUT + OUTPUT] * 3
    assert steps_of(found[0]) == [("ChatOpenAI", "a", "re a", None)]


# -- errors --------------------------------------------------------------------------------------------------


def test_an_error_in_the_middle_is_on_its_step_and_on_the_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """It reaches the application as it was; the steps before it are there."""
    chain = RunnableLambda(lambda word: f"{word} refuse").with_config(run_name="before") | model_at(server)
    with pytest.raises(openai.BadRequestError):
        chain.invoke("please", {"callbacks": [handler]})
    (body,) = bodies(server, logger)
    assert [step[0] for step in steps_of(body)] == ["before", "ChatOpenAI"]
    before, failed = body["metadata"]["step_details"]
    assert "error" not in before
    assert failed["error_type"] == body["metadata"]["error_type"]
    assert "no such model" in failed["error"]


def test_a_stream_that_breaks_or_is_left_has_what_came(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Who leaves it has closed it, which is no error. What a chain leaves running is a record of its own."""
    model = model_at(server)
    with pytest.raises(Exception, match="Connection error"):
        list(model.stream("break this off", {"callbacks": [handler]}))
    for _ in model.stream("leave it", {"callbacks": [handler]}):
        break
    for _ in chain_of(model).stream({"question": "leave it"}, {"callbacks": [handler]}):
        break
    broken, left, chain, inner = bodies(server, logger)
    assert broken["metadata"]["error"]
    assert (left["output"], left["metadata"]["ended"]) == ("re", "closed early")
    assert (chain["metadata"]["run_type"], inner["metadata"]["step_data"][0]["type"]) == (
        "chain",
        "ChatOpenAI",
    )
    assert not [body for body in (left, chain, inner) if "error" in body["metadata"]]


def test_nothing_in_the_handler_reaches_the_application(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be recorded is counted, and the rest of the run is recorded."""
    logger = PromptStackLogger("psk_local", server.url)
    handler: Any = BanyanCallbackHandler(logger)

    class Hostile(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("no")

    chain = RunnableLambda(lambda _: {"messages": object(), "n": float("nan")})
    chain.invoke(Hostile(a=1), {"callbacks": [handler]})
    chain.invoke("fine", {"callbacks": [handler], "metadata": {"odd": object(), "deep": [[[[[[[[1]]]]]]]]}})
    handler.on_chain_end({}, run_id=None)
    handler.on_llm_end(None, run_id="nobody's")
    handler.on_chat_model_start(None, [], run_id="empty", parent_run_id=None)
    handler.on_llm_end(None, run_id="empty")
    assert [body["input"] for body in bodies(server, logger)][1:2] == ["fine"]
    assert logger.get_stats()["tracking_errors"] > 0
    logger.shutdown(1)
    assert chain.invoke("after the end", {"callbacks": [handler]})["n"]
    assert "callback" not in caplog.text


# -- many at once --------------------------------------------------------------------------------------------


def mixed(found: list[Any]) -> list[Any]:
    """The records whose user, question, answer, steps or tokens are not of one run."""
    return [
        body
        for body in found
        if (word := body["metadata"]["user_id"])
        and not (
            body["input"] == word
            and body["output"] == f"re {word}"
            and [step[1] for step in steps_of(body)] == [word] * 2
            and body["metadata"]["token_count"] == INPUT + OUTPUT
        )
    ]


@pytest.mark.parametrize("way", ["tasks", "threads", "batch", "abatch", "streams"])
def test_fifty_runs_at_once_do_not_mix(
    way: str, server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """By one handler: each record has its own user, steps and tokens."""
    words = [f"word {number}" for number in range(50)]
    model = model_at(server, max_tokens=5)
    chain = RunnablePassthrough().with_config(run_name="same") | model | StrOutputParser()
    common = {"callbacks": [handler], "max_concurrency": 16}
    configs = [{**common, "metadata": {"user_id": word}} for word in words]
    each = list(zip(words, configs, strict=True))

    async def tasks() -> None:
        def called(word: str, config: Any) -> Any:
            if way == "streams":
                return read_all(chain.astream_events(word, config, version="v2"))
            return chain.ainvoke(word, config)

        await asyncio.gather(*(called(word, config) for word, config in each))

    if way == "threads":
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(chain.invoke, words, configs))
    elif way == "batch":
        chain.batch(words, configs)
    else:
        run(tasks() if way != "abatch" else result_of(chain.abatch(words, configs)))
    found = bodies(server, logger)
    assert len(found) == 50
    assert mixed(found) == []


@pytest.mark.parametrize("way", ["invoke", "stream", "astream"])
def test_the_responses_api_is_read_as_well(
    way: str, logger: PromptStackLogger, server: ScriptedServer
) -> None:
    """With tool calls and all tokens."""
    handler = BanyanCallbackHandler(logger)
    logs = server.handler
    apis = providers()
    server.handler = lambda request: (apis if "responses" in request.route else logs)(request)
    model = model_at(server, use_responses_api=True).bind_tools([shout])
    call(model, way, "hi", {"callbacks": [handler]})
    (body,) = bodies(server, logger)
    assert (body["output"], body["model"]) == (f"{TEXT}\n{TOOL_LINES}", "gpt-6")
    assert [body["metadata"][name] for name in TOKENS] == [100, 40, 140, 60, 25]


def test_the_newer_protocol_of_streams_gives_the_same_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Events in place of tokens."""
    list(model_at(server).stream_events("hi", {"callbacks": [handler]}, version="v3"))
    (body,) = bodies(server, logger)
    assert body["output"] == "re hi"
    assert body["metadata"].items() >= TOKENS.items()
    assert "time_to_first_chunk_ms" in body["metadata"]
