"""Trace ids on records: of OpenTelemetry's active span, or of the header that a request came with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.testing import capture
from banyan_hp.tracking.scopes import metadata_here

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

Log = Callable[..., object]
tracer = TracerProvider().get_tracer("app")
logger = PromptStackLogger("key", "http://127.0.0.1:9", spool=False)
huggingplace = HuggingPlace("key", "org", base_url="http://127.0.0.1:9", spool=False)


def by_banyan(metadata: Any = None) -> object:
    return logger.log_prompt("q", "a", metadata=metadata)


def by_huggingplace(metadata: Any = None) -> object:
    return huggingplace.log({"user_prompt": "q", "response": "a", "metadata": metadata})


@pytest.fixture(params=[by_banyan, by_huggingplace])
def log(request: pytest.FixtureRequest) -> Log:
    found: Log = request.param
    return found


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with capture() as captured:
        yield captured


def ids(record: dict[str, Any]) -> tuple[Any, Any]:
    metadata = record.get("metadata") or {}
    return metadata.get("trace_id"), metadata.get("span_id")


def ids_of(span: Span) -> tuple[str, str]:
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def test_inside_a_span_records_carry_its_ids(log: Log, records: list[dict[str, Any]]) -> None:
    """Of the innermost one; outside of spans there are none."""
    log()
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner") as inner:
        log({"own": 1})
    assert [ids(record) for record in records] == [(None, None), ids_of(inner)]
    assert records[1]["metadata"]["own"] == 1


def test_without_the_api_nothing_is_imported(
    log: Log, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a span is active: it can't be, then."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with api.use_span(tracer.start_span("request")):
        log()
    assert "opentelemetry.trace" not in sys.modules
    assert ids(records[0]) == (None, None)


@pytest.mark.parametrize("odd", [ModuleType("empty"), None])
def test_an_api_that_fails_costs_no_record(
    odd: object, log: Log, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there under that name may be anything."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", odd)
    log({"own": 1})
    assert records[0]["metadata"] == {"own": 1}


def test_a_header_becomes_both_ids(log: Log, records: list[dict[str, Any]]) -> None:
    """On everything logged inside; an inner header wins over an outer one."""
    with banyan.context(traceparent=HEADER, tenant="acme"):
        log()
        with banyan.context(traceparent=OTHER):
            log()
        with banyan.context(traceparent=None):
            log()
    assert [ids(record) for record in records] == [
        (TRACE, SPAN),
        (OTHER[3:35], OTHER[36:52]),
        (TRACE, SPAN),
    ]
    assert records[0]["metadata"] == {"tenant": "acme", "trace_id": TRACE, "span_id": SPAN}


def test_what_surrounds_some_code_can_be_opened_again_elsewhere(
    log: Log, records: list[dict[str, Any]]
) -> None:
    """A queue's worker, say, gets it as JSON."""
    before = logger.get_stats()["traceparents_ignored"]
    with banyan.context(traceparent=f"cc-{TRACE}-{SPAN}-01-more", tenant="acme"):
        around = json.loads(json.dumps(metadata_here()))
    with banyan.context(**around):
        log()
    assert records[0]["metadata"] == {"tenant": "acme", "trace_id": TRACE, "span_id": SPAN}
    assert logger.get_stats()["traceparents_ignored"] == before


def test_an_active_span_wins_over_the_header(log: Log, records: list[dict[str, Any]]) -> None:
    """It is below the header's, and says more."""
    with banyan.context(traceparent=HEADER), tracer.start_as_current_span("request") as span:
        log()
    assert ids(records[0]) == ids_of(span)


@pytest.mark.parametrize("own", [{"trace_id": "mine"}, {"span_id": "mine"}, {"trace_id": 7, "span_id": 8}])
def test_ids_of_the_callers_own_win(own: dict[str, Any], log: Log, records: list[dict[str, Any]]) -> None:
    """Whole: no other trace's span stands beside them."""
    with tracer.start_as_current_span("request"):
        log(own)
    with banyan.context(traceparent=HEADER):
        log(own)
        with banyan.context(**own):
            log()
    assert [record["metadata"] for record in records] == [own, own, own]


def test_the_span_completes_a_trace_id_of_its_own(log: Log, records: list[dict[str, Any]]) -> None:
    """Who has put it there by hand so far gets the span beside it."""
    with tracer.start_as_current_span("request") as span:
        log({"trace_id": ids_of(span)[0]})
    assert ids(records[0]) == ids_of(span)


def test_a_traceparent_in_a_records_metadata_stays_what_it_is(
    log: Log, records: list[dict[str, Any]]
) -> None:
    """Only the context's is a header of a request."""
    with banyan.context(traceparent=HEADER):
        log({"traceparent": "mine"})
    assert records[0]["metadata"] == {"traceparent": "mine", "trace_id": TRACE, "span_id": SPAN}


@pytest.mark.parametrize("header", ["", "00-1-2-3", HEADER.encode(), 7, [HEADER]])
def test_what_is_no_header_is_counted_once(
    header: Any, log: Log, records: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """However many records are logged inside; and however often a decorated function is called."""
    before = logger.get_stats()["traceparents_ignored"]
    with banyan.context(traceparent=header, tenant="acme"):
        log()
        log()
    banyan.context(traceparent=header)(log)()
    assert [record.get("metadata") or {} for record in records] == [{"tenant": "acme"}] * 2 + [{}]
    assert logger.get_stats()["traceparents_ignored"] == before + 2
    assert huggingplace.get_stats()["traceparents_ignored"] == before + 2


def test_an_interaction_belongs_to_the_span_that_it_was_opened_in(records: list[dict[str, Any]]) -> None:
    """Wherever it ends: another request's span may be active there."""
    with tracer.start_as_current_span("request") as span:
        it = logger.interaction("q").__enter__()
    with tracer.start_as_current_span("other") as other:
        logger.log_prompt("between", "a")
        it.__exit__(None, None, None)
    outside = logger.interaction("q").__enter__()
    with tracer.start_as_current_span("other"):
        outside.__exit__(None, None, None)
    assert [ids(record) for record in records] == [ids_of(other), ids_of(span), (None, None)]


def test_an_interaction_keeps_the_header(records: list[dict[str, Any]]) -> None:
    """And a span around it wins."""
    with banyan.context(traceparent=HEADER):
        with logger.interaction("q"):
            pass
        with tracer.start_as_current_span("request") as span, huggingplace.interaction("q"):
            pass
    assert [ids(record) for record in records] == [(TRACE, SPAN), ids_of(span)]


def test_a_traced_generator_belongs_to_the_span_of_its_call(records: list[dict[str, Any]]) -> None:
    """Though it ends when its reader is done."""

    @logger.trace
    def answer(question: str) -> Iterator[str]:
        yield question

    with tracer.start_as_current_span("request") as span:
        pieces = answer("q")
        next(pieces)
    with tracer.start_as_current_span("other"):
        assert list(pieces) == []
    assert ids(records[0]) == ids_of(span)
