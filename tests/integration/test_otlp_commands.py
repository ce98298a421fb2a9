"""The commands that know collectors: `spool replay` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banyan_hp import PromptStackLogger
from banyan_hp.cli.main import main
from tests.support.otlp import attributes, parsed, spans_in
from tests.support.scripted import Reply, ScriptedServer

HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


@pytest.fixture
def collector() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_replay_sends_to_the_collector_with_the_headers_of_the_environment(
    collector: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As the service that logged; with other headers nothing leaves."""
    monkeypatch.setenv(HEADERS, "X-Key=one%20two")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "web")
    collector.handler = lambda _: Reply(503)
    with PromptStackLogger(
        export_to="otlp", otlp_endpoint=collector.url, spool_dir=tmp_path, max_retries=0
    ) as logger:
        logger.log_prompt("q", "a", record_id="r")
        logger.shutdown(timeout=1)
    collector.handler = lambda _: Reply(200)
    before = len(collector.requests)
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    monkeypatch.setenv(HEADERS, "X-Key=other")
    assert main(["spool", "replay", "--dir", str(tmp_path), "--yes"]) == 2
    assert len(collector.requests) == before
    monkeypatch.setenv(HEADERS, "X-Key=one%20two")
    assert main(["spool", "replay", "--dir", str(tmp_path), "--yes"]) == 0
    (request,) = collector.requests[before:]
    assert request.headers["x-key"] == "one two"
    message = parsed(request)
    assert attributes(message["resourceSpans"][0]["resource"])["service.name"] == "web"
    assert attributes(spans_in(message)[0])["banyan.record.id"] == "r"
    assert "delivered 1" in capsys.readouterr().out


def test_doctor_knows_collectors(
    collector: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says where spans and scores go, and shows no header's value."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv(HEADERS, "X-Key=very-secret")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    assert main(["doctor", "--export-to", "otlp", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"spans go to: {collector.url}/v1/traces (http/json)" in said
    assert "headers: x-key (OTEL_EXPORTER_OTLP_HEADERS)" in said
    assert "Set OTEL_SERVICE_NAME" in said
    assert "very-secret" not in said
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert main(["doctor", "--export-to", "otlp", "--dir", str(tmp_path)]) == 1
    assert "was 'grpc'" in capsys.readouterr().out
