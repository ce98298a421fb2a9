"""Calls of which a provider's own package makes a span, besides the application's instrumentation.

Such a span is below the instrumentation's span, or beside it, where that one is never the current span. So it
waits until the span around both ends. Single operations on dicts are atomic; two threads that end spans of
one parent at the same moment may at worst give two records of one call.
"""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan

OF_SDKS = frozenset({"com.anthropic.sdk.python"})
_MOST_OPEN = 10_000  # parents; of more, the oldest were forgotten by the application


def is_an_sdks(span: ReadableSpan) -> bool:
    """Whether a provider's own package made it."""
    return span.instrumentation_scope is not None and span.instrumentation_scope.name in OF_SDKS


class Held:
    """The spans that wait, and the calls beside them, by the id of the span around."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[ReadableSpan]] = {}
        self._calls: dict[int, list[ReadableSpan]] = {}

    def hold(self, parent: int, span: ReadableSpan) -> None:
        """Keep an SDK's span until the one around it ends."""
        _add(self._waiting, parent, span)

    def note_call(self, parent: int, span: ReadableSpan) -> None:
        """An instrumentation's call has ended inside the same span."""
        _add(self._calls, parent, span)

    def had_calls(self, parent: int) -> bool:
        """Whether calls have ended inside a span; to be asked before they are released."""
        return bool(self._calls.get(parent))

    def released(self, parent: int) -> list[ReadableSpan]:
        """The span around has ended: those of which nobody else has made a record."""
        waiting, calls = self._waiting.pop(parent, []), self._calls.pop(parent, [])
        return [span for span in waiting if not any(_holds(call, span) for call in calls)]


def _add(found: dict[int, list[ReadableSpan]], parent: int, span: ReadableSpan) -> None:
    found.setdefault(parent, []).append(span)
    if len(found) > _MOST_OPEN:
        found.pop(next(iter(found)), None)


def _holds(call: ReadableSpan, span: ReadableSpan) -> bool:
    """Whether a span began while a call ran."""
    return (call.start_time or 0) <= (span.start_time or 0) <= (call.end_time or 0)
