"""The trace that a record belongs to: that of OpenTelemetry's active span, or else of a `traceparent` header.

What surrounds some code has it under the key `traceparent`, as a header of version 00 that can be handed on.
A record's metadata has `trace_id` and `span_id` instead.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..active_span import API, active_span
from ..engine.sync import Lock, ReleasingOnError
from ..logs import warn
from ..traceparent import parse
from .scopes import Scope

TRACEPARENT = "traceparent"
Ids = tuple[str, str]

_lock = Lock()  # a destructor may open a context in the middle
_ignored = 0


def ignored() -> int:
    """How many values given to `context` as `traceparent` were no such header."""
    return _ignored


def with_checked(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a `context` with a good header, or without any."""
    header = metadata.pop(TRACEPARENT)
    if header is None:  # the request had none
        return metadata
    ids = parse(header) if isinstance(header, str) else None
    if ids is None:
        _note_ignored()
        return metadata
    return {**metadata, TRACEPARENT: header_of(ids)}


def header_of(ids: Ids) -> str:
    """A header with these ids."""
    return f"00-{ids[0]}-{ids[1]}-01"


def ids_in(header: str) -> Ids:
    """Those in a header of ours."""
    return header[3:35], header[36:52]


def _note_ignored() -> None:
    global _ignored
    with ReleasingOnError((_lock,)), _lock:
        _ignored += 1
    warn("traceparent", "a traceparent was ignored: it is no header of the W3C's Trace Context")


def kept_for_later(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same metadata with the span that is active now, for a record that is logged later."""
    ids = active_span() if API in sys.modules else None
    return metadata if ids is None else {**metadata, TRACEPARENT: header_of(ids)}


def trace_of(scope: Scope, around: Mapping[str, Any]) -> Ids | None:
    """The ids for a record logged in this scope: of the active span, or else of the header in `around`.

    What was kept for later counts alone: the span that is active by then may be that of another request.
    """
    ids = active_span() if API in sys.modules and not scope.pinned else None
    if ids is None and TRACEPARENT in around:
        return ids_in(around[TRACEPARENT])
    return ids


def add_ids(record: dict[Any, Any], ids: Ids) -> None:
    """Add them to a record's metadata, unless the caller's own name another trace."""
    trace, span = ids
    if "trace_id" not in record:
        if "span_id" not in record:
            record["trace_id"], record["span_id"] = trace, span
    elif type(own := record["trace_id"]) is str and own == trace:
        record.setdefault("span_id", span)
