"""Runs that begin and end by a framework's callbacks: where each belongs, and that none is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp.tracking import runs
from banyan_hp.tracking.context import recorded
from banyan_hp.tracking.runs import Beginning, Run, begin, ending, run_of
from tests.unit.tracking.conftest import Tracker


def opened(tracker: Tracker, name: str, parent: str | None = None, **more: Any) -> Run:
    """A run that has begun, with its name as its id and question."""
    return begin(tracker.sink(), name, parent, Beginning(name, name, **more), "no framework")


def end(name: str, error: BaseException | None = None) -> None:
    run = ending(name)
    assert run is not None
    run.span.response = f"re {name}"
    run.end(error)


def steps(record: dict[str, Any]) -> list[tuple[str, int | None]]:
    parents = {each["id"]: each.get("parent") for each in record["step_details"]}
    return [(step["type"], parents[step["id"]]) for step in record["step_data"]]


def test_the_outermost_run_is_the_record_and_those_inside_are_its_steps(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Whatever order they end in; what is hidden is left out, not what is in it."""
    opened(tracker, "outer")
    opened(tracker, "hidden", "outer", is_hidden=True)
    opened(tracker, "inner", "hidden")
    opened(tracker, "innermost", "inner")
    for name in ("hidden", "innermost", "inner", "outer"):
        end(name)
    assert not any(map(run_of, ("hidden", "innermost", "inner", "outer")))
    (record,) = records
    assert (record["input"], record["output"]) == ("outer", "re outer")
    assert steps(record) == [("inner", None), ("innermost", 1)]


def test_runs_of_a_batch_begin_together_and_do_not_mix(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """What is recorded by other means before the work of one begins belongs to none of them."""
    for name in "abc":
        opened(tracker, name)
    with tracker.step("nobody's"):
        pass
    for name in "abc":
        opened(tracker, f"in {name}", name)
        with tracker.step("own"):
            pass
        end(f"in {name}")
    for name in "abc":
        end(name)
    nobodys, *found = records
    assert nobodys["step_data"][0]["type"] == "nobody's"
    in_the_last = {"a": None, "b": None, "c": 1}  # of the run around the others it is known
    assert [steps(record) for record in found] == [
        [(f"in {name}", None), ("own", in_the_last[name])] for name in "abc"
    ]


def test_a_run_is_the_current_span_of_its_own_work_only(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Not of the code that reads a generator between two items, but for the generator's own call."""

    def items() -> Iterator[bool]:
        begin(tracker.sink(), "model", None, Beginning("model", "model", is_call=True), "no framework")
        yield bool(recorded.get())
        yield bool(recorded.get())
        end("model")

    found = [(inside, bool(recorded.get())) for inside in items()]
    assert found == [(True, False), (True, False)]
    assert not recorded.get()
    assert [record["input"] for record in records] == ["model"]


def test_of_too_many_the_oldest_is_logged_as_it_is(
    tracker: Tracker, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted; what is in it is logged by itself when it ends."""
    monkeypatch.setattr(runs, "MOST_OPEN", 2)
    opened(tracker, "old")
    opened(tracker, "step", "old")
    opened(tracker, "new")
    assert run_of("old") is None
    assert (records[0]["input"], records[0]["ended"]) == ("old", "never ended")
    assert tracker.logged.faults.pop() == "a run was given up: 2 are open"
    end("step")
    end("new")
    assert [record["input"] for record in records] == ["old", "step", "new"]


def test_a_run_whose_parent_is_unknown_is_an_outermost_one(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Or a step of the interaction that is open."""
    opened(tracker, "orphan", "nobody")
    end("orphan")
    with tracker.interaction("asked"):
        opened(tracker, "orphan", "nobody")
        end("orphan")
    assert [record["input"] for record in records] == ["orphan", "asked"]
    assert steps(records[1]) == [("orphan", None)]


def test_a_forked_child_logs_none_of_its_parent_s_runs(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """It has a copy of them."""
    opened(tracker, "parent's")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        end("parent's")
        os.write(writer, str(len(records)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"0"
    os.close(reader)
    os.close(writer)
    end("parent's")
    assert len(records) == 1


def test_threads_that_begin_and_end_runs_at_once_lose_none(
    tracker: Tracker, records: list[dict[str, Any]]
) -> None:
    """Each run has its own steps."""
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait(10)
        for each in range(50):
            name = f"{number} {each}"
            opened(tracker, name)
            opened(tracker, f"in {name}", name)
            end(f"in {name}")
            end(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(records) == 400
    assert all([step["type"] for step in each["step_data"]] == [f"in {each['input']}"] for each in records)
