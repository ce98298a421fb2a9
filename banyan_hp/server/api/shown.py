"""A call as the API shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..store.calls import Call
from ..store.shown import texts_of


def as_json(call: Call) -> dict[str, Any]:
    """Its columns; input, output and metadata, whichever client sent them; `body`, which is what was sent."""
    shown = asdict(call)
    body = shown.pop("body")
    return {
        **shown,
        "day": call.day.isoformat(),
        "event_time": call.event_time.isoformat(timespec="microseconds"),
        "received_at": call.received_at.isoformat(timespec="microseconds"),
        **texts_of(call),
        "body": body,
    }
