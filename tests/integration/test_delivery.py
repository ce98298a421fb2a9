"""How records fare on good and bad days, against real sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp import DeliveryError, PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.ledger import assert_balanced
from tests.support.refusals import quarantine_refused
from tests.support.scripted import (
    Answer,
    Drip,
    Exchange,
    Garbage,
    Hang,
    Redirect,
    Reply,
    Request,
    Reset,
    ResetMidAnswer,
    ScriptedServer,
    batching,
    one_by_one,
)
from tests.support.servers import wait_until

EMPTY = {"accepted": 0, "gzip": True}


def log_many(logger: PromptStackLogger, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        assert logger.log_prompt(f"question {number}", f"answer {number}", metadata={"number": number})


def numbers(server: ScriptedServer) -> list[int]:
    return [body["metadata"]["number"] for _, body in server.records()]


def usage_requests(server: ScriptedServer) -> list[Request]:
    """Requests that carry records: not the empty batch, not the key check."""
    return [request for request in server.requests if request.method == "POST" and not is_discovery(request)]


def is_discovery(request: Request) -> bool:
    return request.route.endswith("/batch") and request.json() == {"records": []}


# -- batches and single records ------------------------------------------------------------------------------


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
    assert time.monotonic() - began < 5.0
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


# -- bad days ------------------------------------------------------------------------------------------------


def test_500s_for_a_while_then_fine(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Server errors are retried until the backend is well: everything arrives once."""
    server.handler = batching()
    server.script([Reply(200, EMPTY), *[Reply(500, "oops")] * 6])
    logger = make_logger(server.url)
    log_many(logger, 250)
    deadline = time.monotonic() + 20
    while not logger.flush(5):  # an exhausted retry ends a flush early, with the records on disk
        assert time.monotonic() < deadline
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
    patience = threading.Event()
    server.handler = lambda request: one_by_one()(request)
    logger = make_logger(server.url, batching="never")

    def handler(request: Request) -> Any:
        if not patience.is_set():
            patience.set()
            return Reply(429, {}, {"Retry-After": "1"})
        return one_by_one()(request)

    server.handler = handler
    log_many(logger, 1)
    server.wait_for(1)
    log_many(logger, 40, start=1)
    assert logger.flush(10)
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
    """Whatever breaks, the records come again with the ids they had, so that a backend can tell."""
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
        lose_next = threading.Event()
        lose_next.set()

        def forward(request: Request) -> Any:
            headers = {**request.headers, "host": "localhost"}
            answer = requests.request(
                request.method, backend.url + request.path, headers=headers, data=request.raw_body, timeout=10
            )
            if request.route.endswith("/batch") and not is_discovery(request) and lose_next.is_set():
                lose_next.clear()
                return Reset()
            return Reply(answer.status_code, answer.content)

        front.handler = forward
        log_many(logger, 30)
        assert logger.flush(10)
        assert (backend.count(), backend.deliveries()) == (30, 60)


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
    assert time.monotonic() - began < 5
    assert logger.get_stats()["attempts_failed"] == 1


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
    assert (stats["attempts_failed"], stats["logs_sent"]) == (1, 5)
    assert "timed out" in stats["last_error"]


def test_a_redirect_is_not_followed(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """A redirected POST would become a GET and its 200 a silent loss: it is a wrong address instead."""
    with ScriptedServer(one_by_one()) as elsewhere:
        server.handler = lambda _request: Redirect(elsewhere.url + "/api/logs/prompt-usage")
        logger = make_logger(server.url)
        log_many(logger, 3)
        assert not logger.flush(5)
        stats = logger.get_stats()
        assert (stats["state"], stats["logs_spooled"]) == ("misconfigured", 3)
        assert "302" in stats["last_error"]
        assert server.url in stats["last_error"]
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


# -- refused records -----------------------------------------------------------------------------------------


def test_one_refused_record_among_500_by_verdict(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """A batch endpoint that names the bad record: 499 delivered, one quarantined with its reason."""
    errors: list[DeliveryError] = []
    server.handler = batching(
        verdicts=lambda record: (
            (422, "bad number") if record["body"]["metadata"]["number"] == 123 else (201, None)
        )
    )
    logger = make_logger(server.url, on_error=errors.append)
    log_many(logger, 500)
    assert not logger.flush(10)
    more = quarantine_refused(logger)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["state"]) == (499 + more, 1, "online")
    logger.shutdown(5)
    assert [(error.reason, error.status) for error in errors] == [("refused", 422)]
    assert "bad number" in str(errors[0])


def test_one_refused_record_among_500_by_bisection(
    make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path
) -> None:
    """A backend that refuses the whole batch: it is halved until the bad record stands alone."""

    def refuse_13(request: Request) -> Any:
        if any(item["body"]["metadata"]["number"] == 13 for item in request.json()["records"]):
            return Reply(400, {"error": "13 is unlucky"})
        return batching()(request)

    server.handler = refuse_13
    logger = make_logger(server.url)
    log_many(logger, 500)
    assert not logger.flush(10)
    more = quarantine_refused(logger)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"]) == (499 + more, 1)
    assert 13 not in {body["metadata"]["number"] for _, body in accepted(server, refuse_13)}
    (kept,) = (tmp_path / "state").rglob("quarantine.v1.jsonl")
    assert "13 is unlucky" in kept.read_text()


def accepted(server: ScriptedServer, handler: Any) -> list[tuple[str, Any]]:
    """Records of requests that the handler takes."""
    return [
        (item["id"], item["body"])
        for request in usage_requests(server)
        if not (isinstance(handler(request), Reply) and handler(request).status == 400)
        for item in request.json()["records"]
    ]


def test_one_refused_record_one_by_one(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Without batches the refused record is quarantined and the others go on."""

    def refuse_7(request: Request) -> Any:
        body = request.json()
        if body.get("metadata", {}).get("number") == 7:
            return Reply(422, {"error": "no sevens"})
        return one_by_one()(request)

    server.handler = refuse_7
    logger = make_logger(server.url)
    log_many(logger, 50)
    assert not logger.flush(10)
    more = quarantine_refused(logger)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["state"]) == (49 + more, 1, "online")


def test_without_a_spool_a_refused_record_is_a_counted_drop(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """`spool=False` keeps nothing on disk, so what is refused is dropped, by name."""
    drops: list[tuple[str, int]] = []
    server.handler = lambda request: Reply(422, {"error": "no"}) if request.method == "POST" else Reply(200)
    logger = make_logger(
        server.url, spool=False, batching="never", on_drop=lambda reason, count: drops.append((reason, count))
    )
    log_many(logger, 1)
    assert not logger.flush(5)
    logger.shutdown(5)
    assert logger.get_stats()["drops"] == {"refused": 1}
    assert drops == [("refused", 1)]


def test_a_backend_that_refuses_everything_is_broken_not_the_records(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """400 to everything: after a few, the rest is kept, and delivered when the backend is mended."""
    server.handler = lambda request: Reply(400, {"error": "who are you"}) if request.body else Reply(200)
    logger = make_logger(server.url, batching="never", max_connections=1)
    log_many(logger, 100)
    assert not logger.flush(10)
    stats = logger.get_stats()
    assert stats["state"] == "misconfigured"
    assert stats["logs_quarantined"] < 5
    assert stats["logs_spooled"] > 95
    server.handler = one_by_one()
    assert logger.flush(10)
    after = logger.get_stats()
    assert (after["state"], after["logs_sent"]) == ("online", stats["logs_spooled"])


def test_413_halves_the_batch_and_quarantines_a_single_record(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Too large: smaller batches get through; a record that is too large by itself goes to quarantine."""

    def at_most_20_kb(request: Request) -> Any:
        return (
            Reply(413, {"error": "too large"})
            if len(request.body) > 20_000
            else batching(gzip=False)(request)
        )

    server.handler = at_most_20_kb
    logger = make_logger(server.url)
    assert logger.log_prompt("x" * 30_000, "y", metadata={"number": 0})
    for number in range(1, 60):
        assert logger.log_prompt("x" * 1000, "y", metadata={"number": number})
    assert not logger.flush(10)
    more = quarantine_refused(logger)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"]) == (59 + more, 1)


# -- credentials ---------------------------------------------------------------------------------------------


def test_401_keeps_everything_until_the_key_is_valid_again(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A refused key loses nothing: state auth_error, all on disk, all delivered when the key works again."""
    server.handler = lambda _request: Reply(401, {"error": "unknown key"})
    logger = make_logger(server.url)
    log_many(logger, 120)
    assert not logger.flush(10)
    stats = logger.get_stats()
    assert (stats["state"], stats["logs_spooled"], stats["logs_dropped"]) == ("auth_error", 120, 0)
    assert logger.health()["status"] == "failing"
    assert len(server.requests) < 20
    server.handler = batching()
    assert logger.flush(10)
    assert logger.get_stats()["state"] == "online"
    assert logger.get_stats()["logs_sent"] == 120
    assert sorted(set(numbers(server))) == list(range(120))


def test_a_403_with_a_valid_key_is_a_refusal_of_that_record(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Firewalls answer 403 to bodies that hold SQL: that record is quarantined, the others are delivered."""

    def firewall(request: Request) -> Any:
        if b"DROP TABLE" in request.body:
            return Reply(403, "<html>blocked</html>", {"Content-Type": "text/html"})
        return one_by_one()(request)

    server.handler = firewall
    logger = make_logger(server.url)
    log_many(logger, 10)
    assert logger.log_prompt("DROP TABLE users", "no", metadata={"number": 10})
    log_many(logger, 10, start=11)
    assert not logger.flush(10)
    more = quarantine_refused(logger)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["state"]) == (20 + more, 1, "online")


def test_a_403_with_a_refused_key_holds_everything(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """403 from a backend that does not know the key is a matter of credentials, not of records."""
    server.handler = lambda _request: Reply(403, {"error": "forbidden"})
    logger = make_logger(server.url)
    log_many(logger, 10)
    assert not logger.flush(10)
    stats = logger.get_stats()
    assert (stats["state"], stats["logs_spooled"], stats["logs_quarantined"]) == ("auth_error", 10, 0)


# -- down ----------------------------------------------------------------------------------------------------


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
        server.wait_for(lambda _requests: len(set(server.ids())) == 251, timeout=10)
        assert second.flush(5)
        assert sorted(numbers(server)) == list(range(251))
        assert second.shutdown(5)
    stats = second.get_stats()
    assert (stats["logs_sent"], stats["logs_recovered"]) == (1, 250)


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
    assert time.monotonic() - began < 2
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
    assert time.monotonic() - began < 5
    assert logger.get_stats()["attempts_failed"] == attempts + 1


# -- memory --------------------------------------------------------------------------------------------------


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
    concurrency = threading.Event()
    for number in range(2000):
        concurrency.wait(max(0.0, began + number / 200 - time.monotonic()))
        assert logger.log_prompt("q", "a", metadata={"number": number})
    assert logger.flush(timeout=15)
    assert time.monotonic() - began < 15
    assert sorted(numbers(server)) == list(range(2000))


def test_the_ledger_holds_at_every_read_through_an_outage(make_logger: MakeLogger) -> None:
    """Stats polled at full speed balance while threads log and the backend fails half of its answers."""
    turn = iter(range(10**9))

    def every_other(request: Request) -> Any:
        return Reply(503, "x") if next(turn) % 2 else batching()(request)

    with ScriptedServer(every_other) as server:
        logger = make_logger(server.url, retry_delay=0.01, queue_size=500, batch_size=20)
        threads = [
            threading.Thread(target=log_many, args=(logger, 500, base)) for base in (0, 500, 1000, 1500)
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
        assert sorted(set(numbers(server))) == list(range(2000))


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
        server.wait_for(lambda _requests: set(range(30)) <= set(numbers(server)), timeout=10)
