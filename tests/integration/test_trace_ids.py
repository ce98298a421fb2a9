"""Trace ids of real processes with OpenTelemetry's SDK, and the calls of a trace in the backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backend import Backend
from tests.support.process import run_python
from tests.support.servers import wait_until

PROGRAM = """
    from concurrent.futures import ThreadPoolExecutor
    import sys
    import banyan_hp as banyan
    from banyan_hp import HuggingPlace

    key, url = os.environ["KEY"], os.environ["URL"]
    logger = PromptStackLogger(key, url, flush_interval=0.05)
    huggingplace = HuggingPlace(key, "org", base_url=url, flush_interval=0.05)
    logger.log_prompt("before", "a")
    assert "opentelemetry" not in sys.modules

    from opentelemetry import propagate
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("app")

    def serve(number):
        header = f"00-{number + 1:032x}-00f067aa0ba902b7-01"
        around = propagate.extract({"traceparent": header})
        with tracer.start_as_current_span("request", context=around):
            logger.log_prompt(f"of {number + 1}", "a")
        with banyan.context(traceparent=header), huggingplace.interaction(f"of {number + 1}") as it:
            it.response = "a"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(50)))
    assert logger.flush(10) and huggingplace.flush(10)
"""


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as running:
        yield running


def test_fifty_requests_at_once_keep_their_traces(backend: Backend) -> None:
    """By the SDK's own propagation and by the header; OpenTelemetry is not loaded for that."""
    finished = run_python(PROGRAM, url=backend.url, KEY=backend.api_key)
    assert (finished.status, finished.stderr) == (0, ""), finished.stderr
    calls = backend.get("/api/calls", limit=1000)["calls"]
    assert len(calls) == 101
    for call in calls:
        asked = call["body"].get("input") or call["body"]["user_prompt"]
        metadata = call["body"].get("metadata") or {}
        if asked == "before":
            assert "trace_id" not in metadata
        else:
            assert asked == f"of {int(metadata['trace_id'], 16)}"
            assert len(metadata["span_id"]) == 16
    wait_until(
        lambda: len(found(f"{7:032x}", backend)) == 2, 10, lambda: "the calls of a trace are not found"
    )
    assert {each["source"] for each in found(f"{7:032x}", backend)} == {"banyan", "huggingplace"}


def found(trace: str, backend: Backend) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = backend.get("/api/calls", text=trace)["calls"]
    return calls
