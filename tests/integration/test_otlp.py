"""Records on their way to a collector: what becomes of them on good and bad days, and what arrives."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from tests.support.otlp import attributes, log_records_in, parsed, spans_in
from tests.support.scripted import Reply, Request, Reset, ScriptedServer

SCORE = {"banyan_hp": {"kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": "r"}}
Make = Callable[..., PromptStackLogger]


@pytest.fixture
def collector() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def make(collector: ScriptedServer, tmp_path: Path) -> Iterator[Make]:
    """Makes loggers that send to the collector."""
    made = []

    def logger(**options: Any) -> PromptStackLogger:
        given = {"spool_dir": tmp_path, "retry_delay": 0.01, "flush_interval": 0.01, **options}
        given.setdefault("otlp_endpoint", collector.url)
        made.append(PromptStackLogger(export_to="otlp", **given))
        return made[-1]

    yield logger
    for each in made:
        each.shutdown(timeout=0.2)


def ids_in(requests: list[Request]) -> list[str]:
    spans = [span for each in requests if each.path == "/v1/traces" for span in spans_in(parsed(each))]
    return [attributes(span)["banyan.record.id"] for span in spans]


def discarded(directory: Path) -> list[dict[str, Any]]:
    (path,) = directory.glob("spool/*/discarded.v1.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def quarantined(directory: Path) -> list[dict[str, Any]]:
    (path,) = directory.glob("spool/*/quarantine.v1.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_spans_and_scores_arrive(
    collector: ScriptedServer, make: Make, protocol: str, compression: str
) -> None:
    """Each at its endpoint, in one request; without a key for a backend."""
    logger = make(otlp_protocol=protocol, otlp_compression=compression, flush_interval=30)
    for number in range(20):
        logger.log_prompt(f"question {number} " + "x" * 100, "a", record_id=f"r{number}")
        logger.log_prompt("", "", metadata=SCORE, record_id=f"s{number}")
    assert logger.flush(timeout=5)
    requests = collector.requests
    assert [each.path for each in requests] == ["/v1/traces", "/v1/logs"]
    assert all(("content-encoding" in each.headers) is (compression == "gzip") for each in requests)
    assert ids_in(requests) == [f"r{number}" for number in range(20)]
    records = log_records_in(parsed(requests[1]))
    assert [attributes(each)["banyan.record.id"] for each in records] == [f"s{n}" for n in range(20)]


def test_interactions_of_both_clients_arrive_as_trees(collector: ScriptedServer, make: Make) -> None:
    """Their steps are children."""
    with make().interaction("why?", model="m") as interaction:
        with interaction.step("search") as step:
            step.response = "found"
        interaction.response = "so"
    with HuggingPlace(export_to="otlp", otlp_endpoint=collector.url, spool=False, org_id="o1") as client:
        with client.interaction("why?") as other:
            with other.step("search") as step:
                step.response = "found"
            other.response = "so"
        client.flush(timeout=5)
    found = [parsed(each) for each in collector.wait_for(2)]
    for message in found:
        record, step_span = spans_in(message)
        assert step_span["parentSpanId"] == record["spanId"]
        assert attributes(step_span)["banyan.step.type"] == "search"
    resources = [attributes(each["resourceSpans"][0]["resource"]) for each in found]
    assert [each.get("banyan.organisation") for each in resources].count("o1") == 1


def test_a_record_inside_a_span_is_its_child(collector: ScriptedServer, make: Make) -> None:
    """Of the span that is current on the caller's thread; it survives the disk."""
    tracer = TracerProvider().get_tracer("app")
    logger = make(durability="disk")
    with tracer.start_as_current_span("request") as around:
        logger.log_prompt("inside", "a")
        logger.score("thumbs", True, record_id="r1")
    logger.log_prompt("outside", "a")
    assert logger.flush(timeout=5)
    scores, traces = (
        [parsed(each) for each in collector.requests if each.path == path]
        for path in ("/v1/logs", "/v1/traces")
    )
    spans = [span for each in traces for span in spans_in(each)]
    (score,) = log_records_in(scores[0])
    inside = next(span for span in spans if "inside" in attributes(span)["gen_ai.input.messages"])
    outside = next(span for span in spans if span is not inside)
    context = around.get_span_context()
    assert (inside["traceId"], inside["parentSpanId"]) == (
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
    )
    assert (score["traceId"], score["spanId"]) == (inside["traceId"], inside["parentSpanId"])
    assert "parentSpanId" not in outside
    assert outside["traceId"] != inside["traceId"]


# -- bad days ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_an_outage_loses_nothing_and_a_later_process_replays(
    collector: ScriptedServer, make: Make, durability: str
) -> None:
    """What was spooled leaves with the same ids."""
    collector.handler = lambda _: Reply(503)
    first = make(durability=durability, max_retries=0)
    for number in range(10):
        first.log_prompt("q", "a", record_id=f"r{number}")
    first.log_prompt("", "", metadata=SCORE, record_id="s")
    assert not first.shutdown(timeout=1)
    assert first.get_stats()["logs_spooled"] == 11
    before = len(collector.requests)
    collector.handler = lambda _: Reply(200, {})
    assert make().flush(timeout=10).backlog == 0
    arrived = collector.requests[before:]
    assert sorted(set(ids_in(arrived))) == sorted(f"r{number}" for number in range(10))
    assert any(each.path == "/v1/logs" for each in arrived)


def test_a_part_rejected_is_counted_and_kept_to_look_at(
    collector: ScriptedServer, make: Make, tmp_path: Path
) -> None:
    """The batch is not sent again, health says so, and copies are beside the quarantine."""
    answer = {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "attribute too long"}}
    collector.script([Reply(200, answer)])
    logger = make(flush_interval=30)
    for number in range(3):
        logger.log_prompt("q", "a", record_id=f"r{number}")
    assert logger.flush(timeout=5)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["otlp_rejected"]) == (3, 0, 1)
    health = logger.health()
    assert health["status"] == "degraded"
    assert "attribute too long" in health["reasons"][0]
    assert [each["id"] for each in discarded(tmp_path)] == ["r0", "r1", "r2"]
    assert len(collector.requests) == 1


def test_all_rejected_is_quarantined_and_not_sent_again(
    collector: ScriptedServer, make: Make, tmp_path: Path
) -> None:
    """With the collector's words; the destination counts as well."""
    answer = {"partialSuccess": {"rejectedSpans": 2, "errorMessage": "too old"}}
    collector.script([Reply(200, answer)])
    logger = make(flush_interval=30)
    for number in range(2):
        logger.log_prompt("q", "a", record_id=f"r{number}")
    logger.flush(timeout=5)
    entries = quarantined(tmp_path)
    assert [(each["id"], each["reason"], each["detail"]) for each in entries] == [
        ("r0", "discarded", "too old"),
        ("r1", "discarded", "too old"),
    ]
    logger.log_prompt("q", "a", record_id="r2")
    assert logger.flush(timeout=5)
    assert ids_in(collector.requests) == ["r0", "r1", "r2"]
    assert logger.get_stats()["state"] == "online"


def test_one_bad_record_is_found_by_halves(collector: ScriptedServer, make: Make) -> None:
    """400 says that one of the batch is bad; the others are delivered."""

    def picky(request: Request) -> Reply:
        return Reply(400, {"code": 3, "message": "bad"}) if b"poison" in request.body else Reply(200)

    collector.handler = picky
    logger = make(flush_interval=30)
    for number in range(8):
        logger.log_prompt("poison" if number == 5 else "q", "a", record_id=f"r{number}")
    logger.flush(timeout=5)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_quarantined"]) == (7, 1)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Reply(401, b"no"), "auth_error"),
        (Reply(404, b"no"), "misconfigured"),
        (Reply(415, b"no"), "misconfigured"),
        (Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"}), "misconfigured"),
    ],
)
def test_wrong_credentials_or_address_keep_everything(
    collector: ScriptedServer, make: Make, answer: Reply, state: str
) -> None:
    """Nothing is quarantined or lost."""
    collector.handler = lambda _: answer
    logger = make()
    logger.log_prompt("q", "a")
    assert not logger.flush(timeout=20)
    stats = logger.get_stats()
    assert stats["state"] == state
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["logs_dropped"]) == (0, 0, 0)


def test_500_429_and_a_reset_are_retried(collector: ScriptedServer, make: Make) -> None:
    """500 against the letter of the standard: collectors behind proxies send it in an outage."""
    collector.script([Reply(500), Reply(429), Reset(), Reply(200)])
    logger = make()
    logger.log_prompt("q", "a", record_id="r")
    assert logger.flush(timeout=5) or logger.flush(timeout=5)
    assert set(ids_in(collector.requests)) == {"r"}


def test_scores_wait_with_the_spans_of_their_batch(collector: ScriptedServer, make: Make) -> None:
    """While spans fail, nothing else of the batch is tried; then all goes, each once."""
    collector.script([Reply(503)])
    logger = make(flush_interval=30, max_retries=5)
    for number in range(4):
        logger.log_prompt("q", "a", record_id=f"r{number}")
        logger.log_prompt("", "", metadata=SCORE, record_id=f"s{number}")
    assert logger.flush(timeout=10) or logger.flush(timeout=10)
    first, *later = collector.requests
    assert first.path == "/v1/traces"
    assert later[0].path == "/v1/traces"
    assert sorted(ids_in(later)) == ["r0", "r1", "r2", "r3"]
    scores = [score for each in later if each.path == "/v1/logs" for score in log_records_in(parsed(each))]
    assert sorted(attributes(each)["banyan.record.id"] for each in scores) == ["s0", "s1", "s2", "s3"]
    stats = logger.get_stats()
    assert (stats["logs_queued"], stats["logs_sent"]) == (8, 8)


def test_a_collector_without_logs_keeps_taking_spans(
    collector: ScriptedServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The scores wait on disk, which one line says; a later process sends them to a collector that has it."""
    collector.handler = lambda request: Reply(404 if request.path == "/v1/logs" else 200)
    logger = make(flush_interval=30)
    for number in range(12):
        logger.log_prompt("", "", metadata=SCORE, record_id=f"s{number}")
        logger.log_prompt("q", "a", record_id=f"r{number}")
    for _ in range(3):
        assert not logger.flush(timeout=20)
        logger.log_prompt("q", "a")
    logger.flush(timeout=20)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["logs_spooled"], stats["logs_quarantined"]) == (15, 12, 0)
    assert [each.path for each in collector.requests].count("/v1/logs") == 1
    (line,) = [each for each in caplog.messages if "/v1/logs" in each]
    assert f"POST {collector.url}/v1/logs: status 404" in line
    health = logger.health()
    assert (health["status"], health["state"]) == ("degraded", "online")
    assert "the collector takes no scores" in health["reasons"][0]
    logger.shutdown(timeout=5)
    collector.handler = lambda _: Reply(200)
    make().flush(timeout=20)
    sent = [score for each in collector.requests[-1:] for score in log_records_in(parsed(each))]
    assert sorted(attributes(each)["banyan.record.id"] for each in sent) == sorted(f"s{n}" for n in range(12))


@pytest.mark.parametrize("failing", ["refused", "401"])
def test_logs_that_fail_on_their_own_hold_up_no_span(
    collector: ScriptedServer,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failing: str,
) -> None:
    """Where nothing listens, as where only the address of spans was given; or under a key without logs."""
    if failing == "refused":
        with ScriptedServer() as closed:
            pass
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closed.url)
        logs_url = f"{closed.url}/v1/logs"
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        collector.handler = lambda request: Reply(401 if request.path == "/v1/logs" else 200)
        logs_url = f"{collector.url}/v1/logs"
    logger = make(otlp_endpoint=None, max_retries=0)
    logger.log_prompt("", "", metadata=SCORE)  # first, where nothing is known of the collector yet
    assert not logger.flush(timeout=20)
    for _ in range(3):
        logger.log_prompt("q", "a")
        logger.log_prompt("", "", metadata=SCORE)
        assert not logger.flush(timeout=20)
    stats = logger.get_stats()
    assert (stats["state"], stats["logs_sent"], stats["logs_spooled"]) == ("online", 3, 4)
    assert (logger.health()["status"], "None" in logger.health()["reasons"][0]) == ("degraded", False)
    assert len([line for line in caplog.messages if logs_url in line]) == 1


def test_logs_may_have_a_host_of_their_own(
    collector: ScriptedServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the standard's variable."""
    with ScriptedServer() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{logs.url}/own")
        logger = make(otlp_endpoint=None)
        logger.log_prompt("q", "a")
        logger.log_prompt("", "", metadata=SCORE)
        assert logger.flush(timeout=5)
        assert [each.path for each in collector.requests] == ["/v1/traces"]
        assert [each.path for each in logs.requests] == ["/own"]


def test_other_headers_are_another_tenant(collector: ScriptedServer, make: Make) -> None:
    """What was spooled under one set of headers never leaves under another, unless it is named."""
    collector.handler = lambda _: Reply(503)
    first = make(otlp_headers={"X-Key": "one"}, max_retries=0)
    first.log_prompt("q", "a", record_id="r")
    first.shutdown(timeout=0.5)
    collector.handler = lambda _: Reply(200)
    before = len(collector.requests)
    make(otlp_headers={"X-Key": "two"}).flush(timeout=1)
    assert len(collector.requests) == before
    make(otlp_headers={"X-Key": "two"}, previous_keys=["X-Key=one"]).flush(timeout=5)
    assert [each.headers["x-key"] for each in collector.requests[before:]] == ["two"]


def test_before_send_sees_and_changes_the_record(collector: ScriptedServer, make: Make) -> None:
    """As everywhere: it gets the record, not the span."""

    def scrub(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "input": "[removed]"}

    logger = make(before_send=scrub)
    logger.log_prompt("secret", "a")
    logger.log_prompt("", "", metadata=SCORE)
    assert logger.flush(timeout=5)
    assert all(b"secret" not in each.body for each in collector.requests)
    assert b"[removed]" in collector.requests[0].body


def test_grpc_is_refused_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """By both clients, before anything is logged."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    for client in (PromptStackLogger, HuggingPlace):
        with pytest.raises(ConfigurationError, match="grpc"):
            client(export_to="otlp")


def test_prompts_still_come_from_the_backend(collector: ScriptedServer, make: Make) -> None:
    """Under the backend's key."""
    prompt = {"prompt_id": "p", "name": "n", "content": "c", "version": "1", "branch": "main", "project": "x"}
    with ScriptedServer(lambda _: Reply(200, {**prompt, "enable_logging": True})) as backend:
        logger = make(api_key="psk_k", base_url=backend.url)
        found = logger.get_prompt("n")
        assert found is not None
        logger.log_prompt("q", "a", prompt_data=found)
        assert logger.flush(timeout=5)
        assert [each.headers["x-api-key"] for each in backend.requests] == ["psk_k"]
        (span,) = spans_in(parsed(collector.requests[0]))
        assert attributes(span)["gen_ai.prompt.name"] == "n"
        assert "x-api-key" not in collector.requests[0].headers


def test_test_connection_asks_the_collector(collector: ScriptedServer) -> None:
    """With one span that says that it is a test."""
    client = HuggingPlace(export_to="otlp", otlp_endpoint=collector.url, spool=False)
    assert asyncio.run(client.test_connection())
    (span,) = spans_in(parsed(collector.requests[0]))
    assert json.loads(attributes(span)["banyan.metadata"]) == {"test": True}
    collector.handler = lambda _: Reply(401)
    assert not asyncio.run(client.test_connection())
    client.shutdown(timeout=0)


def test_another_organisation_is_another_resource(collector: ScriptedServer, tmp_path: Path) -> None:
    """What was logged before the change leaves as it was logged."""
    options: Any = {"otlp_endpoint": collector.url, "spool_dir": tmp_path, "flush_interval": 30}
    with HuggingPlace(org_id="o1", export_to="otlp", **options) as client:
        client.log({"user_prompt": "q", "response": "a", "record_id": "r1"})
        client.update_config(org_id="o2")
        client.log({"user_prompt": "q", "response": "a", "record_id": "r2"})
        assert client.flush(timeout=5)
    found = {}
    for message in map(parsed, collector.requests):
        organisation = attributes(message["resourceSpans"][0]["resource"])["banyan.organisation"]
        found.update({attributes(span)["banyan.record.id"]: organisation for span in spans_in(message)})
    assert found == {"r1": "o1", "r2": "o2"}


def test_a_pickle_carries_no_headers(make: Make) -> None:
    """They are read where it is loaded, as the key is."""
    logger = make(otlp_headers={"X-Key": "very-secret"})
    content = pickle.dumps(logger)
    assert b"very-secret" not in content
    again = pickle.loads(content)
    assert again.health()["state"] == "idle"
    again.shutdown(timeout=0)
