"""Which spans are calls, each counted once: the rule that `server/README.md` states, as code.

The result follows from the set of spans alone, in whatever order they came. Three steps:

1. A stream that an instrumentation tells in two spans is one (logfire).
2. Spans inside one another: the innermost counts, what is around it repeats it. Tools and agents between two
   calls part them: they are different ones.
3. Spans of different instrumentations beside one another, in one trace or in several: those that
   `evidence.py` is certain about are paired, each with one other at most. What may be a pair but can't be
   told is marked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .evidence import Evidence, Key, View, evidence, same_model
from .kinds import COUNTED, Role

_PARTING = frozenset({Role.TOOL, Role.AGENT, Role.WORKFLOW, Role.STEP})


@dataclass(frozen=True, slots=True)
class Node:
    """A span's place in its trace. `view`: what it says, if it is a call."""

    key: Key
    parent: Key | None
    role: Role
    session: str | None = None
    user: str | None = None
    view: View | None = None


@dataclass(slots=True)
class Group:
    """One call: all that is told of it, the innermost first. `possible`: groups that may be the same call."""

    views: list[View]
    possible: set[Key] = field(default_factory=set)
    session: str | None = None
    user: str | None = None

    @property
    def key(self) -> Key:
        """The span that the call is named after: the innermost, or a record of our own."""
        own = (view for view in self.views if view.facts.record_id)
        return next(own, self.views[0]).key

    @property
    def scopes(self) -> frozenset[str]:
        """Who tells of it."""
        return frozenset(view.span.scope for view in self.views)

    @property
    def role(self) -> Role:
        """CALL or EMBEDDING."""
        return self.views[0].facts.role


def calls_among(nodes: Sequence[Node]) -> list[Group]:
    """The calls that spans tell of.

    Args:
        nodes: all spans of some traces.
    """
    known = _without_circles(nodes)
    views = _continued(known)
    groups = _nested(known, views)
    _pair(groups, known)
    for group in groups:
        group.views.sort(key=lambda view: _innermost_first(view, known))
    groups.sort(key=lambda group: (group.views[0].span.start, group.key))
    _mark_possible(groups, known)
    for group in groups:
        _inherit(group, known)
    return groups


def _without_circles(nodes: Sequence[Node]) -> dict[Key, Node]:
    """The spans by their keys. Of those whose parents lead round in a circle, the first is a root."""
    known = {node.key: node for node in nodes}
    done: set[Key] = set()
    for node in nodes:
        way: dict[Key, None] = {}
        at: Key | None = node.key
        while at is not None and at in known and at not in done and at not in way:
            way[at] = None
            at = known[at].parent
        if at is not None and at in way:
            circle = list(way)[list(way).index(at) :]
            known[min(circle)] = replace(known[min(circle)], parent=None)
        done |= way.keys()
    return known


# -- one stream, two spans -----------------------------------------------------------------------------------


def _continued(known: Mapping[Key, Node]) -> dict[Key, View]:
    views = {node.key: node.view for node in known.values() if node.view and node.role in COUNTED}
    views = {key: _with_steps(view, known) for key, view in views.items()}
    ends = [view for view in views.values() if view.span.attributes.get("logfire.span_type") == "log"]
    for end in sorted(ends, key=lambda view: (view.span.start, view.key)):
        begun = [view for view in views.values() if _goes_on(view, end)]
        if begun:
            request = max(begun, key=lambda view: (view.span.start, view.key))
            views[request.key] = request.continued(end)
            del views[end.key]
    return views


def _with_steps(record: View, known: Mapping[Key, Node]) -> View:
    """A record of our own with its steps, which name it."""
    own = record.facts.record_id
    if own is None:
        return record
    steps = [
        node.view
        for key, node in known.items()
        if node.view
        and node.role is Role.STEP
        and node.view.facts.record_id == own
        and key[0] == record.key[0]
    ]
    return record.with_steps(sorted(steps, key=lambda step: (step.span.start, step.key)))


def _goes_on(view: View, end: View) -> bool:
    one, other = view.span, end.span
    return (
        view.key != end.key
        and not view.more
        and not view.facts.usage.known
        and not view.facts.output
        and (one.trace_id, one.parent_id, one.scope) == (other.trace_id, other.parent_id, other.scope)
        and one.end <= other.start
        and view.facts.error is None
        and view.facts.question == end.facts.question
        and same_model(view.facts, end.facts)
    )


# -- inside one another --------------------------------------------------------------------------------------


def _nested(known: Mapping[Key, Node], views: Mapping[Key, View]) -> list[Group]:
    inside: dict[Key, list[View]] = {}
    outermost: list[View] = []
    for view in sorted(views.values(), key=lambda view: (view.span.start, view.key)):
        around = _around(view, known, views)
        (inside.setdefault(around.key, []) if around is not None else outermost).append(view)
    told: dict[Key, list[Group]] = {}
    for key in sorted(views, key=lambda key: (-_depth(key, known), key)):
        told[key] = _with_outer(
            views[key], [group for view in inside.get(key, ()) for group in told[view.key]]
        )
    return [group for view in outermost for group in told[view.key]]


def _with_outer(outer: View, inner: list[Group]) -> list[Group]:
    """The calls inside a span, and the span itself where it is another one."""
    if not inner or (len(inner) == 1 and _is_another(outer, inner[0])):
        return [*inner, Group([outer])]
    repeated = inner[0] if len(inner) == 1 else _repeated(outer, inner)
    if repeated is not None:
        repeated.views.append(outer)
    return inner


def _repeated(outer: View, inner: Sequence[Group]) -> Group | None:
    """Which of several calls inside a span it repeats; None: it is their sum."""
    own = outer.facts.response_id
    same = [group for group in inner if own and any(view.facts.response_id == own for view in group.views)]
    if not same and not any(view.facts.usage.known for group in inner for view in group.views):
        same = [group for group in inner if group.views[0].facts.error is None] or list(inner)
    return same[-1] if same else None


def _is_another(outer: View, inner: Group) -> bool:
    """A model that asks another one, and only the other is seen inside it."""
    facts = inner.views[0].facts
    counts = outer.facts.usage.input, facts.usage.input
    return None not in counts and counts[0] != counts[1] and not same_model(outer.facts, facts)


def _around(view: View, known: Mapping[Key, Node], views: Mapping[Key, View]) -> View | None:
    """The call around it, of the same kind, that nothing parts from it."""
    for node in _ancestors(view.key, known):
        if node.role in _PARTING:
            return None
        if node.key in views and node.role is view.facts.role:
            return views[node.key]
    return None


def _ancestors(key: Key, known: Mapping[Key, Node]) -> Iterator[Node]:
    """From the parent upwards."""
    above = known[key].parent
    while above is not None and above in known:
        yield known[above]
        above = known[above].parent


def _depth(key: Key, known: Mapping[Key, Node]) -> int:
    return sum(1 for _ in _ancestors(key, known))


def _innermost_first(view: View, known: Mapping[Key, Node]) -> tuple[int, int, Key]:
    return view.span.end - view.span.start, -_depth(view.key, known), view.key


# -- beside one another --------------------------------------------------------------------------------------


def _pair(groups: list[Group], known: Mapping[Key, Node]) -> None:
    """Make one group of two that are certainly one call, until there are no such two."""
    while len({scope for group in groups for scope in group.scopes}) > 1:
        edges = _edges(groups, known, Evidence.CERTAIN)
        if not edges:
            return
        sides = min((_side(groups[left]), _side(groups[right])) for left, right in edges)
        some = [each for each in edges if (_side(groups[each[0]]), _side(groups[each[1]])) == sides]
        for left, right in _matched(some):
            groups[left].views.extend(groups[right].views)
            groups[right].views.clear()
        groups[:] = [group for group in groups if group.views]


def _side(group: Group) -> tuple[str, ...]:
    return tuple(sorted(group.scopes))


def _edges(groups: Sequence[Group], known: Mapping[Key, Node], least: Evidence) -> list[tuple[int, int]]:
    """Pairs of groups by their numbers, the closest first; of each the side that sorts first is the left."""
    spans = [(min(view.span.start for view in group.views), number) for number, group in enumerate(groups)]
    spans.sort()
    found = []
    for place, (_, number) in enumerate(spans):
        end = max(view.span.end for view in groups[number].views)
        for start, other in spans[place + 1 :]:
            if start > end:
                break
            if _evidence(groups[number], groups[other], known) >= least:
                pair = sorted((number, other), key=lambda each: (_side(groups[each]), groups[each].key))
                found.append((_gap(groups[number], groups[other]), groups[pair[0]].key, pair[0], pair[1]))
    return [(left, right) for _, _, left, right in sorted(found)]


def _gap(one: Group, other: Group) -> int:
    """How far the shorter is from filling the longer."""
    lengths = [max(view.span.end - view.span.start for view in group.views) for group in (one, other)]
    return abs(lengths[0] - lengths[1])


def _evidence(one: Group, other: Group, known: Mapping[Key, Node]) -> Evidence:
    if one.role is not other.role or one.scopes & other.scopes:
        return Evidence.NONE
    found = [evidence(mine, theirs) for mine in one.views for theirs in other.views]
    return Evidence.NONE if Evidence.NONE in found or _related(one, other, known) else max(found)


def _related(one: Group, other: Group, known: Mapping[Key, Node]) -> bool:
    """One inside the other: they were kept apart on purpose."""
    mine, theirs = ({view.key for view in group.views} for group in (one, other))
    return any(node.key in theirs for key in mine for node in _ancestors(key, known)) or any(
        node.key in mine for key in theirs for node in _ancestors(key, known)
    )


def _matched(edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many pairs as there can be, each number in one: the closest first, then along augmenting paths."""
    rights: dict[int, list[int]] = {}
    right_of: dict[int, int] = {}
    left_of: dict[int, int] = {}
    for left, right in edges:
        rights.setdefault(left, []).append(right)
        if left not in right_of and right not in left_of:
            right_of[left], left_of[right] = right, left
    for left in rights:
        if left not in right_of:
            _augment(left, rights, right_of, left_of)
    return sorted(right_of.items())


def _augment(
    left: int, rights: Mapping[int, Sequence[int]], right_of: dict[int, int], left_of: dict[int, int]
) -> None:
    """Find a partner for one more, if others can change theirs: breadth first, so without recursion."""
    came: dict[int, int] = {}
    waiting = deque([left])
    while waiting:
        each = waiting.popleft()
        for right in rights[each]:
            if right in came:
                continue
            came[right] = each
            if right in left_of:
                waiting.append(left_of[right])
                continue
            free: int | None = right
            while free is not None:
                holder = came[free]
                before = right_of.get(holder)
                right_of[holder], left_of[free] = free, holder
                free = before
            return


def _mark_possible(groups: Sequence[Group], known: Mapping[Key, Node]) -> None:
    if len({scope for group in groups for scope in group.scopes}) < 2:
        return
    for left, right in _edges(groups, known, Evidence.POSSIBLE):
        groups[left].possible.add(groups[right].key)
        groups[right].possible.add(groups[left].key)


def _inherit(group: Group, known: Mapping[Key, Node]) -> None:
    """Session and user of the call, or of the nearest span around it that has one."""
    chain = [known[view.key] for view in group.views]
    chain += [node for view in group.views for node in _ancestors(view.key, known)]
    group.session = next((node.session for node in chain if node.session), None)
    group.user = next((node.user for node in chain if node.user), None)
