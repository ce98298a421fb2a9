"""How records travel: in batches or one by one, found out and within limits."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.delivering import is_discovery, log_many, numbers, usage_requests
from tests.support.ledger import assert_balanced
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Redirect, Reply, Request, batching, one_by_one
from tests.support.servers import wait_until
from tests.support.timing import assert_in_time


def test_20000_records_arrive_in_batches_each_once_and_the_ledger_balances(make_logger: MakeLogger) -> None:
    """A burst goes to the real backend in batches; every record is stored once, every read balances."""
    with Backend() as backend:
        logger = make_logger(backend.url)
        for number in range(20_000):
            assert logger.log_prompt("x" * 600, "y" * 800, metadata={"number": number})
            if number % 1000 == 0:
                assert_balanced(logger.get_stats())
        assert logger.flush(timeout=30)
        assert (backend.count(), backend.deliveries()) == (20_000, 20_000)
    stats = logger.get_stats()
    assert stats["logs_sent"] == 20_000
    assert stats["requests_sent"] < 20_000 / 20


def test_records_go_one_by_one_with_their_id_and_time_in_headers(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A backend without batches gets one record a request, its body untouched, id and time in headers."""
    server.handler = one_by_one()
    logger = make_logger(server.url, project_id="p1")
    assert logger.log_prompt("q", "a", model="m", duration_ms=0)
    assert logger.flush(5)
    (request,) = usage_requests(server)
    assert request.json() == {"input": "q", "output": "a", "metadata": {}, "model": "m", "duration_ms": 0}
    assert request.headers["X-API-Key"] == "psk_local"
    assert request.headers["X-Project-Id"] == "p1"
    assert request.headers["Idempotency-Key"] == server.ids()[0]
    assert request.headers["X-Event-Time"].endswith("Z")


@pytest.mark.alone
def test_a_slow_one_by_one_backend_is_asked_in_parallel(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """With 50 ms a request, several senders work at once: 200 records need less than half of 200 x 50 ms."""
    server.handler = one_by_one(latency=0.05)
    logger = make_logger(server.url)
    began = time.monotonic()
    log_many(logger, 200)
    assert logger.flush(timeout=20)
    assert_in_time(time.monotonic() - began, 5.0)
    assert sorted(numbers(server)) == list(range(200))
    assert 2 <= server.connections <= 9


@pytest.mark.parametrize("warm", [True, False], ids=["after-others", "first-of-all"])
def test_a_request_that_hangs_holds_up_no_other_record(
    make_logger: MakeLogger, server: ScriptedServer, warm: bool
) -> None:
    """Quick answers keep one sender busy; when a request of its hangs, others go on."""
    held, release = threading.Event(), threading.Event()

    def answer(request: Request) -> Answer:
        if request.json().get("metadata", {}).get("number") == 0:
            held.set()
            release.wait(20)
        return one_by_one()(request)

    server.handler = answer
    logger = make_logger(server.url, batching="never", timeout=30)
    if warm:
        for number in range(100, 120):
            logger.log_prompt("q", "a", metadata={"number": number})
        assert logger.flush(5)
    logger.log_prompt("q", "a", metadata={"number": 0})
    assert held.wait(5)
    log_many(logger, 20, start=1)
    others = set(range(1, 21))
    wait_until(lambda: others <= set(numbers(server)), 10, lambda: f"only {sorted(numbers(server))} came")
    release.set()
    assert logger.flush(5)
    assert 0 in numbers(server)


def test_the_batch_endpoint_is_found_by_one_empty_batch(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Exactly one empty batch is sent, without user data, and then batches, compressed as offered."""
    server.handler = batching(gzip=True)
    logger = make_logger(server.url, flush_interval=5.0, compression="always")
    log_many(logger, 300)
    assert logger.flush(5)
    discoveries = [request for request in server.requests if is_discovery(request)]
    assert len(discoveries) == 1
    assert discoveries[0] == server.requests[0]
    assert {request.headers.get("Content-Encoding") for request in usage_requests(server)} == {"gzip"}
    assert sorted(numbers(server)) == list(range(300))


def test_compression_is_found_out_where_batches_are_settled(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """`batching="always"` asks with one empty batch, too, whether batches may be compressed."""
    server.handler = batching(gzip=True)
    logger = make_logger(server.url, flush_interval=5.0, compression="always", batching="always")
    log_many(logger, 300)
    assert logger.flush(5)
    assert [is_discovery(request) for request in server.requests[:2]] == [True, False]
    assert {request.headers.get("Content-Encoding") for request in usage_requests(server)} == {"gzip"}
    assert sorted(numbers(server)) == list(range(300))


@pytest.mark.parametrize("compression", ["auto", "never"])
def test_batches_to_this_machine_are_not_compressed(
    make_logger: MakeLogger, server: ScriptedServer, compression: str
) -> None:
    """Bytes cost nothing there, and compressing them would."""
    server.handler = batching(gzip=True)
    logger = make_logger(server.url, compression=compression)
    log_many(logger, 50)
    assert logger.flush(5)
    assert {request.headers.get("Content-Encoding") for request in usage_requests(server)} == {None}


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, "<html>hello</html>", {"Content-Type": "text/html"}),
        Reply(200, {}),
        Reply(200, {"accepted": 1}),
        Reply(403, {"error": "unknown path"}),
        Reply(404, {"error": "no"}),
        Reply(500, "oops"),
        Redirect("/elsewhere"),
    ],
    ids=["html", "empty", "wrong count", "403", "404", "500", "redirect"],
)
def test_any_other_answer_means_one_by_one_and_changes_no_state(
    make_logger: MakeLogger, server: ScriptedServer, answer: Any
) -> None:
    """Only `{"accepted": 0}` means batches; other answers neither fail a record nor count as a failure."""
    server.handler = one_by_one()
    server.script([answer])
    logger = make_logger(server.url)
    log_many(logger, 5)
    assert logger.flush(5)
    stats = logger.get_stats()
    assert (stats["state"], stats["attempts_failed"], stats["logs_sent"]) == ("online", 0, 5)
    assert {request.route for request in server.requests[1:]} == {"/api/logs/prompt-usage"}


@pytest.mark.parametrize(("setting", "path"), [("always", "/batch"), ("never", "/prompt-usage")])
def test_batching_can_be_decided_by_the_user(
    make_logger: MakeLogger, server: ScriptedServer, setting: str, path: str
) -> None:
    """`batching="always"` and `"never"` ask nothing."""
    server.handler = batching() if setting == "always" else one_by_one()
    logger = make_logger(server.url, batching=setting)
    log_many(logger, 3)
    assert logger.flush(5)
    assert all(request.route.endswith(path) for request in server.requests)


def test_a_batch_endpoint_that_disappears_is_forgotten(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """After a roll-back of the backend (404 on the batch path) records go on one by one."""
    server.handler = batching()
    logger = make_logger(server.url)
    log_many(logger, 10)
    assert logger.flush(5)
    server.handler = one_by_one()
    log_many(logger, 10, start=10)
    assert logger.flush(5)
    assert sorted(set(numbers(server))) == list(range(20))
    assert logger.get_stats()["logs_sent"] == 20


def test_batches_respect_their_limits(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """No batch has more than batch_size records or more than max_batch_bytes bytes."""
    server.handler = batching(gzip=False)
    logger = make_logger(server.url, batch_size=7, max_batch_bytes=8192, flush_interval=1.0)
    for number in range(50):
        assert logger.log_prompt("x" * 2000, "y", metadata={"number": number})
    assert logger.flush(5)
    requests = usage_requests(server)
    assert max(len(request.json()["records"]) for request in requests) <= 7
    assert max(len(request.raw_body) for request in requests) <= 8192
    assert sorted(numbers(server)) == list(range(50))
