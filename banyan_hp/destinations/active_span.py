"""The span of OpenTelemetry's that a record is logged in: the record's span becomes its child.

Looked up on the caller's thread, and only in processes that have loaded OpenTelemetry's API.
"""

from __future__ import annotations

import sys
from typing import Any

from ..engine.engine import Engine
from ..engine.records.record import Deferred, Record
from .calls import TRACEPARENT

_API = "opentelemetry.trace"


class TracedEngine(Engine):
    """An engine whose records know the span around them."""

    def submit(
        self,
        value: dict[str, Any],
        *,
        max_text: int = sys.maxsize,
        deferred: Deferred | None = None,
        ident: str | None = None,
    ) -> Record | None:
        """As `Engine.submit`."""
        if _API in sys.modules:
            around = traceparent_here()
            if around is not None:
                value.setdefault(TRACEPARENT, around)
        return super().submit(value, max_text=max_text, deferred=deferred, ident=ident)


def traceparent_here() -> str | None:
    """The current span in W3C's format; None outside of spans, or if the API says something unexpected."""
    try:
        span = sys.modules[_API].get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 255:02x}"
    except Exception:  # noqa: BLE001 - another SDK's context must not cost a record
        return None
