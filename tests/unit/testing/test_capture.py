"""`capture`: what is logged in it is in its list, and nowhere else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.engine import captures
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.errors import ConfigurationError, MissingKeyError, ValidationError
from banyan_hp.testing import capture
from banyan_hp.testing.fake_backend import FakeBackend
from banyan_hp.types import LogStep
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer

NOWHERE = "http://127.0.0.1:9"
Make = Callable[..., PromptStackLogger]


def test_the_module_functions_need_no_key() -> None:
    """Nor `configure()`; the record has the names of the arguments that were given."""
    with capture() as records:
        assert banyan.log_prompt("q", "a", model="m", metadata={"n": 1}, version="2", duration_ms=1.5)
        assert banyan.log("q2", "a2")
        assert records == [
            {
                "input": "q",
                "output": "a",
                "metadata": {"n": 1},
                "model": "m",
                "version": "2",
                "duration_ms": 1.5,
            },
            {"input": "q2", "output": "a2", "metadata": {}},
        ]
    with pytest.raises(ConfigurationError, match=r"call configure\(\) first"):
        banyan.log_prompt("q", "a")


def test_huggingplace_s_records_have_the_names_of_the_dict() -> None:
    """So have those of a session, with its defaults; a step is in `step_data` as it was given."""
    step: LogStep = {
        "type": "search",
        "user_question": "q",
        "prompt_response": "a",
        "token": 3,
        "response_time": 0.5,
    }
    with capture() as records:
        client = HuggingPlace(mode="dev")
        client.log({"user_prompt": "q", "response": "a", "metadata": {"any": [1]}}).result()
        client.start_session("s", metadata={"k": 1}).log({"user_prompt": "q2", "response": "a2"})
        client.log_step(step)
    in_all = {"org_id": "", "mode": "dev"}
    assert records[0] == {"user_prompt": "q", "response": "a", "metadata": {"any": [1]}, **in_all}
    assert records[1] == {
        "user_prompt": "q2", "response": "a2", "session_id": "s", "metadata": {"k": 1}, **in_all
    }  # fmt: skip
    assert records[2]["step_data"] == [step]
    assert len(records) == 3


def test_tracked_calls_are_captured() -> None:
    """With what our threads would add to them later; with and without a default logger."""

    @banyan.trace
    def answer(question: str) -> str:
        with banyan.step("search", question) as step:
            step.response = "found"
        return "a"

    with capture() as records:
        assert answer("q") == "a"
        with HuggingPlace().interaction("q2") as interaction:
            interaction.output = {"choices": [{"message": {"role": "assistant", "content": "a2"}}]}
    assert (records[0]["input"], records[0]["output"]) == ("q", "a")
    assert records[0]["metadata"]["step_data"][0]["prompt_response"] == "found"
    assert (records[1]["user_prompt"], records[1]["response"]) == ("q2", "a2")


def test_nothing_leaves_and_nothing_is_written(
    server: ScriptedServer, make_logger: Make, tmp_path: Path
) -> None:
    """No request, no thread, no file, no counter; afterwards records are delivered again."""
    logger = make_logger(server.url, api_key="psk_x")
    threads = threading.active_count()
    with capture() as records:
        assert logger.log_prompt("q", "a")
        assert logger.log_prompt("q2", "a2", blocking=True)
        assert logger.flush(timeout=0)
        assert (len(records), threading.active_count(), logger.get_stats()["logs_queued"]) == (2, threads, 0)
        assert not list(tmp_path.rglob("*.jsonl*"))
    assert server.requests == []
    assert logger.log_prompt("later", "a", blocking=True)
    assert (len(records), [body["input"] for _, body in server.records()]) == (2, ["later"])


def test_every_way_to_wait_returns_at_once() -> None:
    """Where the backend is unreachable and a delivery would take seconds."""

    async def wait(client: HuggingPlace) -> None:
        await client.log({"user_prompt": "q", "response": "a"})
        assert await client.aflush(timeout=0)

    with capture() as records:
        logger = PromptStackLogger("psk_x", NOWHERE, background_thread=False)
        assert logger.log_prompt("q", "a")
        client = HuggingPlace("k", "o", base_url=NOWHERE)
        receipt = client.log({"user_prompt": "q", "response": "a"})
        assert receipt.done() and receipt.id
        receipt.result(timeout=0)
        import asyncio

        asyncio.run(wait(client))
        assert client.flush(timeout=0)
    assert len(records) == 3


def test_before_send_sees_changes_and_drops_them() -> None:
    """What it returns is in the list. Where it raises, the record is not: it would not have been sent."""

    def scrub(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["input"] == "raise":
            raise RuntimeError
        return None if record["input"] == "drop" else {**record, "output": "***"}

    with capture() as records:
        logger = PromptStackLogger(before_send=scrub)
        assert logger.log_prompt("keep", "secret")
        assert logger.log_prompt("drop", "secret")
        assert not logger.log_prompt("raise", "secret", blocking=True)
    assert records == [{"input": "keep", "output": "***", "metadata": {}}]


def test_before_send_may_log_lines_that_become_records() -> None:
    """They do not: a handler that logs each line would otherwise come back without end."""

    def see(record: dict[str, Any]) -> dict[str, Any]:
        logging.getLogger("app").warning("seen")
        return record

    with capture() as records:
        logger = PromptStackLogger(before_send=see)

        class ToRecords(logging.Handler):
            def emit(self, line: logging.LogRecord) -> None:
                logger.log_prompt(line.getMessage(), "")

        handler = ToRecords()
        logging.getLogger("app").addHandler(handler)
        try:
            logger.log_prompt("q", "a")
        finally:
            logging.getLogger("app").removeHandler(handler)
    assert [record["input"] for record in records] == ["q"]


def test_the_innermost_takes_all(make_logger: Make) -> None:
    """The outer one goes on afterwards; captures may end in any order."""
    with capture() as outer:
        banyan.log_prompt("1", "a")
        with capture() as inner:
            banyan.log_prompt("2", "a")
        banyan.log_prompt("3", "a")
        first, second = capture(), capture()
        one, two = first.__enter__(), second.__enter__()
        first.__exit__(None, None, None)
        banyan.log_prompt("4", "a")
        second.__exit__(None, None, None)
        banyan.log_prompt("5", "a")
    inputs = [[record["input"] for record in each] for each in (outer, inner, one, two)]
    assert inputs == [["1", "3", "5"], ["2"], [], ["4"]]


def test_it_takes_what_all_threads_log() -> None:
    """Each record once."""
    with capture() as records:

        def log(first: int) -> None:
            for number in range(first, first + 100):
                banyan.log_prompt(str(number), "a")

        threads = [threading.Thread(target=log, args=(first,)) for first in range(0, 400, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(record["input"]) for record in records) == list(range(400))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own() -> None:
    """What it logs is in its copy of the list, and not in its parent's."""
    with capture() as records:
        logger = PromptStackLogger()
        logger.log_prompt("parent", "a")
        child = os.fork()
        if not child:
            status = 1
            try:
                logger.log_prompt("child", "a")
                status = int([record["input"] for record in records] != ["parent", "child"])
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        logger.log_prompt("again", "a")
    assert [record["input"] for record in records] == ["parent", "again"]


def test_a_client_without_a_key_is_off_outside_of_captures() -> None:
    """It is made in one, sends nothing afterwards, and is captured again in the next one."""
    with capture():
        logger, client = PromptStackLogger(), HuggingPlace()
        client.update_config(mode="dev")
    assert logger.log_prompt("lost", "a") and repr(logger).endswith("disabled>")
    client.log({"user_prompt": "lost", "response": "a"}).result()
    with capture() as records:
        logger.log_prompt("q", "a")
        client.log({"user_prompt": "q", "response": "a"})
    assert len(records) == 2
    for make in (PromptStackLogger, HuggingPlace):
        with pytest.raises(MissingKeyError):
            make()


def test_loggers_that_are_switched_off_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that keeps a test run quiet need not be unset."""
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    with capture() as records:
        banyan.log_prompt("q", "a")
        HuggingPlace(enabled=False).log({"user_prompt": "q", "response": "a"})
    assert len(records) == 2


def test_what_is_not_accepted_is_not_captured() -> None:
    """Wrong arguments, and records after `shutdown()`."""
    with capture() as records:
        logger, client = PromptStackLogger(), HuggingPlace()
        assert not logger.log_prompt("q", "a", metadata="text")  # type: ignore[arg-type]
        with pytest.raises(ValidationError):
            client.log({"user_prompt": "q"}).result()  # type: ignore[typeddict-item]
        assert logger.shutdown()
        assert not logger.log_prompt("late", "a")
    assert records == []


def test_a_record_that_is_on_its_way_when_the_capture_ends_is_in_it(make_logger: Make) -> None:
    """Its log call began inside; nothing of it leaves."""
    parts = part_of(make_logger(NOWHERE), Engine).core.parts
    with capture() as records:
        pass
    record = Record("1", 0.0, {"input": "q"}, 1, 0.0, parts.ledger.own)
    captures.take(record, parts)
    assert (records, record.term) == ([{"input": "q"}], Term.DELIVERED)


def test_what_is_captured_when_the_process_ends_is_gone(server: ScriptedServer, tmp_path: Path) -> None:
    """Records of `atexit` functions, too: nothing is sent and nothing is on disk."""
    program = f"""
import atexit
from banyan_hp import PromptStackLogger
from banyan_hp.testing import capture

logger = PromptStackLogger("psk_x", "{server.url}")
opened = capture()
records = opened.__enter__()
atexit.register(lambda: print(logger.log_prompt("at exit", "a"), len(records)))
logger.log_prompt("q", "a")
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert (finished.stdout, finished.stderr, server.requests) == ("True 2\n", "", [])
    assert not list(tmp_path.rglob("*.jsonl*"))


def test_prompts_are_fetched_in_a_capture() -> None:
    """It is about records; the ids of the prompt are on them."""
    with FakeBackend() as backend, capture() as records:
        backend.prompts["greeting"] = "Hello"
        logger = PromptStackLogger(backend.api_key, backend.url)
        prompt = logger.get_prompt("greeting")
        assert prompt is not None
        logger.log_prompt("q", "a", prompt)
        logger.shutdown()
    assert records[0]["prompt_id"] == prompt.prompt_id
    assert (records[0]["prompt_name"], records[0]["version"]) == ("greeting", "1.0")
    assert backend.records == []


def test_no_module_hides_a_name() -> None:
    """In whatever order the names are used: a module is imported at the first use of one of its names."""
    program = "import banyan_hp.testing as t; t.CapturedRecords; assert callable(t.capture), t.capture"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
