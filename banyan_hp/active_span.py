"""The span of OpenTelemetry's that is active here; only in processes that have loaded OpenTelemetry's API."""

from __future__ import annotations

import sys

API = "opentelemetry.trace"
"""What is in `sys.modules` where there may be a span. Callers look there first: it is all that others pay."""


def active_span() -> tuple[str, str] | None:
    """The ids of its trace and of itself, 32 and 16 hexadecimal digits.

    None outside of spans, without the API, or if the API says something unexpected.
    """
    try:
        span = sys.modules[API].get_current_span().get_span_context()
        return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None
    except Exception:  # noqa: BLE001 - another SDK's context must not cost a record
        return None
