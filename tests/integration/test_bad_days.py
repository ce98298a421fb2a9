"""How records fare while a backend fails, hangs, is down or says something odd, against real sockets."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.delivering import EMPTY, is_discovery, log_many, numbers, usage_requests
from tests.support.patience import PATIENCE, eventually
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import (
    Drip,
    Exchange,
    Garbage,
    Hang,
    Redirect,
    Reply,
    Request,
    Reset,
    ResetMidAnswer,
    batching,
    one_by_one,
    records_in,
)
from tests.support.timing import assert_in_time


def test_500s_for_a_while_then_fine(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Server errors are retried until the backend is well: everything arrives once."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), *[Reply(500, "oops")] * 6])
    logger = make_logger(server.url)
    log_many(logger, 250)
    # an exhausted retry ends a flush early, with the records on disk
    eventually(lambda: logger.flush(5), "the delivery of all")
    assert sorted(set(numbers(server))) == list(range(250))
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_dropped"], stats["state"]) == (250, 0, "online")
    assert stats["attempts_failed"] == 6


def test_retry_after_is_obeyed_to_the_letter(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """After a 429 with Retry-After: 2 there is no request for two seconds; then all is delivered."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Reply(429, {"error": "slow down"}, {"Retry-After": "2"})])
    logger = make_logger(server.url)
    log_many(logger, 50)
    assert logger.flush(10)
    refused, *later = usage_requests(server)
    assert later[0].at - refused.at >= 2.0
    assert logger.get_stats()["logs_sent"] == 50


def test_retry_after_holds_for_all_senders(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """One by one, too, no sender begins a request while the backend has asked for patience."""
    server.handler = one_by_one()
    server.script([Reply(429, {}, {"Retry-After": "1"})])
    logger = make_logger(server.url, batching="never")
    log_many(logger, 1)
    eventually(lambda: logger.get_stats()["attempts_failed"] == 1)  # the senders know now
    log_many(logger, 40, start=1)
    assert logger.flush(20)
    first, *later = server.requests
    assert min(request.at for request in later) - first.at >= 1.0
    assert logger.get_stats()["logs_sent"] == 41


@pytest.mark.parametrize(
    "trouble",
    [
        Reset(),
        ResetMidAnswer(200, '{"accepted": 20}', 3),
        Garbage(b"\x00\x01 not http at all\r\n\r\n"),
        Reply(503, "x"),
        Reply(408, "x"),
    ],
    ids=["reset", "reset in mid-answer", "garbage", "503", "408"],
)
def test_a_lost_or_broken_answer_is_retried_under_the_same_id(
    make_logger: MakeLogger, server: ScriptedServer, trouble: Any
) -> None:
    """Whatever breaks, the records come again with the ids they had, so that a backend recognizes them."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), trouble])
    logger = make_logger(server.url)
    log_many(logger, 20)
    assert logger.flush(10)
    assert len(set(server.ids())) == 20
    assert sorted(set(numbers(server))) == list(range(20))
    assert logger.get_stats()["logs_sent"] == 20


def test_a_repeat_after_a_lost_answer_is_stored_once_by_the_local_backend(make_logger: MakeLogger) -> None:
    """The local backend stores each id once, however often it comes."""
    with Backend() as backend, ScriptedServer() as front:
        logger = make_logger(front.url)
        lost: list[str] = []

        def forward(request: Request) -> Any:
            headers = {**request.headers, "host": "localhost"}
            answer = requests.request(
                request.method, backend.url + request.path, headers=headers, data=request.raw_body, timeout=10
            )
            if request.route.endswith("/batch") and not is_discovery(request) and not lost:
                lost.extend(record_id for record_id, _ in records_in(request))
                return Reset()
            return Reply(answer.status_code, answer.content)

        front.handler = forward
        log_many(logger, 30)
        assert logger.flush(10)
        assert lost
        assert (backend.count(), backend.deliveries()) == (30, 30 + len(lost))


@pytest.mark.parametrize("in_headers", [False, True], ids=["body", "headers"])
def test_an_answer_that_drips_is_given_up_at_the_timeout(
    make_logger: MakeLogger, server: ScriptedServer, *, in_headers: bool
) -> None:
    """A server that sends a byte now and then can't hold a sender beyond the timeout."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Drip('{"accepted": 5}' + " " * 500, 0.05, in_headers=in_headers)])
    logger = make_logger(server.url, timeout=0.5)
    log_many(logger, 5)
    began = time.monotonic()
    assert logger.flush(10)
    assert logger.get_stats()["attempts_failed"] >= 1
    assert_in_time(time.monotonic() - began, 5)


def test_a_backend_that_hangs_is_given_up_at_the_timeout(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """No answer within `timeout` is a failed attempt, and the record is tried again."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Hang()])
    logger = make_logger(server.url, timeout=0.3)
    log_many(logger, 5)
    assert logger.flush(10)
    stats = logger.get_stats()
    assert stats["attempts_failed"] >= 1
    assert stats["logs_sent"] == 5
    assert "timed out" in str(stats["last_error"])


def test_a_redirect_is_not_followed(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """A redirected POST would become a GET and its 200 a silent loss: it is a wrong address instead."""
    with ScriptedServer(one_by_one()) as elsewhere:
        server.handler = lambda _request: Redirect(elsewhere.url + "/api/logs/prompt-usage")
        logger = make_logger(server.url)
        log_many(logger, 3)
        assert not logger.flush(5)
        stats = logger.get_stats()
        assert (stats["state"], stats["logs_spooled"]) == ("misconfigured", 3)
        assert "302" in str(stats["last_error"])
        assert server.url in str(stats["last_error"])
        assert elsewhere.requests == []


def test_an_html_page_with_status_200_is_not_a_delivery(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A login page in front of the backend answers 200 to everything; nothing counts as sent."""
    server.handler = lambda _request: Reply(200, "<html>log in</html>", {"Content-Type": "text/html"})
    logger = make_logger(server.url)
    log_many(logger, 3)
    assert not logger.flush(5)
    assert logger.get_stats()["state"] == "misconfigured"
    server.handler = one_by_one()
    assert logger.flush(5)
    assert sorted(set(numbers(server))) == [0, 1, 2]


def test_a_backend_that_is_down_costs_nothing_and_comes_back(make_logger: MakeLogger) -> None:
    """Down from the start: records go to disk and are delivered when the backend is there."""
    with ScriptedServer() as reserved:
        port = reserved.port
    logger = make_logger(f"http://127.0.0.1:{port}")
    log_many(logger, 300)
    result = logger.flush(10)
    assert not result
    assert (result.spooled, result.pending, result.lost) == (300, 0, 0)
    assert logger.get_stats()["state"] == "offline"
    with ScriptedServer(batching(), port=port) as server:
        assert logger.flush(10)
        assert sorted(set(numbers(server))) == list(range(300))


def test_what_shutdown_leaves_on_disk_the_next_logger_delivers(make_logger: MakeLogger) -> None:
    """Records of an earlier logger of the same destination are adopted, sent, and counted as recovered."""
    with ScriptedServer() as reserved:
        port = reserved.port
    first = make_logger(f"http://127.0.0.1:{port}")
    log_many(first, 250)
    result = first.shutdown(5)
    assert (bool(result), result.spooled) == (False, 250)
    with ScriptedServer(batching(), port=port) as server:
        second = make_logger(f"http://127.0.0.1:{port}")
        log_many(second, 1, start=250)
        server.wait_for(lambda _requests: len(set(server.ids())) == 251)
        assert second.flush(5)
        assert sorted(numbers(server)) == list(range(251))
        assert second.shutdown(5)
    stats = second.get_stats()
    assert (stats["logs_sent"], stats["logs_recovered"]) == (1, 250)


def test_shutdown_without_a_disk_awaits_what_is_under_way(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """One request fails at the end, another one waits for its response: the records have no other place."""
    slow, failing, order = threading.Event(), threading.Event(), itertools.count()

    def answer(_request: Request) -> Reply:
        held, status = {0: (slow, 200), 1: (failing, 503)}.get(next(order), (slow, 200))
        held.wait(PATIENCE)
        return Reply(status, {})

    server.handler = answer
    logger = make_logger(server.url, batching="never", spool=False)
    log_many(logger, 5)
    server.wait_for(2)
    ending = threading.Thread(target=logger.shutdown, args=(PATIENCE,))
    ending.start()
    eventually(lambda: not logger.log_prompt("late", "o", prompt_id="p"))
    failing.set()
    eventually(lambda: logger.get_stats()["attempts_failed"] == 1)
    ending.join(0.2)
    slow.set()
    ending.join(PATIENCE)
    stats = logger.get_stats()
    assert (stats["logs_dropped"], stats["logs_sent"]) == (0, stats["logs_queued"])


def test_shutdown_keeps_its_deadline_while_a_backend_hangs(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A socket that never answers can't hold shutdown: the batch is taken from the worker's hands."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), Hang()])
    logger = make_logger(server.url, timeout=30)
    log_many(logger, 20)
    server.wait_for(2)
    began = time.monotonic()
    result = logger.shutdown(timeout=0.5)
    assert_in_time(time.monotonic() - began, 2)
    assert (bool(result), result.spooled, result.pending) == (False, 20, 0)


def test_flush_with_the_breaker_open_probes_once_and_goes_by_it(make_logger: MakeLogger) -> None:
    """While the backend is known to be down a flush ends with one failed attempt, not with its timeout."""
    with ScriptedServer() as reserved:
        port = reserved.port
    logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0)
    log_many(logger, 10)
    assert not logger.flush(10)
    attempts = logger.get_stats()["attempts_failed"]
    began = time.monotonic()
    assert not logger.flush(30)
    assert_in_time(time.monotonic() - began, 5)
    assert logger.get_stats()["attempts_failed"] == attempts + 1


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_answers_that_end_with_the_connection_are_read(
    make_logger: MakeLogger, server: ScriptedServer, version: bytes
) -> None:
    """`Connection: close`, head and body in packets of their own: delivered once, not sent again."""
    body = b'{"ok": true}'
    head = version + b" 201 Created\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    server.handler = lambda _request: InPackets((head, body))
    logger = make_logger(server.url, batching="never")
    log_many(logger, 5)
    assert logger.flush(5)
    assert sorted(numbers(server)) == [0, 1, 2, 3, 4]


@dataclass(frozen=True)
class InPackets:
    """An answer in several sends, with a moment between them; then the connection closes."""

    packets: tuple[bytes, ...]

    def play(self, exchange: Exchange) -> bool:
        for packet in self.packets:
            exchange.send(packet)
            exchange.wait(0.05)
        return False


def test_a_cancelled_error_in_a_callback_does_not_end_the_worker(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Not even exceptions that are no `Exception` stop delivery."""
    server.handler = one_by_one()

    def scrub(record: dict[str, Any]) -> dict[str, Any]:
        if record["metadata"]["number"] == 0:
            raise asyncio.CancelledError
        return record

    logger = make_logger(server.url, before_send=scrub)
    log_many(logger, 10)
    assert not logger.flush(5)
    assert sorted(numbers(server)) == list(range(1, 10))
    assert logger.get_stats()["logs_quarantined"] == 1
