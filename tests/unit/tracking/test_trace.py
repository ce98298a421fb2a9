"""Traced functions and generators: what passes, and what their records have."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from banyan_hp import ConfigurationError
from banyan_hp.tracking.reading.fields import as_text
from tests.unit.tracking.conftest import Tracker

# -- traced functions ----------------------------------------------------------------------------------------


class Service:
    """Methods of each kind."""

    tracker = Tracker()

    @tracker.trace
    def method(self, question: str) -> str:
        return question + "!"

    @tracker.trace
    @staticmethod
    def static(question: str) -> str:
        return question + "?"

    @tracker.trace
    @classmethod
    def of_class(cls, question: str) -> str:
        return cls.__name__ + question

    @tracker.trace
    async def coroutine(self, question: str) -> str:
        await asyncio.sleep(0)
        return question + "…"


def test_methods_of_each_kind_are_traced() -> None:
    """`self` and `cls` are no prompts."""
    records = Service.tracker.logged.records
    service = Service()
    assert [service.method("a"), service.static("b"), Service.of_class("c")] == ["a!", "b?", "Servicec"]
    assert asyncio.run(service.coroutine("d")) == "d…"
    assert [record["input"] for record in records] == ["a", "b", "c", "d"]
    assert [record["output"] for record in records] == ["a!", "b?", "Servicec", "d…"]


def test_a_traced_function_is_what_it_was(tracker: Tracker) -> None:
    """Kind, name, signature and docstring."""

    def plain(question: str, *, deep: bool = False) -> str:
        """Says it."""
        return question

    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    traced = tracker.trace(plain)
    assert inspect.signature(traced) == inspect.signature(plain)
    assert (traced.__name__, traced.__doc__) == ("plain", "Says it.")
    assert inspect.iscoroutinefunction(tracker.trace(coroutine))
    assert inspect.isgeneratorfunction(tracker.trace(generator))
    assert inspect.isasyncgenfunction(tracker.trace(async_generator))
    assert not inspect.isgeneratorfunction(traced)


def by_second(first: int, question: str) -> None: ...
def by_first(topic: str, more: int = 0) -> None: ...
def by_default(question: str = "unasked") -> None: ...
def keyword_only(*, query: str) -> None: ...
def variadic(*parts: str) -> None: ...
def anything(**options: str) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments", "named", "prompt"),
    [
        (by_second, (1, "q"), {}, "q"),
        (by_second, (1,), {"question": "q"}, "q"),
        (by_first, ("t",), {}, "t"),
        (by_default, (), {}, "unasked"),
        (keyword_only, (), {"query": "q"}, "q"),
        (variadic, ("a", "b"), {}, "a"),
        (variadic, (), {}, None),
        (anything, (), {"user_prompt": "q", "x": "y"}, "q"),
        (nothing, (), {}, None),
    ],
)
def test_the_prompt_is_found(
    tracker: Tracker,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    prompt: Any,
) -> None:
    """By the usual names, else the first argument."""
    tracker.trace(function)(*arguments, **named)
    assert tracker.logged.records[0]["input"] == prompt


def test_the_prompt_can_be_given(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """By an argument's name, or by a function of all arguments; a name that is none is refused at once."""

    def answer(topic: str, style: str = "short") -> str:
        return topic

    tracker.trace(prompt="style")(answer)("t")
    tracker.trace(prompt=lambda topic, style="x": f"{topic} in {style}", model="m")(answer)("t")
    assert [record["input"] for record in records] == ["short", "t in x"]
    assert records[1]["model"] == "m"
    with pytest.raises(ConfigurationError, match=r"answer\(\), was 'nope'; its arguments are topic, style"):
        tracker.trace(prompt="nope")(answer)
    with pytest.raises(ConfigurationError, match="decorates a function or method, was 3"):
        tracker.trace(3)  # type: ignore[call-overload]


def test_a_prompt_that_can_t_be_found_is_no_error(tracker: Tracker) -> None:
    """The function runs; the fault is counted."""

    @tracker.trace(prompt=lambda question: question["nope"])
    def answer(question: str) -> str:
        return question

    assert answer("hi") == "hi"
    assert tracker.logged.records[0]["input"] is None
    assert len(tracker.logged.faults) == 1


def test_a_recursive_function_nests(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Each call is a record, and names the one around it."""

    @tracker.trace
    def down(question: int) -> int:
        return question if question == 0 else down(question - 1)

    assert down(2) == 0
    assert [record["input"] for record in records] == [0, 1, 2]
    assert records[0]["parent_interaction_id"] == records[1]["interaction_id"]
    assert records[1]["parent_interaction_id"] == records[2]["interaction_id"]


def test_traced_steps_make_a_pipeline(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """`step=` makes a call a step of the interaction around it."""

    @tracker.trace(step="retrieval")
    def retrieve(question: str) -> list[str]:
        return [question]

    @tracker.trace
    def answer(question: str) -> str:
        return f"{len(retrieve(question))} found"

    assert answer("q") == "1 found"
    (record,) = records
    assert as_text(record["step_data"][0]["prompt_response"]) == '["q"]'
    assert record["output"] == "1 found"


def test_errors_of_traced_functions_pass(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Of plain ones and of coroutines; recorded and unchanged."""
    error = ValueError("boom")

    @tracker.trace
    def fails(question: str) -> None:
        raise error

    @tracker.trace
    async def fails_later(question: str) -> None:
        await asyncio.sleep(0)
        raise error

    def runs(question: str) -> None:
        asyncio.run(fails_later(question))

    for call in (fails, runs):
        with pytest.raises(ValueError, match="boom") as caught:
            call("q")
        assert caught.value is error
    assert [record["error"] for record in records] == ["ValueError: boom"] * 2


def test_a_cancelled_coroutine_is_recorded(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """As such, and is cancelled all the same."""

    @tracker.trace
    async def slow(question: str) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        task = asyncio.create_task(slow("q"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert records[0]["error_type"] == "CancelledError"


@pytest.mark.parametrize("around", ["generator", "with", "coroutine"])
def test_a_cancelled_stream_is_closed_early(
    tracker: Tracker, records: list[dict[str, Any]], around: str
) -> None:
    """A client's disconnect is no error, neither of the stream nor of the call that reads it."""

    @tracker.trace(step="completion")
    async def words() -> AsyncIterator[str]:
        yield "half"
        await asyncio.get_running_loop().create_future()

    async def answer(question: str) -> None:
        async for _ in words():
            pass

    async def read() -> None:
        if around == "with":
            async with tracker.interaction("q"):
                await answer("q")
        else:
            await (answer if around == "generator" else tracker.trace(answer))("q")

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("Cancelled via cancel scope 7f3a by <Task pending name='Task-1'>")
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (record,) = records
    assert (record["output"], record["ended"], "error" in record) == ("half", "closed early", False)


def test_what_is_still_to_run_is_recorded_when_it_has(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Plain functions that return a coroutine, a future or a generator."""

    async def later(question: str) -> str:
        return "a"

    def future_of(question: str) -> asyncio.Future[str]:
        return asyncio.ensure_future(later(question))

    def items(question: str) -> Iterator[str]:
        yield "b"
        yield "c"

    async def async_items(question: str) -> AsyncIterator[str]:
        yield "d"

    async def main() -> None:
        assert await tracker.trace(partial(later))("q1") == "a"
        future = tracker.trace(future_of)("q2")
        assert isinstance(future, asyncio.Future)
        assert await future == "a"
        assert list(tracker.trace(lambda question: items(question))("q3")) == ["b", "c"]
        assert [each async for each in tracker.trace(lambda question: async_items(question))("q4")] == ["d"]

    asyncio.run(main())
    assert [(record["input"], record["output"]) for record in records] == [
        ("q1", "a"), ("q2", "a"), ("q3", "bc"), ("q4", "d"),
    ]  # fmt: skip


# -- traced generators ---------------------------------------------------------------------------------------


def echoing(tracker: Tracker) -> Callable[[str], Any]:
    @tracker.trace
    def echo(question: str) -> Any:
        try:
            heard = yield question
            while heard is not None:
                try:
                    heard = yield heard.upper()
                except KeyError:
                    heard = yield "caught"
        finally:
            with tracker.step("cleanup"):
                pass
        return "returned"

    return echo


def test_a_generator_passes_everything_through(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """What is sent, thrown and returned; recorded when it is exhausted."""
    generator = echoing(tracker)("q")
    assert [next(generator), generator.send("a"), generator.throw(KeyError())] == ["q", "A", "caught"]
    assert records == []
    with pytest.raises(StopIteration) as stop:
        generator.send(None)
    assert stop.value.value == "returned"
    (record,) = records
    assert (record["output"], "ended" in record) == ("qAcaught", False)
    assert record["time_to_first_chunk_ms"] >= 0
    assert record["step_data"][0]["type"] == "cleanup"


def test_a_generator_that_is_left_early_is_recorded(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """Closed or collected, its clean-up runs inside of the interaction; never started, nothing happened."""
    echo = echoing(tracker)
    echo("never started").close()
    closed = echo("closed")
    next(closed)
    closed.close()
    collected = echo("collected")
    next(collected)
    del collected
    gc.collect()
    assert [(record["input"], record["ended"]) for record in records] == [
        ("closed", "closed early"),
        ("collected", "closed early"),
    ]
    assert all(record["step_data"][0]["type"] == "cleanup" for record in records)


def test_a_generator_s_interaction_is_open_only_while_it_runs(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Between two items the caller is not inside of it."""

    @tracker.trace
    def answer(question: str) -> Iterator[str]:
        for word in ("a", "b"):
            with tracker.step("inside"):
                pass
            yield word

    for _ in answer("q"):
        with tracker.step("outside"):
            pass
    outside, again, whole = records
    assert [each["step_data"][0]["type"] for each in (outside, again)] == ["outside"] * 2
    assert [each["type"] for each in whole["step_data"]] == ["inside"] * 2


def test_a_generator_that_raises_is_recorded(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """With what it had said until then."""

    @tracker.trace
    def answer(question: str) -> Iterator[str]:
        yield "half"
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        list(answer("q"))
    assert (records[0]["output"], records[0]["error"]) == ("half", "ValueError: boom")


def test_async_generators_pass_everything_through(tracker: Tracker, records: list[dict[str, Any]]) -> None:
    """As generators do; closed by the loop when they are dropped."""

    @tracker.trace
    async def echo(question: str) -> Any:
        heard = yield question
        while heard is not None:
            try:
                heard = yield heard.upper()
            except KeyError:
                heard = yield "caught"

    async def main() -> None:
        generator = echo("q")
        assert await generator.asend(None) == "q"
        assert await generator.asend("a") == "A"
        assert await generator.athrow(KeyError()) == "caught"
        with pytest.raises(StopAsyncIteration):
            await generator.asend(None)
        async for _ in echo("left"):
            break
        while len(records) < 2:
            await asyncio.sleep(0)  # the loop has a task to close it
        closed = echo("closed")
        await closed.asend(None)
        await closed.aclose()

    asyncio.run(main())
    gc.collect()
    ended = {record["input"]: record.get("ended") for record in records}
    assert ended == {"q": None, "left": "closed early", "closed": "closed early"}
    assert records[0]["output"] == "qAcaught"


def test_an_async_generator_without_a_loop_is_recorded_when_collected(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Nobody could close it."""

    @tracker.trace
    async def echo(question: str) -> AsyncGenerator[str, None]:
        yield question

    generator = echo("q")
    with pytest.raises(StopIteration):
        generator.asend(None).send(None)
    del generator
    gc.collect()
    assert records[0]["ended"] in ("garbage-collected", "closed early")
