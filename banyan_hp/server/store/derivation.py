"""Making calls of spans: which traces to look at together, and what changes among the calls.

A step takes arrivals, reads the whole traces that they belong to and those of possible twins, asks the rule
for their calls, and puts these in the place of what was made before. What stayed the same is left alone. One
process at a time makes a step: it is elected for each. A crash anywhere leaves the arrivals, which are taken
again.

Here is what the stores have in common; how each reads and writes is in `sql_derivation.py` and
`clickhouse/derivation.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .calls import Call
from .rows import row_of as row_of_call
from .spans import LONGEST, SLACK, SOURCE, Derived, Key, Neighbourhood, StoredSpan, processed_id, record_of

MOST_TRACES = 2000  # that are looked at together
ROUNDS = 3  # of looking for traces that belong to those found before: parallel calls that are alike never end
MOST_BESIDE = 50_000  # spans of a stretch of time among which twins are looked for
BESIDE = (
    *("trace_id", "scope", "role", "start_time", "end_time"),
    *("input_tokens", "output_tokens", "response_id"),
)


class Reading(Protocol):
    """How a step reads the spans of one project. A row has the columns of the table `spans`."""

    def rows_of(self, traces: Iterable[str]) -> Sequence[Any]:
        """The rows of whole traces."""
        ...

    def beside(self, first: int, last: int, without: str | None) -> Sequence[Any]:
        """Rows with `BESIDE` of spans that count, began in a time, and are not of a scope; by their start."""
        ...

    def whole(self, rows: Sequence[Any]) -> Sequence[StoredSpan]:
        """The spans of rows; those that count have their bodies."""
        ...

    def events_of(self, traces: Iterable[str]) -> Mapping[Key, Sequence[Mapping[str, Any]]]:
        """See `Neighbourhood.events`."""
        ...


# -- what changes among the calls ----------------------------------------------------------------------------


class Changes(NamedTuple):
    """What a step writes.

    Attributes:
        needed: the spans that must be there still: no call may outlive them.
        gone: the rows of calls to be removed.
        new: calls to be stored.
        noted: by the id of a call, the spans that tell of it from now on; None: of no call.
    """

    needed: set[Key]
    gone: Sequence[Any]
    new: Sequence[Call]
    noted: Mapping[str | None, Sequence[Key]]


class Proposal:
    """What a rule has decided, before it is known which calls are there."""

    def __init__(self, found: Neighbourhood, derived: Sequence[Derived]) -> None:
        inside = [each for each in derived if any(trace not in found.edge for trace, _ in each.spans)]
        told = {key for each in inside for key in each.spans}
        self._derived = inside
        self.own = [span for span in found.spans if span.trace_id not in found.edge or span.key in told]

    def names(self) -> list[str]:
        """Ids of calls that any of the spans may be named after: made earlier, or logged by our clients."""
        return [name for span in self.own if span.counted for name in _ids(span)]

    def changes(self, there: Sequence[Any]) -> Changes:
        """What is to be written, beside the rows of the calls with these names that are there."""
        native = {row.id for row in there if row.source != SOURCE}
        wanted = {each.call.id: each.call for each in self._derived if _named(each, native) not in native}
        kept = {row.id for row in there if row.id in wanted and _is_same(row, wanted[row.id])}
        return Changes(
            {key for each in self._derived if each.call.id not in kept for key in each.spans},
            [row for row in there if row.source == SOURCE and row.id not in kept],
            [call for name, call in wanted.items() if name not in kept],
            self._noted({key: _named(each, native) for each in self._derived for key in each.spans}),
        )

    def _noted(self, told: Mapping[Key, str]) -> Mapping[str | None, Sequence[Key]]:
        changed: dict[str | None, list[Key]] = {}
        for span in self.own:
            if span.call_id != told.get(span.key):
                changed.setdefault(told.get(span.key), []).append(span.key)
        return changed


def _ids(span: StoredSpan) -> Iterator[str]:
    yield f"{span.trace_id}-{span.span_id}"
    yield processed_id(span.key)
    record = record_of(span.span_id, span.body.get("attributes", {}))
    if record is not None:
        yield record


def _named(derived: Derived, native: set[str]) -> str:
    """The id of the call that is there, whoever sent it.

    Our own client may have sent it: under its own id, or made of one of its spans.
    """
    names = (derived.call.id, *map(processed_id, derived.spans))
    return next((name for name in names if name in native), derived.call.id)


def _is_same(row: Any, call: Call) -> bool:
    """Whether a call is stored as it would be now; when it arrived does not count."""
    made = row_of_call(call)
    left_out = ("body", "seq", "deliveries", "received_at", "digest")
    return bytes(row.digest) == made["digest"] and all(
        getattr(row, name) == value for name, value in made.items() if name not in left_out
    )


# -- which traces belong together ----------------------------------------------------------------------------


def neighbourhood(reading: Reading, project: str, traces: set[str]) -> Neighbourhood:
    """Whole traces, with those of spans that may tell of the same calls, and so on."""
    rows: list[Any] = []
    seen: set[str] = set()
    last: set[str] = set()
    left = set(traces)
    for _ in range(ROUNDS):
        if not left or (seen and len(seen) + len(left) > MOST_TRACES):
            break
        seen |= left
        found = reading.rows_of(left)
        rows += found
        last, left = left, _twins(reading, [row for row in found if row.counted_at is not None])
        left -= seen
    edge = frozenset(last - traces) if left else frozenset[str]()
    return Neighbourhood(project, reading.whole(rows), reading.events_of(seen), edge)


def _twins(reading: Reading, counted: Sequence[Any]) -> set[str]:
    """Traces with a span that may tell of the same call as one of these."""
    found: set[str] = set()
    scopes = {row.scope for row in counted}
    for first, last, some in _stretches(counted):
        others = reading.beside(first, last, next(iter(scopes)) if len(scopes) == 1 else None)
        starts = [row.start_time for row in others]
        for row in some:
            begin = bisect_left(starts, row.start_time - LONGEST)
            end = bisect_left(starts, row.end_time + SLACK)
            found |= {other.trace_id for other in others[begin:end] if _may_be_one(row, other)}
    return found


def _stretches(counted: Iterable[Any]) -> Iterator[tuple[int, int, list[Any]]]:
    """Stretches of time in which twins of the spans may have begun."""
    some: list[Any] = []
    first = last = 0
    for row in sorted(counted, key=lambda row: (row.start_time, row.seq)):
        if some and row.start_time - LONGEST > last:
            yield first, last, some
            some = []
        first = first if some else row.start_time - LONGEST
        last = max(last, row.end_time + SLACK)
        some.append(row)
    if some:
        yield first, last, some


def _may_be_one(mine: Any, other: Any) -> bool:
    """By what the narrow rows know: nothing speaks against it."""
    if other.scope == mine.scope or other.role != mine.role or other.trace_id == mine.trace_id:
        return False
    if not _within(mine, other) and not _within(other, mine):
        return False
    if mine.response_id is not None and other.response_id is not None:
        return bool(mine.response_id == other.response_id)
    return not any(
        _unequal(getattr(mine, name), getattr(other, name)) for name in ("input_tokens", "output_tokens")
    )


def _within(inner: Any, outer: Any) -> bool:
    return bool(inner.start_time >= outer.start_time - SLACK and inner.end_time <= outer.end_time + SLACK)


def _unequal(mine: object, theirs: object) -> bool:
    return mine is not None and theirs is not None and mine != theirs
