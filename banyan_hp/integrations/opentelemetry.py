"""OpenTelemetry's SDK: spans of any instrumentation as records, and the library's counters as metrics.

provider.add_span_processor(BanyanSpanProcessor(logger))
observe_stats(logger)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from .. import semconv
from .._version import __version__
from ..clients.huggingplace import HuggingPlace
from ..clients.prompt_logger import PromptStackLogger
from ..logs import warn
from .duplicates import Held, is_an_sdks
from .readings import first, input_of, is_call, model_of, output_of, tokens_of, with_events

__all__ = ["BanyanSpanProcessor", "observe_stats"]

Client = PromptStackLogger | HuggingPlace
_EMPTY = "[empty]"
_MOST_OPEN = 10_000  # spans that are open at a time; of more, the oldest were forgotten by the application
_FAILED = trace.StatusCode.ERROR


class BanyanSpanProcessor(SpanProcessor):
    """Makes a record of each span that is a call of a model, whichever instrumentation it comes from.

    Agents, tools and workflows are not records: their tokens repeat those of the calls inside. A call inside
    a call is not, either: some SDKs have spans of their own below an instrumentation's.

    Args:
        logger: takes the records; it is not shut down with the tracer provider.

    Spans become records when they end, on the thread that ends them; delivery is the logger's. A record's id
    is made of the span's: one that is handed over twice is stored once.
    """

    def __init__(self, logger: Client) -> None:
        self._logger = logger
        self._around: dict[int, trace.Span] = {}  # by the span's id: the one around it, while it is open
        self._held = Held()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which span it is in."""
        around = trace.get_current_span(parent_context)
        context = span.get_span_context()
        if context is not None and around.is_recording():
            self._around[context.span_id] = around
            if len(self._around) > _MOST_OPEN:
                self._around.pop(next(iter(self._around)), None)

    def on_end(self, span: ReadableSpan) -> None:
        """Log the record."""
        try:
            self._log(span)
        except Exception as error:  # noqa: BLE001 - tracing must not break the application
            warn("a span", "a span could not be logged (%s)", type(error).__name__)

    def _log(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        around = self._around.pop(context.span_id, None)
        attributes = span.attributes or {}
        # One around others, without tokens of its own, is named a call at its end only (LlamaIndex).
        repeats = self._held.had_calls(context.span_id) and not tokens_of(attributes)
        called = is_call(attributes) and not repeats
        for sdks in self._held.released(context.span_id):
            if not called:
                self._log_call(sdks)
        if not called or (around is not None and _counts(around, span)):
            return
        parent = around.get_span_context().span_id if around is not None and around.is_recording() else None
        if parent is not None and is_an_sdks(span):
            self._held.hold(parent, span)
            return
        if parent is not None:
            self._held.note_call(parent, span)
        self._log_call(span)

    def _log_call(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        events = ((event.name, event.attributes or {}) for event in span.events)
        attributes = with_events(span.attributes or {}, events)
        ident = f"otel-{context.trace_id:032x}-{context.span_id:016x}"
        metadata = _metadata(span, attributes)
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        log = self._log_prompt if isinstance(self._logger, PromptStackLogger) else self._log_interaction
        log(attributes, metadata, max(0.0, seconds), ident)

    def _log_prompt(
        self, attributes: Mapping[str, Any], metadata: dict[str, Any], seconds: float, ident: str
    ) -> None:
        if isinstance(self._logger, PromptStackLogger):
            self._logger.log_prompt(
                input_of(attributes),
                output_of(attributes),
                prompt_name=first(attributes, (semconv.PROMPT_NAME,)),
                model=model_of(attributes),
                metadata=metadata,
                duration_ms=seconds * 1000,
                record_id=ident,
            )

    def _log_interaction(
        self, attributes: Mapping[str, Any], metadata: dict[str, Any], seconds: float, ident: str
    ) -> None:
        if isinstance(self._logger, HuggingPlace):
            self._logger.log(
                {
                    "user_prompt": input_of(attributes) or _EMPTY,
                    "response": output_of(attributes) or _EMPTY,
                    "llm_model": model_of(attributes),
                    "session_id": metadata.get("session_id"),
                    "user_id": metadata.get("user_id"),
                    "response_time": seconds,
                    "metadata": metadata,
                    "record_id": ident,
                }
            )

    def shutdown(self) -> None:
        """Deliver what was logged. The logger stays open: it may have other users."""
        self.force_flush()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether everything logged so far is delivered."""
        return bool(self._logger.flush(timeout_millis / 1000))


def _counts(around: trace.Span, span: ReadableSpan) -> bool:
    """Whether a span around a call is that call. One that has ended without tokens leaves them to others."""
    attributes = getattr(around, "attributes", None) or {}
    if not is_call(attributes):
        return False
    return around.is_recording() or is_an_sdks(span) or bool(tokens_of(attributes))


def _metadata(span: ReadableSpan, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What the span says besides question, answer, model and time; what it does not say is left out."""
    context, scope = span.get_span_context(), span.instrumentation_scope
    reasons = attributes.get(semconv.FINISH_REASONS)
    chunk = attributes.get(semconv.TIME_TO_FIRST_CHUNK)
    provider = first(attributes, semconv.PROVIDERS)
    found = {
        **tokens_of(attributes),
        "provider": None if provider in semconv.FRAMEWORKS else provider,
        "operation": attributes.get(semconv.OPERATION),
        "session_id": first(attributes, semconv.SESSIONS),
        "user_id": first(attributes, semconv.USERS),
        "finish_reason": reasons[0] if isinstance(reasons, (list, tuple)) and reasons else reasons,
        "time_to_first_chunk_ms": chunk * 1000 if isinstance(chunk, float) else None,
        "instrumentation": scope.name if scope is not None else None,
        "trace_id": f"{context.trace_id:032x}" if context is not None else None,
        "span_id": f"{context.span_id:016x}" if context is not None else None,
        **_failure(span, attributes),
    }
    return {name: value for name, value in found.items() if value is not None}


def _failure(span: ReadableSpan, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Why it failed: by its status, or the exception that some instrumentations note instead."""
    if span.status.status_code is not _FAILED:
        return {}
    raised = next((each.attributes or {} for each in span.events if each.name == semconv.EXCEPTION_EVENT), {})
    kind = attributes.get(semconv.ERROR_TYPE) or raised.get(semconv.EXCEPTION_TYPE)
    words = span.status.description or raised.get(semconv.EXCEPTION_MESSAGE)
    return {"error_type": kind, "error": words or kind}


# -- metrics -------------------------------------------------------------------------------------------------

_GAUGES = (
    "queue_size",
    "queue_bytes",
    "in_flight",
    "logs_spooled",
    "last_success_age_s",
    "oldest_record_age_s",
)
_COUNTERS = (
    *("logs_queued", "logs_sent", "logs_dropped", "logs_quarantined", "logs_rejected", "logs_recovered"),
    *(
        "logs_sampled_out",
        "requests_sent",
        "bytes_sent",
        "attempts_failed",
        "retries_attempted",
        "otlp_rejected",
        "spool_errors",
    ),
)
_UNITS = {"queue_bytes": "By", "bytes_sent": "By", "last_success_age_s": "s", "oldest_record_age_s": "s"}


def observe_stats(logger: Client, meter_provider: MeterProvider | None = None) -> None:
    """Offer what `get_stats()` counts as observable instruments, named `banyan_hp.` and the key.

    Args:
        logger: whose stats; when nothing else holds it any more, there are no more observations.
        meter_provider: default: the application's global one. Without one nothing is collected.
    """
    provider = meter_provider or metrics.get_meter_provider()
    meter = provider.get_meter(semconv.SCOPE, __version__)
    of = weakref.ref(logger)
    for key in _COUNTERS:
        unit = _UNITS.get(key, "{record}")
        meter.create_observable_counter(f"banyan_hp.{key}", [_observing(of, key)], unit)
    for key in _GAUGES:
        unit = _UNITS.get(key, "{record}")
        meter.create_observable_gauge(f"banyan_hp.{key}", [_observing(of, key)], unit)


def _observing(of: weakref.ref[Any], key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        logger = of()
        value = logger.get_stats()[key] if logger is not None else None
        return [] if value is None else [Observation(value)]

    return observe
