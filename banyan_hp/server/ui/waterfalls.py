"""Steps and nested interactions as bars over time. Pure functions.

A call's event time is that of its end: clients log it when they know all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..store.calls import Call
from ..store.shown import texts_of
from .texts import opening

WIDTH = 1000  # of a chart, in its own units
MOST_BARS = 200
_THINNEST = 4.0
_MILLISECOND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of a waterfall.

    Attributes:
        start: milliseconds from the start of the whole; None: not known.
        duration: in milliseconds; None: not known.
        depth: how many others it is inside of.
        kind: what it stands for, in one word; empty: its name says so.
        call_id: of a call of its own; a step has none.
        address: of a page of its own, if it is a span.
        is_here: whether the page is that of this call.
        x, width: of `WIDTH`; a width of 0: there is nothing to draw.
    """

    name: str
    text: str
    start: float | None
    duration: float | None
    depth: int
    failed: bool = False
    kind: str = ""
    call_id: str | None = None
    address: str | None = None
    is_here: bool = False
    x: float = 0.0
    width: float = 0.0


def waterfall(call: Call, inside: Mapping[str, Sequence[Call]]) -> list[Bar]:
    """A call, its steps and the calls inside it, in the order of their start; empty if it is by itself.

    Args:
        call: the outermost.
        inside: the calls inside another one, by that one's `interaction_id`.
    """
    bars = list(_bars(call, started(call), 0, inside, set()))[:MOST_BARS]
    if len(bars) == 1:
        return []
    longest = max((bar.start or 0.0) + (bar.duration or 0.0) for bar in bars)
    return [placed(bar, longest) for bar in bars]


def placed(bar: Bar, longest: float) -> Bar:
    """The same where it belongs in a chart of so many milliseconds."""
    if bar.start is None or bar.duration is None or not longest:
        return bar
    width = min(max(_THINNEST, WIDTH * bar.duration / longest), WIDTH)
    return replace(bar, x=min(WIDTH * bar.start / longest, WIDTH - width), width=width)


def started(call: Call) -> float:
    """When it began, in milliseconds since 1970."""
    return call.event_time.timestamp() * _MILLISECOND - (call.latency_ms or 0.0)


def name_of(call: Call) -> str | None:
    """The id that calls inside of it name, and steps don't have."""
    return _text(_metadata(call).get("interaction_id"))


def around(call: Call) -> str | None:
    """The `interaction_id` of the call that it was made in."""
    return _text(_metadata(call).get("parent_interaction_id"))


def _bars(
    call: Call, zero: float, depth: int, inside: Mapping[str, Sequence[Call]], seen: set[int]
) -> Iterator[Bar]:
    seen.add(call.seq)
    start = max(0.0, started(call) - zero)
    text = opening(texts_of(call)["input"] or "", 80)
    yield Bar(
        name=call.prompt_name or call.model or "call",
        text=text,
        start=start,
        duration=call.latency_ms,
        depth=depth,
        failed=call.error is not None,
        call_id=call.id,
    )
    yield from (
        replace(step, start=None if step.start is None else step.start + start, depth=depth + 1 + step.depth)
        for step in _steps(call)
    )
    for each in sorted(inside.get(name_of(call) or "", ()), key=started):
        if each.seq not in seen:  # ids may be anything
            yield from _bars(each, zero, depth + 1, inside, seen)


def _steps(call: Call) -> list[Bar]:
    """Its steps, each behind the one that it was made in."""
    metadata = _metadata(call)
    data = call.body.get("step_data") or metadata.get("step_data")
    details = {str(each.get("id")): each for each in _objects(metadata.get("step_details"))}
    steps = {}
    for number, step in enumerate(_objects(data)[:MOST_BARS], 1):
        own = str(step.get("id", number))
        steps[own] = {**details.get(own, {}), **step}
    seen: set[str] = set()
    nested = list(_nested(steps, None, 0, seen))
    return nested + [_bar(step, 0) for name, step in steps.items() if name not in seen]


def _nested(
    steps: Mapping[str, Mapping[str, Any]], parent: str | None, depth: int, seen: set[str]
) -> Iterator[Bar]:
    level = [name for name, step in steps.items() if _parent(step, steps) == parent and name not in seen]
    seen.update(level)
    for name in sorted(level, key=lambda each: _number(steps[each].get("start_ms")) or 0.0):
        yield _bar(steps[name], depth)
        yield from _nested(steps, name, depth + 1, seen)


def _parent(step: Mapping[str, Any], steps: Mapping[str, object]) -> str | None:
    parent = str(step["parent"]) if step.get("parent") is not None else None
    return parent if parent in steps else None


def _bar(step: Mapping[str, Any], depth: int) -> Bar:
    seconds = _number(step.get("response_time"))
    return Bar(
        name=opening(step.get("type") or "step", 40),
        text=opening(step.get("user_question"), 80),
        start=_number(step.get("start_ms")),
        duration=seconds * _MILLISECOND if seconds is not None else None,
        depth=depth,
        failed=step.get("error") is not None,
    )


def _metadata(call: Call) -> Mapping[str, Any]:
    found = call.body.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        return None
    return float(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
