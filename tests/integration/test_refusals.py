"""What becomes of refused records, and of all records while the key is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from banyan_hp import DeliveryError
from tests.conftest import MakeLogger
from tests.support.delivering import log_many, numbers, usage_requests
from tests.support.refusals import quarantine_refused
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching, one_by_one


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
    assert not logger.flush(10)
    assert logger.get_stats()["logs_spooled"] == 120, "one was read back to be tried, the others were not"
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
