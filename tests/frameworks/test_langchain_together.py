"""LangChain's handler with wrapped clients, steps, prompts; the guide and the example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

import banyan_hp as banyan
from banyan_hp import ConfigurationError, HuggingPlace, PromptData, PromptStackLogger
from banyan_hp.guide import page
from banyan_hp.integrations.langchain import BanyanCallbackHandler
from tests.frameworks.chains import (
    WAYS,
    bodies,
    call,
    chain_of,
    model_at,
    run,
    steps_of,
)
from tests.frameworks.talking import INPUT, OUTPUT
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer

pytestmark = pytest.mark.usefixtures("one_loop")


# -- with the library's other ways of recording --------------------------------------------------------------


@pytest.fixture
def client(server: ScriptedServer, logger: PromptStackLogger) -> Iterator[openai.OpenAI]:
    """A wrapped one."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk") as made:
        yield logger.wrap_openai(made)


def wrapped_model(server: ScriptedServer, logger: PromptStackLogger) -> Any:
    """A model whose client, sync and async, is wrapped as well."""
    model = model_at(server)
    for client in (model.root_client, model.root_async_client):
        logger.wrap_openai(client)
    return model


@pytest.mark.parametrize("alone", [True, False], ids=["model", "chain"])
def test_a_wrapped_client_does_not_record_the_same_call_again(
    alone: bool, server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """In no way of calling; without the handler it does record it."""
    model = wrapped_model(server, logger)
    asked: Any = "hi" if alone else {"question": "hi"}
    for way in WAYS:
        call(model if alone else chain_of(model), way, asked, {"callbacks": [handler]})
        call(model if alone else chain_of(model), way, asked, {})
    found = bodies(server, logger)
    for way, first, second in zip(WAYS, found[::2], found[1::2], strict=True):
        assert len(steps_of(first)) == (0 if alone else 1), way
        assert first["metadata"]["token_count"] == INPUT + OUTPUT, way
        assert (second["metadata"].get("api"), second["output"]) == ("openai.chat.completions", "re hi"), way


def test_between_the_chunks_of_a_stream_other_calls_are_recorded(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any, client: openai.OpenAI
) -> None:
    """Of a wrapped client, by the code that reads the stream: sync and async."""
    model = wrapped_model(server, logger)

    def ask(word: str) -> None:
        client.chat.completions.create(model="gpt-6", messages=[{"role": "user", "content": word}])

    for number, _ in enumerate(model.stream("hi", {"callbacks": [handler]})):
        ask(f"between {number}") if number < 2 else None

    async def read() -> None:
        number = 0
        async for _ in model.astream("ho", {"callbacks": [handler]}):
            ask(f"meanwhile {number}") if number < 2 else None
            number += 1

    run(read())
    asked = [body["output"].removeprefix("re ") for body in bodies(server, logger)]
    assert sorted(asked) == ["between 0", "between 1", "hi", "ho", "meanwhile 0", "meanwhile 1"]


def test_what_a_tool_records_by_other_means_is_a_step_of_it(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any, client: openai.OpenAI
) -> None:
    """By `step`, and by a wrapped client."""

    def look(word: str) -> str:
        with logger.step("inner", word) as step:
            step.response = "found"
        asked = client.chat.completions.create(model="gpt-6", messages=[{"role": "user", "content": word}])
        return str(asked.choices[0].message.content)

    RunnableLambda(look).with_config(run_name="outer").invoke("hi", {"callbacks": [handler]})
    chain = RunnablePassthrough().with_config(run_name="first") | RunnableLambda(look).with_config(
        run_name="look"
    )
    chain.batch(["a", "b", "c"], {"callbacks": [handler]})
    one, *several = bodies(server, logger)
    assert [step[0] for step in steps_of(one)] == ["inner", "completion"]
    for body in several:
        word = body["input"]
        steps = steps_of(body)
        assert [step[0] for step in steps] == ["first", "look", "inner", "completion"]
        assert {step[1] for step in steps} == {word}
        assert [step[3] for step in steps] == [None, None, "look", "look"]


def test_inside_an_open_interaction_a_chain_is_a_step_of_it(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """One record; and the context holds."""
    with banyan.context(user_id="u"), logger.interaction("outer question") as it:
        chain_of(model_at(server)).invoke({"question": "hi"}, {"callbacks": [handler]})
        it.response = "done"
    (body,) = bodies(server, logger)
    assert (body["input"], body["output"], body["metadata"]["user_id"]) == ("outer question", "done", "u")
    assert [step[0] for step in steps_of(body)] == ["RunnableSequence", "ChatOpenAI"]
    assert body["metadata"]["token_count"] == INPUT + OUTPUT


def test_two_handlers_of_one_logger_make_one_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """One at the model, one at the call."""
    model = model_at(server, callbacks=[BanyanCallbackHandler(logger)])
    chain_of(model).invoke({"question": "hi"}, {"callbacks": [handler]})
    (body,) = bodies(server, logger)
    assert len(steps_of(body)) == 1


def test_handlers_of_two_loggers_make_a_record_each(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """And a template or parser that is invoked by itself makes none."""
    with HuggingPlace("psk_local", "org", base_url=server.url) as client:
        callbacks = {"callbacks": [handler, BanyanCallbackHandler(client, prompt_data=PROMPT)]}
        chain_of(model_at(server)).invoke({"question": "hi"}, callbacks)
        ChatPromptTemplate.from_template("{x}").invoke({"x": "alone"}, callbacks)
        assert client.flush(5)
    one, other = sorted(bodies(server, logger), key=len)
    assert (one["output"], other["response"]) == ("re hi", "re hi")
    assert steps_of(one) == steps_of(other) == [("ChatOpenAI", "hi", "re hi", None)]
    named = other["metadata"]
    assert (named["prompt_name"], named["prompt_version"], named["experiment_id"]) == ("greeting", "3", "e1")


PROMPT = PromptData(
    prompt_id="p1", name="greeting", content="{{x}}", version="3", branch="main", project="default",
    experiment_id="e1", experiment_version_id="v1", sticky_key="user_id", sticky_value="u",
)  # fmt: skip


def test_the_prompt_that_was_used_is_on_the_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Given to the handler, in the metadata of the call or of the model; or its experiment alone."""
    model = model_at(server)
    model.invoke("a", {"callbacks": [BanyanCallbackHandler(logger, prompt_data=PROMPT)]})
    model.invoke("b", {"callbacks": [handler], "metadata": {"prompt_data": PROMPT}})
    inner = model.with_config(metadata={"prompt_data": PROMPT})
    RunnableLambda(lambda word: inner.invoke(word)).invoke("c", {"callbacks": [handler]})
    experiment = PROMPT.get_experiment_context()
    model.invoke("d", {"callbacks": [handler], "metadata": {"experiment_context": experiment}})
    found = bodies(server, logger)
    assert [body.get("prompt_name") for body in found] == ["greeting"] * 3 + [None]
    assert [(body["experiment_id"], body["sticky_value"]) for body in found] == [("e1", "u")] * 4
    assert not [body for body in found if "prompt_data" in body["metadata"]]


def test_a_record_can_have_an_id_of_the_application_s(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """To be scored by; for both clients."""
    with HuggingPlace("psk_local", "org", base_url=server.url) as client:
        for number, each in enumerate((handler, BanyanCallbackHandler(client))):
            config = {"callbacks": [each], "metadata": {"record_id": f"mine-{number}"}}
            chain_of(model_at(server)).invoke({"question": "hi"}, config)
        assert client.flush(5)
    found = bodies(server, logger)
    assert sorted(server.ids()) == ["mine-0", "mine-1"]
    assert not [body for body in found if "record_id" in body["metadata"]]


def test_the_default_logger_is_used_where_none_is_given(server: ScriptedServer) -> None:
    """Also if it is made later."""
    handler = BanyanCallbackHandler()
    banyan.configure("psk_local", server.url)
    model_at(server).invoke("hi", {"callbacks": [handler]})
    assert [body["output"] for body in bodies(server, banyan)] == ["re hi"]


def test_what_can_not_be_is_refused_at_once() -> None:
    """With the argument's name."""
    with pytest.raises(ConfigurationError, match="logger must be a client of banyan_hp, was 'me'"):
        BanyanCallbackHandler("me")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="prompt_data must come from get_prompt"):
        BanyanCallbackHandler(prompt_data="text")  # type: ignore[arg-type]


def test_a_run_that_is_open_when_the_process_ends_is_logged(server: ScriptedServer) -> None:
    """With what is known of it."""
    program = """
    from langchain_core.runnables import RunnableLambda
    from banyan_hp.integrations.langchain import BanyanCallbackHandler
    handler = BanyanCallbackHandler(make())
    RunnableLambda(lambda _: os.kill(os.getpid(), 15)).invoke("asked", {"callbacks": [handler]})
    """
    finished = run_python(program, url=server.url)
    assert finished.status == -15
    ((_, body),) = server.records()
    assert (body["input"], body["metadata"]["ended"]) == ("asked", "process ended")


# -- the guide and the example -------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", page("langchain").text, re.M | re.S)


def environment(server: ScriptedServer) -> dict[str, str]:
    """Of a process that reaches this server as its model and as its backend."""
    model = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "sk"}
    return {**model, "BANYAN_API_KEY": "psk_local", "BANYAN_BASE_URL": server.url}


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_of_the_guide_runs_and_logs(
    block: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed, but for the addresses of the backend and the model."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    exec(block.replace("http://127.0.0.1:8787", server.url), {})
    ((_, body),) = server.records()
    assert body["output"].startswith("re ")
    assert body["metadata"]["user_id"] == "u1"


def test_the_example_is_one_record_with_its_steps(server: ScriptedServer) -> None:
    """`examples/langchain_app.py`, with a model that calls its tool."""
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "langchain_app.py"), "17"],
        env={**os.environ, **environment(server)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert finished.stdout == "re order 17 left the warehouse this morning\n", finished.stderr
    ((_, body),) = server.records()
    metadata = body["metadata"]
    assert (metadata["user_id"], metadata["session_id"], metadata["tags"]) == ("ada", "s1", ["support"])
    assert [step[0] for step in steps_of(body)] == [
        *("model", "ChatOpenAI", "tools", "find_order", "model", "ChatOpenAI")
    ]
