"""LangGraph: nodes, agents, tools, parallel branches, subgraphs and interrupts, with the real packages."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from banyan_hp import PromptStackLogger
from tests.frameworks.chains import LOOP, WAYS, bodies, call, model_at, steps_of
from tests.frameworks.talking import INPUT, OUTPUT
from tests.support.scripted import ScriptedServer


@tool  # type: ignore[untyped-decorator]
def shout(word: str) -> str:
    """Say a word loudly."""
    return word.upper()


def compiled(nodes: dict[str, Any], state: Any = MessagesState, **options: Any) -> Any:
    """A graph of these nodes in a row."""
    graph: Any = StateGraph(state)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile(**options)


def asking(word: str) -> dict[str, Any]:
    return {"messages": [("user", word)]}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "events"])
def test_an_agent_that_calls_a_tool_is_one_record(
    way: str, server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """With both calls of its model and the tool between them, where each was made."""
    agent = create_agent(model_at(server, use_responses_api=False), [shout])
    config = {"callbacks": [handler], "configurable": {"thread_id": "t"}}
    if way == "stream":
        list(agent.stream(asking("hi"), config))
    elif way == "invoke":
        agent.invoke(asking("hi"), config)
    else:
        with asyncio.Runner() as runner:
            runner.run(_used(agent, way, config))
    (body,) = bodies(server, logger)
    assert (body["input"], body["output"]) == ('[{"role":"user","content":"hi"}]', "re HI")
    assert (body["metadata"]["session_id"], body["model"]) == ("t", "gpt-6-2026")
    assert steps_of(body) == [
        ("model", "hi", '[tool call] shout({"word": "hi"})', None),
        ("ChatOpenAI", "hi", '[tool call] shout({"word": "hi"})', "model"),
        ("tools", '[tool call] shout({"word": "hi"})', "HI", None),
        ("shout", '{"word":"hi"}', "HI", "tools"),
        ("model", "hi", "re HI", None),
        ("ChatOpenAI", "hi", "re HI", "model"),
    ]
    assert body["metadata"]["token_count"] == 2 * (INPUT + OUTPUT)


async def _used(agent: Any, way: str, config: Any) -> None:
    if way == "ainvoke":
        await agent.ainvoke(asking("hi"), config)
    else:
        _ = [each async for each in agent.astream_events(asking("hi"), config, version="v2")]


def test_what_tools_and_nodes_record_is_a_step_of_them_in_each_way_of_calling(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """By the logger's own `step`."""

    def note(state: MessagesState) -> Any:
        with logger.step("own", "asked") as step:
            step.response = "found"
        return asking("noted")

    @tool  # type: ignore[untyped-decorator]
    def look(word: str) -> str:
        """Look it up."""
        with logger.step("own", "asked") as step:
            step.response = "found"
        return word

    agent = create_agent(model_at(server, use_responses_api=False), [look])
    with asyncio.Runner() as runner:
        LOOP[:] = [runner]
        for graph in (compiled({"note": note}), agent):
            for way in WAYS:
                call(graph, way, asking("hi"), {"callbacks": [handler]})
    around = [[step[3] for step in steps_of(body) if step[0] == "own"] for body in bodies(server, logger)]
    assert around == [["note"]] * len(WAYS) + [["look"]] * len(WAYS)
    assert logger.get_stats()["contexts_unknown"] == 0


class Words(TypedDict, total=False):
    """The state of a graph with parallel nodes."""

    word: str
    words: Annotated[list[str], operator.add]


def test_parallel_nodes_and_a_subgraph_are_steps_of_one_record(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Each with its own model's call, also by a wrapped client, and nothing twice."""
    model = model_at(server)
    client = logger.wrap_openai(openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk"))

    def ask(state: Words) -> Any:
        return {"words": [model.invoke(state["word"]).content]}

    def ask_directly(state: Words) -> Any:
        asked: Any = [{"role": "user", "content": state["word"]}]
        said = client.chat.completions.create(model="gpt-6", messages=asked)
        return {"words": [said.choices[0].message.content]}

    graph: Any = StateGraph(Words)
    graph.add_node("ask", ask)
    graph.add_node("directly", ask_directly)
    graph.add_node("below", compiled({"inner": ask}, Words))
    graph.add_node("each", ask)
    graph.add_conditional_edges(START, lambda _: ["ask", "directly", "below"])
    graph.add_conditional_edges("below", lambda _: [Send("each", {"word": word}) for word in "xy"])
    found = graph.compile().invoke({"word": "w"}, {"callbacks": [handler]})
    client.close()
    assert sorted(found["words"]) == ["re w", "re w", "re w", "re x", "re y"]
    (body,) = bodies(server, logger)
    steps = sorted((step[0], step[1], step[3] or "") for step in steps_of(body) if step[0] != "Unnamed")
    calls = [step for step in steps if step[0] in ("ChatOpenAI", "completion")]
    assert calls == [
        ("ChatOpenAI", "w", "ask"),
        ("ChatOpenAI", "w", "inner"),
        ("ChatOpenAI", "x", "each"),
        ("ChatOpenAI", "y", "each"),
        ("completion", "w", "directly"),
    ]
    assert ("inner", "below") in [(name, around) for name, _, around in steps] or ("LangGraph", "below") in [
        (name, around) for name, _, around in steps
    ]
    assert body["metadata"]["token_count"] == 5 * (INPUT + OUTPUT)


def test_an_interrupt_is_no_error(server: ScriptedServer, logger: PromptStackLogger, handler: Any) -> None:
    """The record says that it was interrupted; what comes after the answer is another record."""
    model = model_at(server)

    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def approve(_: MessagesState) -> Any:
        return {"messages": [("user", interrupt("Really?"))]}

    graph = compiled({"ask": ask, "approve": approve}, checkpointer=InMemorySaver())
    config = {"callbacks": [handler], "configurable": {"thread_id": "t", "user_id": "u"}}
    graph.invoke(asking("hi"), config)
    graph.invoke(Command(resume="yes"), config)
    first, second = bodies(server, logger)
    for body in (first, second):
        assert "error" not in body["metadata"]
        assert body["metadata"]["session_id"] == "t"
    assert first["metadata"]["ended"] == "interrupted"
    assert first["metadata"]["user_id"] == "u"
    assert [each.get("ended") for each in first["metadata"]["step_details"]] == [None, None, "interrupted"]
    assert "ended" not in second["metadata"]
    assert [step[0] for step in steps_of(second)] == ["approve"]


def test_a_command_to_the_graph_around_is_no_error(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """LangGraph raises it through the graph inside."""

    def leave(_: MessagesState) -> Any:
        return Command(goto="last", graph=Command.PARENT, update={"messages": [("ai", "left")]})

    graph: Any = StateGraph(MessagesState)
    graph.add_node("below", compiled({"leave": leave}), destinations=("last",))
    graph.add_node("last", lambda _: {"messages": [("ai", "the end")]})
    graph.add_edge(START, "below")
    graph.compile().invoke(asking("hi"), {"callbacks": [handler]})
    (body,) = bodies(server, logger)
    assert body["output"] == "the end"
    assert not [each for each in (body["metadata"], *body["metadata"]["step_details"]) if "error" in each]


def test_an_error_in_a_node_leaves_what_was_before_it(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """On the node and on the record; a run with the limit of steps reached is an error, too."""

    def fail(_: MessagesState) -> Any:
        raise LookupError("not there")

    graph = compiled({"shout": lambda _: {"messages": [("ai", "one")]}, "fail": fail})
    with pytest.raises(LookupError):
        graph.invoke(asking("hi"), {"callbacks": [handler]})
    (body,) = bodies(server, logger)
    assert body["metadata"]["error_type"] == "LookupError"
    assert [each.get("error_type") for each in body["metadata"]["step_details"]] == [None, "LookupError"]


def test_fifty_graphs_at_once_do_not_mix(
    server: ScriptedServer, logger: PromptStackLogger, handler: Any
) -> None:
    """Each with its thread and user of `configurable`, its tool and its answers."""
    agent = create_agent(model_at(server, use_responses_api=False), [shout])

    async def ask(number: int) -> None:
        config = {"configurable": {"thread_id": f"t{number}", "user_id": f"u{number}"}}
        await agent.ainvoke(asking(f"word {number}"), {**config, "callbacks": [handler]})

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, range(50)))

    with asyncio.Runner() as runner:
        runner.run(ask_all())
    found = {body["metadata"]["session_id"]: body for body in bodies(server, logger)}
    assert len(found) == 50
    for number in range(50):
        body = found[f"t{number}"]
        assert body["metadata"]["user_id"] == f"u{number}"
        assert body["output"] == f"re WORD {number}"
        asked = {step[1].removeprefix("[tool call] shout(").rstrip(")") for step in steps_of(body)}
        assert {each.replace(": ", ":") for each in asked} == {
            f"word {number}",
            f'{{"word":"word {number}"}}',
        }
        assert body["metadata"]["token_count"] == 2 * (INPUT + OUTPUT)
