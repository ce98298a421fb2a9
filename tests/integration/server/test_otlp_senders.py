"""Real senders against the real backend: OpenTelemetry's SDK, and two instrumentations of one client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from banyan_hp import PromptStackLogger
from tests.support.backend import Backend
from tests.support.local_backend import call
from tests.support.models import models
from tests.support.recorded import CHAT
from tests.support.scripted import ScriptedServer

exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
SECONDS = 20.0
USAGE = CHAT["usage"]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(
        api_keys=["psk_local", *(f"{name}:admin:psk_{name}" for name in ("sdk", "both", "own"))]
    ) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


def provider_of(backend: Backend, key: str) -> TracerProvider:
    """The SDK, set up as its users do, gzip included."""
    sent = exporter.OTLPSpanExporter(
        endpoint=f"{backend.url}/v1/traces",
        headers={"Authorization": f"Bearer {key}"},
        compression=exporter.Compression.Gzip,
    )
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(sent))
    return provider


def calls_of(backend: Backend, key: str, many: int) -> list[dict[str, Any]]:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found = call(backend, "GET", "/api/calls", headers={"X-API-Key": key}).json()["calls"]
        if len(found) == many and (many < 2 or found[0]["output_tokens"] is not None):
            return list(found)
        time.sleep(0.1)
    raise AssertionError(found)


def test_spans_of_the_sdk_become_calls(backend: Backend) -> None:
    """As its exporter sends them: protobuf, gzip, a key in the Authorization header."""
    provider = provider_of(backend, "psk_sdk")
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("request", attributes={"session.id": "s-1"}):
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "user.id": "u-1"}
        with tracer.start_as_current_span("chat", attributes=chat) as span:
            span.set_attributes({"gen_ai.usage.input_tokens": 31, "gen_ai.usage.output_tokens": 17})
    assert provider.force_flush()
    (made,) = calls_of(backend, "psk_sdk", 1)
    assert (made["session"], made["user"], made["model"]) == ("s-1", "u-1", "gpt-4o-mini")
    assert (made["input_tokens"], made["output_tokens"], made["metadata"]["service"]) == (31, 17, "shop")
    tree = call(
        backend, "GET", f"/api/traces/{made['metadata']['trace_id']}", headers={"X-API-Key": "psk_sdk"}
    )
    assert [(each["name"], each["depth"]) for each in tree.json()["spans"]] == [("request", 0), ("chat", 1)]
    provider.shutdown()


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_records_of_our_own_client_come_by_otlp_too(backend: Backend, protocol: Any) -> None:
    """Under their own ids, with the columns that they have without it."""
    logger = PromptStackLogger(
        export_to="otlp",
        otlp_endpoint=backend.url,
        otlp_headers={"x-api-key": "psk_own"},
        otlp_protocol=protocol,
        flush_interval=0.05,
    )
    told = {"session_id": "s-1", "user_id": "u-1", "input_tokens": 31, "output_tokens": 17}
    ident = f"own-{protocol}"
    assert logger.log_prompt(
        input="why?", output="because", metadata=told, model="gpt-4o-mini", duration_ms=1500, record_id=ident
    )
    assert logger.flush(timeout=10).delivered == 1
    logger.shutdown(timeout=5)
    until = time.monotonic() + SECONDS
    answer = call(backend, "GET", f"/api/calls/{ident}", headers={"X-API-Key": "psk_own"})
    while answer.status_code != 200:
        assert time.monotonic() < until, answer.text
        time.sleep(0.1)
        answer = call(backend, "GET", f"/api/calls/{ident}", headers={"X-API-Key": "psk_own"})
    found = answer.json()
    assert (found["source"], found["session"], found["user"]) == ("otlp", "s-1", "u-1")
    assert (found["input_tokens"], found["output_tokens"], found["latency_ms"]) == (31, 17, 1500)
    assert found["output"] == "because"


@pytest.fixture
def instrumented(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """openai's client with two instrumentations at once."""
    official = pytest.importorskip("opentelemetry.instrumentation.openai_v2").OpenAIInstrumentor()
    other = pytest.importorskip("openinference.instrumentation.openai").OpenAIInstrumentor()
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    provider = provider_of(backend, "psk_both")
    for each in (official, other):
        each.instrument(tracer_provider=provider)
    yield provider
    for each in (other, official):
        each.uninstrument()
    provider.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_call_that_two_instrumentations_tell_of_counts_once(
    backend: Backend, instrumented: TracerProvider
) -> None:
    """openai-v2 and OpenInference, both on; a failed call, too."""
    with ScriptedServer(models()) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk", max_retries=0)
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "please refuse"}]
            )
        client.close()
    assert instrumented.force_flush()
    time.sleep(1.5)  # a second telling of a call would show by now
    found = call(backend, "GET", "/api/calls", headers={"X-API-Key": "psk_both"}).json()["calls"]
    assert [each["error"] is not None for each in found] == [True, False]
    assert (found[1]["input_tokens"], found[1]["output_tokens"]) == (
        USAGE["prompt_tokens"],
        USAGE["completion_tokens"],
    )
    assert all(len(each["metadata"]["scopes"]) == 2 for each in found), found
