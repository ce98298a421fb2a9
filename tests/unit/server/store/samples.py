"""Calls to store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from banyan_hp.server.store.calls import Call

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(number: int = 1, **changes: Any) -> Call:
    """The call of this number, that many seconds after noon."""
    time = NOON + timedelta(seconds=number)
    made = Call(
        project="p",
        id=f"id-{number}",
        day=time.date(),
        event_time=time,
        received_at=time + timedelta(seconds=1),
        source="banyan",
        body={"input": f"question {number}", "output": "answer", "metadata": {"n": number}},
    )
    made = replace(made, **changes)
    return (
        replace(made, day=made.event_time.date())
        if "event_time" in changes and "day" not in changes
        else made
    )


def ids(calls: Any) -> list[str]:
    return [each.id for each in calls]
