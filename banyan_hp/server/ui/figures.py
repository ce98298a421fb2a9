"""What sums look like on a page: tiles with their change, and the data of charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..store.hours import DAY, Sums
from .texts import NOTHING, dollars, milliseconds, number, percent

_SAME = 0.0005  # a change below it is shown as none


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure.

    Attributes:
        change: against the period before; "" where there is nothing to compare.
        tone: whether the change is ``good``, ``bad``, or neither.
        counted: what the calls have in common that the figure counts; None: it counts none.
    """

    label: str
    value: str
    change: str
    tone: str = ""
    counted: Mapping[str, str] | None = None


def tiles_of(now: Sums, before: Sums) -> list[Tile]:
    """The figures of a period, each with its change against the one before."""
    p50, p95 = (lambda sums: sums.latency(0.5)), (lambda sums: sums.latency(0.95))
    return [
        Tile("Calls", number(now.calls), relative(now.calls, before.calls), counted={}),
        _errors(now, before),
        _latency("Latency p50", p50, now, before),
        _latency("Latency p95", p95, now, before),
        Tile(
            "Input tokens", short(now.input_tokens or None), relative(now.input_tokens, before.input_tokens)
        ),
        Tile(
            "Output tokens",
            short(now.output_tokens or None),
            relative(now.output_tokens, before.output_tokens),
        ),
        Tile("Cost", dollars(cost(now)), relative(cost(now), cost(before))),
    ]


def _errors(now: Sums, before: Sums) -> Tile:
    value = f"{number(now.errors)} ({percent(now.error_rate)})" if now.calls else number(0)
    change, tone = _points(now.error_rate, before.error_rate)
    return Tile("Errors", value, change, tone, {"failed": "true"})


def _points(now: float | None, before: float | None) -> tuple[str, str]:
    """How a share has changed, and whether that is good."""
    if now is None or before is None:
        return "", ""
    points = now - before
    if abs(points) < _SAME:
        return "no change", ""
    return f"{100 * points:+.1f} points", "bad" if points > 0 else "good"


def _latency(label: str, of: Callable[[Sums], float | None], now: Sums, before: Sums) -> Tile:
    change = relative(of(now), of(before))
    tone = {"+": "bad", "−": "good"}.get(change[:1], "")
    return Tile(label, milliseconds(of(now)), change, tone)


def cost(sums: Sums) -> float | None:
    """The cost, if any call has a known one."""
    return sums.cost if sums.priced else None


def relative(now: float | None, before: float | None) -> str:
    """A change in per cent, or as a factor where that is easier to read."""
    if now is None or not before:
        return ""
    change = now / before - 1
    if abs(change) < _SAME:
        return "no change"
    if change >= 9:
        return f"× {now / before:,.0f}"
    return f"{'+' if change > 0 else '−'}{abs(100 * change):.{0 if abs(change) >= 0.1 else 1}f} %"


def short(value: float | None) -> str:
    """A large number in the unit that suits it."""
    if value is None:
        return NOTHING
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**4)):
        if value >= size:
            return f"{value / (1000 if unit == 'k' else size):,.1f} {unit}"
    return number(value)


# -- charts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or area, of a chart."""

    label: str
    of: Callable[[Sums], float | None]
    color: str


_CHARTS: Sequence[tuple[str, str, Sequence[Line]]] = (
    (
        "Calls",
        "count",
        (Line("calls", lambda each: each.calls, "main"), Line("errors", lambda each: each.errors, "bad")),
    ),
    (
        "Latency",
        "ms",
        (
            Line("p50", lambda each: each.latency(0.5), "main"),
            Line("p95", lambda each: each.latency(0.95), "second"),
        ),
    ),
    (
        "Tokens",
        "count",
        (
            Line("input", lambda each: each.input_tokens, "main"),
            Line("output", lambda each: each.output_tokens, "second"),
        ),
    ),
    ("Cost", "usd", (Line("cost", lambda each: each.cost, "main"),)),
)


def charts_of(points: Sequence[tuple[datetime, Sums]], step: timedelta) -> list[Mapping[str, Any]]:
    """The data of each chart."""
    return list(_charts(points, "day" if step == DAY else "hour"))


def _charts(points: Sequence[tuple[datetime, Sums]], step: str) -> Iterator[Mapping[str, Any]]:
    times = [int(start.timestamp()) for start, _ in points]
    for title, unit, lines in _CHARTS:
        series = [
            {"label": line.label, "color": line.color, "values": [line.of(each) for _, each in points]}
            for line in lines
        ]
        yield {"title": title, "unit": unit, "step": step, "times": times, "series": series}
