"""Whom a score by record or session leads to, in each experiment: the one user of its calls.

What is known of a score in an experiment only grows while calls arrive: nobody, then one user, then several
(and then it counts for none). So calls and scores may come in any order, and twice. Where calls were removed,
the score is looked at anew. A score with a sticky value of the experiment's key needs none of this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, delete, literal, select

from .bulk import insert_rows
from .marks import attached
from .rows import these
from .score_tables import owners, users
from .tables import calls

Found = Mapping[str, str | None]
"""The user in each experiment; None: several."""


class User(NamedTuple):
    """A user of an experiment."""

    project: str
    experiment_id: str
    sticky_value: str


@dataclass(slots=True)
class Ownership:
    """To whom scores lead, where that has changed.

    Attributes:
        found: by score.
        scores: the rows of those scores.
        users: who gained or lost a score.
    """

    found: dict[int, Found] = field(default_factory=dict)
    scores: list[Any] = field(default_factory=list)
    users: set[User] = field(default_factory=set)

    def add(self, score: Any, before: Found, after: Found) -> None:
        """Take note of a score, if anything has changed."""
        if before == after:
            return
        self.found[score.seq] = after
        self.scores.append(score)
        for experiment_id in before.keys() | after.keys():
            both = {before.get(experiment_id), after.get(experiment_id)}
            self.users |= {User(score.project, experiment_id, each) for each in both if each is not None}

    def store(self, connection: Connection) -> None:
        """Write it down."""
        if self.scores:
            connection.execute(delete(owners).where(*these(owners, self.scores)))
        rows = [(score, each) for score in self.scores for each in self.found[score.seq].items()]
        insert_rows(
            connection,
            owners,
            [
                {
                    "seq": score.seq,
                    "day": score.day,
                    "project": score.project,
                    "experiment_id": experiment_id,
                    "sticky_value": owner,
                }
                for score, (experiment_id, owner) in rows
            ],
        )


def names_user(score: Any, sticky_key: str | None) -> bool:
    """Whether a score says itself whose it is, in an experiment with this sticky key."""
    if score.sticky_value is None:
        return False
    return score.sticky_key is None or sticky_key is None or score.sticky_key == sticky_key


def counts_in(score: Any, experiment_id: str) -> bool:
    """Whether a score may count in an experiment."""
    return score.experiment_id is None or bool(score.experiment_id == experiment_id)


def ownership(connection: Connection, arrived: Sequence[Any], given: Sequence[Any]) -> Ownership:
    """What arrived calls of users, and given scores, change; both as rows."""
    changes = Ownership()
    whole = {score.seq: score for score in given}
    about = {score.seq: (score, led) for score, led in _about(connection, arrived) if score.seq not in whole}
    held = _held(connection, [*given, *(score for score, _ in about.values())])
    for score, led in about.values():
        before = held[score.seq]
        changes.add(score, before, {**before, **_merged(before, led)})
    for score, near in _found(connection, given):
        changes.add(score, held[score.seq], _merged({}, _led(score, near)))
        changes.users |= _named(connection, score)
    return changes


def _about(connection: Connection, arrived: Sequence[Any]) -> Iterator[tuple[Any, Mapping[str, set[str]]]]:
    """The scores that are about these calls, and whom they lead to by them."""
    for project, group in _by_project(arrived):
        near = _Near(group)
        sessions = {call.session for call in group if call.session is not None}
        for score in attached(connection, project, near.by_id, sessions):
            if led := _led(score, near.of(score)):
                yield score, led


class _Near:
    """Calls by what scores may be about."""

    def __init__(self, calls: Iterable[Any]) -> None:
        self.by_id: dict[str, list[Any]] = defaultdict(list)
        self.by_session: dict[str | None, list[Any]] = defaultdict(list)
        for call in calls:
            self.by_id[call.id].append(call)
            self.by_session[call.session].append(call)

    def of(self, score: Any) -> Sequence[Any]:
        """Those that a score is about."""
        return self.by_session[score.session] if score.record_id is None else self.by_id[score.record_id]


def _by_project(rows: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    for project, group in groupby(sorted(rows, key=lambda row: str(row.project)), lambda row: row.project):
        yield project, list(group)


def _found(connection: Connection, given: Sequence[Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Scores, and the calls of users that they are about."""
    for project, group in _by_project(given):
        ids = {score.record_id for score in group if score.record_id is not None}
        sessions = {score.session for score in group if score.record_id is None and score.session is not None}
        by_id = _Near(_calls_of(connection, project, calls.c.id, ids)).by_id
        by_session = _Near(_calls_of(connection, project, calls.c.session, sessions)).by_session
        for score in group:
            yield score, by_id[score.record_id] if score.record_id is not None else by_session[score.session]


def _calls_of(connection: Connection, project: str, column: Column[str], values: set[str]) -> Sequence[Any]:
    """The calls of users that have one of these values, one for each user of each."""
    if not values:
        return []
    id_of = calls.c.id if column is calls.c.id else literal("").label("id")
    of_users = [calls.c[name] for name in ("session", "experiment_id", "sticky_value", "sticky_key")]
    # What is of no user is left out here: SQLite would go by that, instead of by the values.
    query = select(id_of, *of_users).where(
        calls.c.project == project, column.is_not(None), column.in_(values)
    )
    query = query.where(calls.c.experiment_version_id.is_not(None))
    found = connection.execute(query.distinct()).all()
    return [row for row in found if row.experiment_id is not None and row.sticky_value is not None]


def _led(score: Any, near: Iterable[Any]) -> Mapping[str, set[str]]:
    """The users of these calls in each experiment that the score may count in."""
    led: dict[str, set[str]] = defaultdict(set)
    for call in near:
        if counts_in(score, call.experiment_id) and not names_user(score, call.sticky_key):
            led[call.experiment_id].add(call.sticky_value)
    return led


def _merged(before: Found, led: Mapping[str, Collection[str]]) -> Found:
    """What is known with these users."""
    after: dict[str, str | None] = {}
    for experiment_id, found in led.items():
        known = {*found, before.get(experiment_id, min(found))}
        after[experiment_id] = known.pop() if len(known) == 1 else None
    return after


def _held(connection: Connection, scores: Sequence[Any]) -> Mapping[int, Found]:
    """What was known of scores so far."""
    held: dict[int, dict[str, str | None]] = {score.seq: {} for score in scores}
    if scores:
        for row in connection.execute(select(owners).where(*these(owners, scores))):
            held[row.seq][row.experiment_id] = row.sticky_value
    return held


def _named(connection: Connection, score: Any) -> set[User]:
    """The users that a score names itself, as far as there are such."""
    if score.sticky_value is None:
        return set()
    query = select(*(users.c[name] for name in User._fields)).where(
        users.c.project == score.project, users.c.sticky_value == score.sticky_value
    )
    return {User(*row) for row in connection.execute(query) if counts_in(score, row.experiment_id)}
