"""Stretches of an experiment in which every user was dealt out by the same rule to the same versions.

Users of different stretches can't be compared: after a version grew from 5 % to 50 %, most of its users came
late. So results are for one segment, and users belong to the one in which they were first exposed. Pauses
divide nothing: nobody is exposed while they last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..allocation import size

CACHES = timedelta(seconds=300)
"""How long clients may still route by what they have in their caches.

It is the default of `cache_ttl` in banyan-sdk 1.0.1; that of this library's `prompt_cache_ttl` is 60 seconds.
"""

RUNNING = "running"
_ROUTING = ("allocation", "salt", "sticky_type")


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the audit.

    Attributes:
        configuration: of an experiment, as its audit has it.
        rewritten: the prompt's version whose content was replaced in place.
    """

    at: datetime
    configuration: Mapping[str, Any] | None = None
    rewritten: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch. Users count who were first exposed from `start` on and before `until`.

    Attributes:
        number: 1 for the first.
        until: the next change; None: there was none.
        why: what began it.
        shares: of the routed users, by `experiment_version_id`; only of versions with traffic; in all 1.
    """

    number: int
    start: datetime
    until: datetime | None
    why: str
    shares: Mapping[str, float]


@dataclass(slots=True)
class _State:
    """What the changes so far amount to."""

    configuration: Mapping[str, Any] | None = None
    routing: Mapping[str, Any] | None = None  # of the newest segment
    rewritten: bool = False


def segments(changes: Sequence[Change]) -> list[Segment]:
    """The segments of an experiment, from all changes of it and of its prompt's versions, oldest first."""
    found: list[Segment] = []
    state = _State()
    for change in changes:
        _apply(change, state)
        why = _why(state)
        if why is None or state.configuration is None:
            continue
        if found:
            found[-1] = _ended(found[-1], change.at)
        start = change.at + CACHES if found else change.at
        found.append(Segment(len(found) + 1, start, None, why, shares_of(state.configuration["variants"])))
        state.routing, state.rewritten = _routing(state.configuration), False
    return found


def running_for(changes: Sequence[Change], now: datetime) -> timedelta:
    """How long an experiment has been running, without its pauses; from its changes, oldest first."""
    total, since = timedelta(0), None
    for change in changes:
        if change.configuration is None:
            continue
        running = change.configuration["status"] == RUNNING
        if running and since is None:
            since = change.at
        elif not running and since is not None:
            total, since = total + (change.at - since), None
    return total + (now - since) if since is not None else total


def shares_of(variants: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the routed users, the part that each version with traffic should have."""
    weights = {
        str(each["experiment_version_id"]): float(size(each["slots"]) or each["traffic_percentage"])
        for each in variants
        if each["traffic_percentage"] > 0
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _apply(change: Change, state: _State) -> None:
    if change.configuration is not None:
        state.configuration = change.configuration
        return
    variants = state.configuration["variants"] if state.configuration is not None else ()
    if any(each["content"] is None and each["version"] == change.rewritten for each in variants):
        state.rewritten = state.routing is not None


def _why(state: _State) -> str | None:
    """Why a segment begins now; None: none does."""
    if state.configuration is None or state.configuration["status"] != RUNNING:
        return None
    if state.routing is None:
        return "the experiment was started"
    now = _routing(state.configuration)
    if state.rewritten or now["versions"] != state.routing["versions"]:
        return "the versions were changed"
    if now != state.routing:
        return "the traffic was changed"
    return None


def _routing(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """All that decides who gets what."""
    variants = configuration["variants"]
    return {
        **{name: configuration[name] for name in _ROUTING},
        "versions": [_version(each) for each in variants],
        "traffic": [(each["traffic_percentage"], each["slots"]) for each in variants],
    }


def _version(variant: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(variant[name] for name in ("experiment_version_id", "version", "content", "config"))


def _ended(segment: Segment, at: datetime) -> Segment:
    return Segment(segment.number, segment.start, at, segment.why, segment.shares)
