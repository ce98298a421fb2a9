"""Interactions, steps and traced functions, without a client: what is logged, when, and how often."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from banyan_hp import Interaction, Step, context
from banyan_hp.tracking.reading.fields import as_text
from banyan_hp.tracking.scopes import current
from tests.support import recorded
from tests.unit.tracking.conftest import Ticking, Tracker

# -- interactions --------------------------------------------------------------------------------------------


def test_an_interaction_is_measured_and_logged_once(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """At its end, with what its response tells."""
    clock = Ticking()
    with Interaction(tracker.sink(), "Hi", metadata={"tenant": "acme"}, clock=clock) as it:
        clock.now += 1.5
        it.response = recorded.CHAT
        assert records == []
    it.__exit__(None, None, None)
    assert records == [
        {
            "input": "Hi",
            "output": "Hello! How can I help?",
            "model": "gpt-4.1-2025",
            "duration_ms": 1500.0,
            "token_count": 29,
            "input_tokens": 19,
            "output_tokens": 10,
            "cached_tokens": 8,
            "reasoning_tokens": 4,
            "finish_reason": "stop",
            "tenant": "acme",
            "record_id": it.record_id,
        }
    ]
    assert it.receipt is True


def test_time_is_that_of_the_with_not_of_the_object(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """What passes between making it and entering it does not count."""
    clock = Ticking()
    it = Interaction(tracker.sink(), "Hi", clock=clock)
    clock.now += 9
    with it:
        clock.now += 0.25
    clock.now += 9
    assert records[0]["duration_ms"] == 250.0


def test_what_the_caller_says_wins(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Model, tokens and metadata given by hand are not replaced by what the response tells."""
    with tracker.interaction("Hi", model="mine", metadata={"finish_reason": "own"}) as it:
        it.output = recorded.CHAT
        it.set_tokens(1, 2)
        it.metadata["extra"] = True
    (record,) = records
    assert (record["model"], record["token_count"], record["finish_reason"]) == ("mine", 3, "own")
    assert record["extra"] is True
    assert it.response is it.output
    assert it.response == recorded.CHAT


@pytest.mark.parametrize(
    "error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()]
)
def test_errors_are_recorded_and_raised_as_they_are(
    tracker: Tracker, records: list[dict[str, Any]], error: BaseException
) -> None:
    """Those that are no `Exception`, too."""
    with pytest.raises(type(error)) as caught, tracker.interaction("Hi"):
        raise error
    assert caught.value is error
    assert records[0]["error_type"] == type(error).__name__
    assert records[0]["error"].startswith(type(error).__name__)
    assert records[0]["output"] is None


def test_an_error_after_the_response_keeps_both(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """The answer was given all the same."""
    with pytest.raises(ValueError, match="late"), tracker.interaction("Hi") as it:
        it.response = "answered"
        raise ValueError("late")
    assert (records[0]["output"], records[0]["error"]) == ("answered", "ValueError: late")


def test_an_error_that_has_no_text_is_named(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Its `__str__` may raise; a long text is cut."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Mute), tracker.interaction("Hi"):
        raise Mute
    with pytest.raises(ValueError, match="xxx"), tracker.interaction("Hi"):
        raise ValueError("x" * 10_000)
    assert records[0]["error"].endswith("Mute")
    assert len(records[1]["error"]) < 2_100


def test_a_logger_that_fails_costs_the_caller_nothing(tracker: Tracker) -> None:
    """Neither a result nor the caller's own exception; each fault is counted."""
    tracker.logged.failing = True

    @tracker.trace
    def answer(question: str) -> str:
        return question.upper()

    assert answer("hi") == "HI"
    with tracker.interaction("Hi") as it:
        it.response = "x"
    assert it.receipt is None
    with pytest.raises(KeyError), tracker.interaction("Hi"):
        raise KeyError
    assert len(tracker.logged.faults) == 3


def test_broken_metadata_is_no_fault_of_the_application(tracker: Tracker) -> None:
    """What is no dict is kept under a name; what is made unusable later costs a count."""
    wrong: Any = "text"
    with tracker.interaction("Hi", metadata=wrong):
        pass
    assert tracker.logged.records[0]["metadata"] == "text"
    with tracker.interaction("Hi") as it:
        it.metadata = wrong
    assert len(tracker.logged.faults) == 1


class Broken(dict[str, Any]):
    """A mapping that can't be read."""

    def keys(self) -> Any:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError


def test_a_mapping_that_can_t_be_read_is_no_reason_to_fail(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """The body runs, the record is written."""
    with tracker.interaction("Hi", metadata=Broken(a=1)) as it:
        it.response = "x"
    assert records[0]["output"] == "x"


def test_whoever_ends_it_first_logs_it(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Once, however many threads end it at the same moment."""
    for _ in range(50):
        it = tracker.interaction("Hi")
        barrier = threading.Barrier(4)

        def end(it: Interaction[bool] = it, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5)
            it.__exit__(None, None, None)

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert len(records) == 50


def test_one_with_each(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """A second `with` of the same interaction would be lost: it is an error, before the body runs."""
    it = tracker.interaction("Hi")
    with it:
        pass
    with pytest.raises(RuntimeError, match="one `with` each"), it:
        pytest.fail("the body ran")
    assert len(records) == 1


def test_nested_interactions_name_the_outer_one(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Each is a record of its own."""
    with tracker.interaction("outer"):
        with tracker.interaction("inner"):
            pass
        with tracker.interaction("another"):
            pass
    inner, another, outer = records
    assert inner["parent_interaction_id"] == another["parent_interaction_id"] == outer["interaction_id"]
    assert "parent_interaction_id" not in outer
    assert "interaction_id" not in inner


# -- steps ---------------------------------------------------------------------------------------------------


def details(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The details of the steps, once their starts are seen to be in the order of their opening."""
    starts = [each["start_ms"] for each in record["step_details"]]
    assert starts == sorted(starts)
    assert starts[0] >= 0
    return [
        {name: value for name, value in each.items() if name != "start_ms"} for each in record["step_details"]
    ]


def test_a_step_says_when_it_started(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """From the start of the interaction on, also inside of another step, and from entering it on."""
    clock = Ticking()
    it = Interaction(tracker.sink(), "Hi", clock=clock)
    clock.now += 9
    with it:
        clock.now += 0.25
        made = it.step("late")
        with it.step("outer"):
            clock.now += 0.5
            with it.step("inner"):
                clock.now += 1
        with made:
            pass
    assert [(each["id"], each["start_ms"]) for each in records[0]["step_details"]] == [
        (1, 1750.0),
        (2, 250.0),
        (3, 750.0),
    ]


def test_a_step_that_outlives_its_interaction_has_no_start(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """It is a record of its own, whose time is its own."""
    with tracker.interaction("Hi") as it:
        step = it.step("late")
        step.__enter__()
    step.__exit__(None, None, None)
    assert "step_details" not in records[1]


def test_steps_have_their_own_times_and_tokens(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """In the order of their opening; the interaction's tokens and answer come of them, where it has none."""
    clock = Ticking()
    with Interaction(tracker.sink(), "How many?", clock=clock) as it:
        with it.step("sql", user_question="As SQL?", dialect="sqlite") as step:
            clock.now += 0.5
            step.response = recorded.CHAT
        with it.step("answer", llm_model="small") as step:
            clock.now += 0.25
            step.response = "42"
            step.set_tokens(input_tokens=5, output_tokens=2)
    (record,) = records
    assert record["step_data"] == [
        {
            "id": 1,
            "type": "sql",
            "user_question": "As SQL?",
            "prompt_response": "Hello! How can I help?",
            "token": 29,
            "response_time": 0.5,
            "input_tokens": 19,
            "output_tokens": 10,
            "llm_model": "gpt-4.1-2025",
            "dialect": "sqlite",
        },
        {
            "id": 2,
            "type": "answer",
            "user_question": "How many?",
            "prompt_response": "42",
            "token": 7,
            "response_time": 0.25,
            "input_tokens": 5,
            "output_tokens": 2,
            "llm_model": "small",
        },
    ]
    assert record["step_details"] == [
        {"id": 1, "start_ms": 0.0, "cached_tokens": 8, "reasoning_tokens": 4, "finish_reason": "stop"},
        {"id": 2, "start_ms": 500.0},
    ]
    assert (record["output"], record["model"], record["token_count"]) == ("42", "small", 36)
    assert (record["input_tokens"], record["duration_ms"]) == (24, 750.0)


def test_a_step_in_a_step_counts_once(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Its tokens are its parent's, too, and not twice the interaction's."""
    with tracker.interaction("Hi") as it, it.step("outer"), it.step("inner") as inner:
        inner.set_tokens(1, 2)
    (record,) = records
    assert [(each["id"], each["token"]) for each in record["step_data"]] == [(1, 3), (2, 3)]
    assert details(record) == [{"id": 1}, {"id": 2, "parent": 1}]
    assert record["token_count"] == 3


@pytest.mark.parametrize("output", ["dict", "object"])
def test_a_response_as_output_counts_with_all_steps(
    tracker: Tracker, records: list[dict[str, Any]], output: str
) -> None:
    """Each call once: the response is often the last step's, whose tokens the steps have counted."""
    with tracker.interaction("How many?") as it:
        with it.step("sql") as step:
            step.response = recorded.RESPONSE
        with it.step("answer"), it.step("completion") as step:
            step.response = recorded.CHAT
        it.output = recorded.CHAT if output == "dict" else SimpleNamespace(**recorded.CHAT)
    (record,) = records
    assert record["output"] == "Hello! How can I help?"
    assert [record[name] for name in ("token_count", "input_tokens", "output_tokens")] == [152, 55, 97]


def test_a_response_that_no_step_has_counts_beside_them(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """A call that was made outside of any step; a sum of all steps is no call of its own."""
    with tracker.interaction("How many?") as it:
        with it.step("sql") as step:
            step.response = recorded.RESPONSE
        it.output = recorded.CHAT
    with tracker.interaction("How many?") as it:
        for _ in range(2):
            with it.step("sql") as step:
                step.set_tokens(10, 5)
        it.output = {**recorded.CHAT, "usage": {"prompt_tokens": 20, "completion_tokens": 10}}
    assert [record["token_count"] for record in records] == [152, 30]


def test_a_traced_function_that_returns_a_response_counts_all_its_calls(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Two calls of equal size are two calls."""

    @tracker.trace
    def answer(question: str) -> dict[str, Any]:
        for _ in range(2):
            with tracker.step("completion") as step:
                step.response = recorded.CHAT
        return recorded.CHAT

    answer("How many?")
    assert records[0]["token_count"] == 58


def test_an_output_of_langchain_is_read_by_its_shape(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Text, model and tokens; of the messages that were asked the last one of the user is the question."""
    asked = [
        recorded.framework_message("Be brief.", {}, None, type="system"),
        recorded.framework_message("Hi", {}, None, type="human"),
    ]
    with tracker.interaction(asked) as it:
        it.output = SimpleNamespace(**recorded.LANGCHAIN)
    (record,) = records
    assert record["output"] == "Hello! How can I help?"
    assert (record["model"], record["token_count"], record["cached_tokens"]) == ("gpt-4.1-2025", 29, 8)


def test_a_cancellation_s_text_that_names_a_task_is_left_out(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Those of anyio do; an application's own text stays."""
    for text in ("Cancelled via cancel scope 7f3a by <Task pending name='Task-1'>", "too slow"):
        with pytest.raises(asyncio.CancelledError), tracker.interaction("Hi"):
            raise asyncio.CancelledError(text)
    assert [record["error"] for record in records] == ["CancelledError", "CancelledError: too slow"]


def test_a_failed_step_says_so(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """The interaction goes on if its body does; the step has no empty response on the wire."""
    with tracker.interaction("Hi") as it:
        with pytest.raises(ValueError, match="boom"), it.step("sql"):
            raise ValueError("boom")
        with it.step("silent"):
            pass
        it.response = "sorry"
    (record,) = records
    assert [each["prompt_response"] for each in record["step_data"]] == [
        "Error: ValueError: boom",
        "[no response]",
    ]
    assert details(record) == [
        {"id": 1, "error_type": "ValueError", "error": "ValueError: boom"},
        {"id": 2},
    ]
    assert "error" not in record


def test_steps_without_the_interaction_at_hand(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """`client.step` joins the one that is open here; elsewhere it is logged by itself."""

    def deep() -> None:
        with tracker.step("lookup") as step:
            step.response = "found"

    with tracker.interaction("Hi"):
        deep()
    deep()
    assert [each["step_data"][0]["type"] for each in records] == ["lookup", "lookup"]
    assert [each["input"] for each in records] == ["Hi", None]


def test_steps_of_another_client_stay_its_own(records: list[dict[str, Any]], tracker: Tracker) -> None:
    """An interaction takes in only what is logged by the same client."""
    other = Tracker()
    with tracker.interaction("Hi"), other.interaction("Ho"), tracker.step("mine"):
        pass
    assert records[0]["step_data"][0]["type"] == "mine"
    assert "step_data" not in other.logged.records[0]


def test_a_step_that_outlives_its_interaction_is_logged_by_itself(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """It is in one record, not in two and not in none."""
    with tracker.interaction("Hi") as it:
        late = it.step("late").__enter__()
    late.response = "done"
    late.__exit__(None, None, None)
    assert "step_data" not in records[0]
    assert (records[1]["input"], records[1]["output"]) == ("Hi", "done")
    assert records[1]["step_data"][0]["type"] == "late"


def test_steps_of_many_threads_are_all_there(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Opened on the interaction itself; numbered without a gap."""
    with tracker.interaction("Hi") as it:

        def work(number: int) -> None:
            with it.step("work", f"part {number}") as step:
                step.response = str(number)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(200)))
    steps = records[0]["step_data"]
    assert [each["id"] for each in steps] == list(range(1, 201))
    assert sorted(int(each["prompt_response"]) for each in steps) == list(range(200))


def test_a_thread_sees_what_it_is_handed(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """A plain thread starts without the interaction; with a copy of the context it is in it."""

    def work(name: str) -> None:
        with tracker.step(name):
            pass

    with context(user="ada"), tracker.interaction("Hi"):
        copied = contextvars.copy_context()
        for target in (partial(work, "plain"), partial(copied.run, work, "handed")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join(5)
    plain, handed = records
    assert (plain["step_data"][0]["type"], "user" in plain) == ("plain", False)
    assert (handed["step_data"][0]["type"], handed["user"]) == ("handed", "ada")


def test_tasks_are_in_the_interaction_that_made_them(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Steps of gathered coroutines join it, each under its own parent; what tasks open stays theirs."""

    async def branch(name: str) -> None:
        async with tracker.step(name):
            await asyncio.sleep(0)
            async with tracker.step(f"{name}-inner"):
                await asyncio.sleep(0)

    async def main() -> None:
        async with tracker.interaction("Hi"):
            await asyncio.gather(branch("a"), branch("b"), asyncio.to_thread(work))
        async with tracker.interaction("empty"):
            pass

    def work() -> None:
        with tracker.step("thread"):
            pass

    asyncio.run(main())
    steps = {each["id"]: each["type"] for each in records[0]["step_data"]}
    parents = {each["id"]: each["parent"] for each in records[0]["step_details"] if "parent" in each}
    assert sorted(steps.values()) == ["a", "a-inner", "b", "b-inner", "thread"]
    assert {steps[child]: steps[parent] for child, parent in parents.items()} == {
        "a-inner": "a",
        "b-inner": "b",
    }
    assert "step_data" not in records[1]


# -- ambient metadata ----------------------------------------------------------------------------------------


def test_ambient_metadata_is_that_of_the_beginning(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Inner contexts add to outer ones and win; nothing is left behind."""
    with context(user_id="u1", plan="free"):
        with context(plan="pro"), tracker.interaction("Hi") as it, context(later=1):
            it.response = "x"
        with tracker.interaction("Ho", metadata={"plan": "own"}):
            pass
    with tracker.interaction("Hu"):
        pass
    first, second, third = records
    assert (first["user_id"], first["plan"], "later" in first) == ("u1", "pro", False)
    assert (second["user_id"], second["plan"]) == ("u1", "own")
    assert "user_id" not in third


def test_a_context_that_is_left_elsewhere_does_no_harm() -> None:
    """A generator's `with` may be closed in another context (a test's fixture, a web framework)."""

    def fixture() -> Generator[None, None, None]:
        with context(user_id="u1"):
            yield

    generator = fixture()
    contextvars.copy_context().run(next, generator)
    generator.close()
    assert dict(current().metadata) == {}


def test_a_with_in_a_generator_that_is_closed_is_no_error(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """GeneratorExit is the wish of the caller."""

    def answer() -> Generator[str, None, None]:
        with tracker.interaction("q") as it:
            it.response = "half"
            yield "half"

    generator = answer()
    next(generator)
    generator.close()
    assert (records[0]["ended"], "error" in records[0]) == ("closed early", False)


def test_they_show_what_they_are(tracker: Tracker) -> None:
    """In a debugger or a log."""
    with tracker.interaction("q") as it, it.step("sql") as step:
        assert repr(step) == "<Step 1 'sql', open>"
        assert repr(it).startswith("<Interaction open, 0 steps, ")
    assert repr(it).startswith("<Interaction logged, 1 steps, ")
    assert isinstance(step, Step)


def test_an_interaction_has_the_model_that_its_steps_agree_on(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Whatever `response` was set to; where they differ, none."""
    for models in (("m1", "m1", None), ("m1", "m2")):
        with tracker.interaction("q") as it:
            for model in models:
                with it.step("s", llm_model=model):
                    pass
            it.response = "an answer of its own"
    assert [record.get("model") for record in records] == ["m1", None]


# -- what was asked, and what was answered -------------------------------------------------------------------


def test_what_an_agent_appends_later_is_not_in_the_question(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """An interaction, a traced call and a step are asked what they were asked, not what came later."""
    messages = [{"role": "user", "content": "Hi"}]

    @tracker.trace
    def agent(messages: list[dict[str, str]]) -> str:
        messages.append({"role": "assistant", "content": "traced"})
        return "done"

    with tracker.interaction(messages) as it:
        with it.step("loop", messages) as step:
            messages[0]["content"] = "changed"
            messages.append({"role": "user", "content": "later"})
            step.response = "a"
        agent(messages)
    traced, whole = records
    assert json.loads(as_text(whole["input"])) == [{"role": "user", "content": "Hi"}]
    assert whole["step_data"][0]["user_question"] == "Hi"
    assert [each["content"] for each in json.loads(as_text(traced["input"]))] == ["changed", "later"]


def test_an_answer_is_what_it_was_when_it_was_set(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Plain data is copied then; a provider's object is read at the end."""
    answer = {"parts": ["a"]}
    with tracker.interaction("q") as it:
        it.response = answer
        answer["parts"].append("b")
    assert records[0]["output"] == {"parts": ["a"]}
