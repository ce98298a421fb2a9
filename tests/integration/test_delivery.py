"""What holds for all records under load: bounds, the ledger, and what a new logger sends."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeLogger
from tests.support.delivering import EMPTY, log_many, numbers
from tests.support.ledger import assert_balanced
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, Reply, Request, batching, one_by_one
from tests.support.timing import assert_in_time


@pytest.mark.parametrize("policy", ["spill", "drop_oldest", "drop_newest"])
def test_the_queue_stays_inside_its_bounds_while_a_backend_hangs(
    make_logger: MakeLogger, server: ScriptedServer, policy: str
) -> None:
    """However many records come, memory holds `queue_size` of them; what happens to the others is as set."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Hang(after=Reply(200, {"accepted": 1}))])
    logger = make_logger(server.url, queue_size=100, overflow=policy, timeout=30, flush_interval=0.0)
    assert logger.log_prompt("first", "x", metadata={"number": -1})
    server.wait_for(2)
    taken = [logger.log_prompt("q", "a", metadata={"number": number}) for number in range(500)]
    stats = logger.get_stats()
    assert stats["queue_size"] <= 100
    assert_balanced(stats)
    server.release()
    flushed = logger.flush(10)
    arrived = {number for number in numbers(server) if number >= 0}
    if policy == "spill":
        assert flushed
        assert all(taken)
        assert arrived == set(range(500))
    elif policy == "drop_oldest":
        assert all(taken)
        assert arrived == set(range(400, 500))
        assert logger.get_stats()["drops"] == {"queue_full": 400}
    else:
        assert taken == [True] * 100 + [False] * 400
        assert arrived == set(range(100))
        assert logger.get_stats()["drops"] == {"queue_full": 400}


def test_the_queue_is_bounded_in_bytes(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """`queue_bytes` bounds memory whatever the number of records."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Hang()])
    logger = make_logger(
        server.url, queue_bytes=200_000, max_record_bytes=100_000, overflow="drop_newest", timeout=30
    )
    for number in range(100):
        logger.log_prompt("x" * 20_000, "y", metadata={"number": number})
    stats = logger.get_stats()
    assert stats["queue_bytes"] <= 200_000
    assert stats["drops"]["queue_full"] >= 80
    logger.shutdown(0.2)


def test_a_burst_beyond_the_queue_reaches_a_slow_one_by_one_backend(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """What the queue can't hold goes over the disk; sending goes on meanwhile; all arrive once."""
    server.handler = one_by_one(latency=0.002)
    logger = make_logger(server.url, queue_size=200)
    log_many(logger, 2000)
    assert_balanced(logger.get_stats())
    assert logger.get_stats()["logs_spooled"] > 0
    assert logger.flush(timeout=30)
    assert sorted(numbers(server)) == list(range(2000))


@pytest.mark.alone
def test_2000_records_over_10_s_reach_a_50_ms_backend_within_15_s(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """The promise for backends that take one record a request."""
    server.handler = one_by_one(latency=0.05)
    logger = make_logger(server.url)
    began = time.monotonic()
    never = threading.Event()
    for number in range(2000):
        never.wait(max(0.0, began + number / 200 - time.monotonic()))
        assert logger.log_prompt("q", "a", metadata={"number": number})
    assert logger.flush(timeout=15)
    assert_in_time(time.monotonic() - began, 15)
    assert sorted(numbers(server)) == list(range(2000))


@pytest.mark.parametrize("each", [100, pytest.param(500, marks=pytest.mark.soak)])
def test_the_ledger_holds_at_every_read_through_an_outage(make_logger: MakeLogger, each: int) -> None:
    """Stats polled at full speed balance while threads log and the backend fails half of its answers.

    The outage ends: a record that failed alone again and again would be suspected, and wait longer each time.
    """
    turn = iter(range(10**9))

    def every_other(request: Request) -> Any:
        number = next(turn)
        return Reply(503, "x") if number < each and number % 2 else batching()(request)

    with ScriptedServer(every_other) as server:
        logger = make_logger(server.url, retry_delay=0.01, queue_size=each, batch_size=20, max_retries=10)
        threads = [
            threading.Thread(target=log_many, args=(logger, each, number * each)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert_balanced(logger.get_stats())
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 30
        while not logger.flush(5):
            assert_balanced(logger.get_stats())
            assert time.monotonic() < deadline
        assert sorted(set(numbers(server))) == list(range(4 * each))


def test_a_logging_handler_that_logs_through_us_does_not_deadlock(
    make_logger: MakeLogger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's own warnings are said without a lock held: a handler may call log_prompt."""
    (tmp_path / "file").write_text("in the way of the spool")
    logger = make_logger(
        "http://127.0.0.1:9", spool_dir=tmp_path / "file" / "below", durability="disk", max_retries=0
    )

    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.log_prompt("echo", record.getMessage())

    echo = Echo()
    logging.getLogger("banyan_hp").addHandler(echo)
    try:
        threads = [threading.Thread(target=log_many, args=(logger, 50)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        logger.flush(1)
        logger.shutdown(1)
    finally:
        logging.getLogger("banyan_hp").removeHandler(echo)


def test_a_new_logger_sends_what_the_one_it_replaces_has_left(make_logger: MakeLogger) -> None:
    """A logger that runs already finds the segments that another one lets go of, without an outage."""
    with ScriptedServer() as reserved:
        port = reserved.port
    url = f"http://127.0.0.1:{port}"
    old = make_logger(url, max_retries=0)
    log_many(old, 30)
    assert not old.flush(5)
    with ScriptedServer(batching(), port=port) as server:
        new = make_logger(url)
        log_many(new, 1, start=100)
        assert new.flush(5)
        server.handler = lambda _request: Reply(503, "x")
        old.shutdown(0)
        server.handler = batching()
        server.wait_for(lambda _requests: set(range(30)) <= set(numbers(server)))
