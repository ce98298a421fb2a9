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


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def used(name: str, user: str, minutes: float, version: str = "a", **changes: Any) -> Call:
    """A call of a user, so many minutes after noon."""
    body = {"input": "q", "output": changes.pop("output", "four"), "metadata": {}}
    given = {"sticky_key": "user_id", "sticky_value": user, "session": f"s-{user}", "latency_ms": 100.0}
    given |= {"experiment_id": "x", "experiment_version_id": version, "event_time": at(minutes), "body": body}
    return replace(call(), id=name, **{"day": at(minutes).date(), **given, **changes})


def score(name: str, minutes: float, value: object = True, **about: Any) -> Call:
    """A score, so many minutes after noon."""
    own = about.pop("id", f"{name}-{minutes}-{sorted(about.items())}")
    mark = {"kind": "score", "v": 1, "name": name, "value": value, **about}
    body = {"input": "", "output": "", "metadata": {"banyan_hp": mark}}
    given: dict[str, Any] = {"session": about.get("session_id"), "user": about.get("sticky_value")}
    given |= {"event_time": at(minutes), "day": at(minutes).date()}
    return replace(call(), id=own, source="score", body=body, **given)


def ids(calls: Any) -> list[str]:
    return [each.id for each in calls]
