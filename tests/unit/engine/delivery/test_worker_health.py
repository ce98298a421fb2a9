"""A worker that fails, dies or is stuck: counted, said, replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import NoReturn

import pytest

from banyan_hp import PromptStackLogger
from banyan_hp.engine import stats
from banyan_hp.engine.delivery import worker
from banyan_hp.engine.delivery.callbacks import OwnThread
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.records.ledger import Term
from banyan_hp.errors import DeliveryError
from tests.conftest import MakeLogger
from tests.support.parts import part_of
from tests.support.patience import PATIENCE, eventually
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching
from tests.support.timing import assert_in_time


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # private: nobody else has a use for another time
    monkeypatch.setattr(worker, "_AFTER_A_CRASH_SECONDS", 0.02)


def failing(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def break_once(owner: object, name: str, error: BaseException) -> Iterator[None]:
    """Have a method raise at its next call."""
    original = getattr(owner, name)

    def fail(*_: object, **__: object) -> NoReturn:
        setattr(owner, name, original)
        raise error

    setattr(owner, name, fail)
    return iter(())


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), KeyError("a bug"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "where",
    [
        "scheduler.next_task",
        "sender.attempt",
        "worker._add_thread_if_useful",
        "runner._do",
        "worker._work",
    ],
)
def test_a_bug_in_the_worker_costs_no_record(
    where: str,
    error: BaseException,
    server: ScriptedServer,
    make_logger: MakeLogger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Wherever it strikes: counted, logged once, shown by `health()`, and all records are delivered."""
    server.handler = batching()
    logger = make_logger(server.url, batching="never" if "add_thread" in where else "auto")
    engine = part_of(logger, Engine).core.parts
    part, _, method = where.rpartition(".")
    owner = attrgetter(part)(engine)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        break_once(owner, method, error)
        for number in range(10):
            assert logger.log_prompt("q", "a", metadata={"number": number})
        eventually(lambda: logger.get_stats()["worker_restarts"] == 1)
        eventually(lambda: logger.get_stats()["logs_sent"] == 10)
    assert [r.getMessage() for r in caplog.records] == [
        f"the worker failed and goes on: {type(error).__name__}"
    ]
    health = logger.health()
    assert health["status"] == "degraded"
    assert health["reasons"][0].startswith("the worker failed and was restarted, 1 times in all")
    assert type(error).__name__ in health["reasons"][0]


def test_a_failure_is_forgiven_after_some_minutes(
    server: ScriptedServer, make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`health()` is about now; the counter stays."""
    server.handler = batching()
    logger = make_logger(server.url)
    break_once(part_of(logger, Engine).core.parts.scheduler, "next_task", ValueError())
    logger.log_prompt("q", "a")
    eventually(lambda: logger.get_stats()["logs_sent"] == 1)
    assert logger.health()["status"] == "degraded"
    monkeypatch.setattr(stats, "FAILURE_SHOWS_SECONDS", 0.0)
    assert logger.health() == {"status": "ok", "reasons": [], "state": "online"}
    assert logger.get_stats()["worker_restarts"] == 1


def test_a_thread_that_dies_outside_its_loop_is_replaced(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """Not even the handling of errors may fail for good."""
    server.handler = batching()
    logger = make_logger(server.url)
    died: list[object] = []
    hook, threading.excepthook = threading.excepthook, died.append
    try:
        engine_worker = part_of(logger, worker.Worker)
        # private: what a thread does when its work has failed has no other way to fail
        break_once(engine_worker, "_failed", MemoryError())
        break_once(engine_worker, "_work", MemoryError())
        logger.log_prompt("q", "a")
        eventually(lambda: logger.get_stats()["logs_sent"] == 1)
    finally:
        threading.excepthook = hook
    assert len(died) == 1
    assert logger.get_stats()["worker_alive"]


def test_a_callback_that_blocks_shows_in_health(
    server: ScriptedServer, make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name and time; when it returns, all is well."""
    server.handler = batching()
    entered, go = threading.Event(), threading.Event()

    def block(record: dict[str, object]) -> dict[str, object]:
        entered.set()
        go.wait(PATIENCE)
        return record

    logger = make_logger(server.url, before_send=block)
    logger.log_prompt("q", "a")
    assert entered.wait(PATIENCE)
    assert logger.health()["status"] == "ok"
    monkeypatch.setattr(stats, "CALLBACK_SECONDS", 0.0)
    assert logger.health()["reasons"] == ["the callback before_send has been running for 0 s"]
    go.set()
    assert logger.flush(PATIENCE)
    assert logger.health()["status"] == "ok"


def test_a_callback_that_blocks_does_not_block_callers(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """Logging, stats and health go on."""
    go = threading.Event()

    def on_error(_error: DeliveryError) -> None:
        go.wait(PATIENCE)

    server.script([Reply(503)])
    server.handler = batching()
    logger: PromptStackLogger = make_logger(server.url, on_error=on_error)
    began = time.monotonic()
    for _ in range(100):
        assert logger.log_prompt("q", "a")
        logger.get_stats()
        logger.health()
    assert_in_time(time.monotonic() - began, 1)
    go.set()


# -- threads that are refused --------------------------------------------------------------------------------


@contextmanager
def no_threads(
    monkeypatch: pytest.MonkeyPatch, message: str = "can't start new thread"
) -> Iterator[pytest.MonkeyPatch]:
    """The system refuses our threads."""
    # private: likewise
    monkeypatch.setattr(worker, "_NO_THREAD_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(OwnThread, "start", failing(RuntimeError(message)))
        yield patch


def test_where_threads_are_refused_the_caller_delivers(
    server: ScriptedServer, make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call has delivered its record when it returns."""
    server.handler = batching()
    logger = make_logger(server.url)
    with no_threads(monkeypatch):
        for number in range(3):
            assert logger.log_prompt("q", "a")
            assert logger.get_stats()["logs_sent"] == number + 1


@pytest.mark.parametrize("poll", ["get_stats", "health", "log_prompt", "another logger"])
def test_a_thread_that_was_refused_is_asked_for_again(
    poll: str, server: ScriptedServer, make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next stats poll, health check or record, or a task of another logger's thread."""
    server.script([Reply(503)] * 2)
    server.handler = batching()
    logger = make_logger(server.url, retry_delay=0.5)
    other = make_logger(server.url, api_key="psk_other")
    with no_threads(monkeypatch):
        assert logger.log_prompt("q", "a")
        assert not part_of(logger, worker.Worker).threads
    if poll == "another logger":
        assert other.log_prompt("q", "a")
    elif poll == "log_prompt":
        assert logger.log_prompt("q", "a")
    else:
        getattr(logger, poll)()
    eventually(lambda: part_of(logger, worker.Worker).threads)
    own = part_of(logger, Engine).core.parts.ledger.own
    eventually(lambda: own[Term.DELIVERED] == own.accepted)


def test_a_refusal_at_the_end_is_silent(
    server: ScriptedServer,
    make_logger: MakeLogger,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Python 3.12 refuses threads before our end has begun: nothing is wrong, and nothing is logged."""
    server.handler = batching()
    logger = make_logger(server.url)
    with no_threads(monkeypatch, "can't create new thread at interpreter shutdown"):
        assert logger.log_prompt("q", "a")
        assert logger.flush(PATIENCE)
    assert caplog.records == []
    assert logger.get_stats()["logs_sent"] == 1
