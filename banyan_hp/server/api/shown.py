"""A call as the API shows it."""

from __future__ import annotations

from typing import Any

from ..store.calls import SHOWN, Call
from ..store.shown import texts_of


def as_json(call: Call) -> dict[str, Any]:
    """Its columns; input, output and metadata, whichever client sent them; `body`, which is what was sent."""
    return {
        **{name: getattr(call, name) for name in SHOWN if name != "body"},
        "day": call.day.isoformat(),
        "event_time": call.event_time.isoformat(timespec="microseconds"),
        "received_at": call.received_at.isoformat(timespec="microseconds"),
        **texts_of(call),
        "body": call.body,
    }
