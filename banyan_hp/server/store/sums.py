"""Bringing the sums of experiments up to date, behind intake; one process at a time does it.

A step reads, from one state of the database, what is marked and the users whom it concerns, and computes them
from their calls and scores. Then it writes them and takes the marks away, in one transaction. What is stored
after the reading has a mark of its own, which stays. What is removed after it leaves a mark that the step has
not seen: then it writes nothing, and the next one begins anew. So a crash anywhere costs a repetition.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, Connection, Text, and_, delete, func, literal, select

from .bulk import insert_rows
from .database import Database
from .election import SUMS, elected
from .marks import exclude, of_a_user, window_of
from .observed import user_row, value_rows
from .owners import Ownership, User, counts_in, names_user, ownership
from .rows import these
from .score_tables import dirty, owners, scores, users, values
from .tables import calls

_OF_CALLS = [calls.c[name] for name in ("seq", "day", "project", "id", "session", "event_time")]
_OF_CALLS += [
    calls.c[name] for name in ("experiment_id", "experiment_version_id", "sticky_key", "sticky_value")
]
_MEASURED = [calls.c[name] for name in ("latency_ms", "input_tokens", "output_tokens", "cost", "error")]
_MEASURED += [calls.c.output_length]
_STALE = select(*(users.c[name] for name in User._fields)).where(users.c.stale)


@dataclass(slots=True)
class _Step:
    """What a step has read and computed.

    Attributes:
        marks: those that it takes away.
        removals: of them, those of removals: all there were.
        users: whom it computes; those without a row in `rows` have no call left.
    """

    marks: Sequence[int]
    removals: set[int]
    ownership: Ownership = field(default_factory=Ownership)
    users: set[User] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)


class Sums:
    """Computes the sums in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, most: int | None = None) -> int:
        """See `Outcomes.pending`."""
        with self._database.read() as connection:
            return pending(connection, most)

    def step(self, limit: int) -> int:
        """See `Outcomes.step`."""
        if not self._is_due():
            return 0
        with elected(self._database, SUMS) as still:
            if still is None:
                return 0
            with self._database.read() as connection:
                step = _read(connection, limit)
            self._database.write(lambda connection: _write(connection, step))
        return len(step.marks) + len(step.users)

    def _is_due(self) -> bool:
        with self._database.read() as connection:
            marked = connection.execute(select(dirty.c.mark).limit(1)).first()
            return marked is not None or connection.execute(_STALE.limit(1)).first() is not None


def pending(connection: Connection, most: int | None = None) -> int:
    """How many marks and stale users there are; of either, up to `most` are counted."""
    marks, stale = (
        select(func.count()).select_from(query.limit(most).subquery()).scalar_subquery()
        for query in (select(dirty.c.mark), _STALE)
    )
    return int(connection.execute(select(marks + stale)).scalar_one())


# -- read ----------------------------------------------------------------------------------------------------


def _read(connection: Connection, limit: int) -> _Step:
    removals = set(connection.execute(select(dirty.c.mark).where(dirty.c.seq.is_(None))).scalars())
    query = select(dirty.c.mark, dirty.c.seq, dirty.c.day).where(dirty.c.seq.is_not(None))
    marked = connection.execute(query.order_by(dirty.c.mark).limit(limit)).all()
    step = _Step([*removals, *(row.mark for row in marked)], removals)
    if marked:
        arrived = connection.execute(select(*_OF_CALLS).where(*these(calls, marked), of_a_user)).all()
        given = connection.execute(select(scores).where(*these(scores, marked))).all()
        step.ownership = ownership(connection, arrived, given)
        step.users = _within_windows(connection, arrived) | step.ownership.users
    step.users |= {User(*row) for row in connection.execute(_STALE.limit(limit))}
    for (project, experiment_id), found in _by_experiment(step.users).items():
        _compute(connection, project, experiment_id, found, step)
    return step


def _by_experiment(found: set[User]) -> Mapping[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for user in sorted(found):
        groups[user.project, user.experiment_id].append(user.sticky_value)
    return groups


def _within_windows(connection: Connection, arrived: Sequence[Any]) -> set[User]:
    """The users of calls, without those whose window had closed before: their calls change nothing."""
    first: dict[User, int] = {}
    for call in arrived:
        user = User(call.project, call.experiment_id, call.sticky_value)
        first[user] = min(call.event_time, first.get(user, call.event_time))
    closed = set()
    for (project, experiment_id), found in _by_experiment(set(first)).items():
        query = select(users.c.sticky_value, users.c.ends_at).where(
            users.c.project == project,
            users.c.experiment_id == experiment_id,
            users.c.sticky_value.in_(found),
        )
        known = [(User(project, experiment_id, row.sticky_value), row) for row in connection.execute(query)]
        closed |= {user for user, row in known if first[user] >= row.ends_at}
    return first.keys() - closed


def _compute(
    connection: Connection, project: str, experiment_id: str, found: Sequence[str], step: _Step
) -> None:
    window = window_of(connection, project, experiment_id)
    made = _calls_in_windows(connection, project, experiment_id, found, window)
    if not made:
        return
    given = _scores_of(connection, project, experiment_id, list(made), step.ownership)
    for value, theirs in made.items():
        key = {"project": project, "experiment_id": experiment_id, "sticky_value": value}
        row = user_row(key, theirs, theirs[0].ends_at)
        step.rows.append(row)
        sticky_key = min(theirs, key=lambda call: (call.event_time, call.id)).sticky_key
        counted = [
            score
            for score, is_owned in given[value]
            if is_owned or (counts_in(score, experiment_id) and names_user(score, sticky_key))
        ]
        step.values += value_rows(row, theirs, counted)


def _calls_in_windows(
    connection: Connection, project: str, experiment_id: str, found: Sequence[str], window: int
) -> dict[str, list[Any]]:
    """For each of these users that has calls: those in the window after the first one."""
    same = (
        calls.c.project == project,
        calls.c.experiment_id == experiment_id,
        calls.c.experiment_version_id.is_not(None),
    )
    wanted = _listed(connection, found)
    first = select(func.min(calls.c.event_time)).where(*same, calls.c.sticky_value == wanted.c.value)
    exposed = select(wanted.c.value, first.scalar_subquery().label("first_at")).cte("exposed")
    exposed = exposed.prefix_with("MATERIALIZED", dialect="postgresql")
    ends_at = exposed.c.first_at + window
    theirs = and_(
        *same,
        calls.c.sticky_value == exposed.c.value,
        calls.c.event_time >= exposed.c.first_at,
        calls.c.event_time < ends_at,
    )
    # An outer join, since SQLite begins it with the users, not with all calls of the experiment.
    query = select(*_OF_CALLS, *_MEASURED, ends_at.label("ends_at")).select_from(
        exposed.join(calls, theirs, isouter=True)
    )
    made: dict[str, list[Any]] = defaultdict(list)
    for call in connection.execute(query):
        if call.seq is not None:
            made[call.sticky_value].append(call)
    return made


def _listed(connection: Connection, found: Sequence[str]) -> Any:
    """Texts as a table with one column, `value`."""
    if connection.dialect.name == "postgresql":
        texts = func.unnest(literal(list(found), ARRAY(Text)))
        return texts.table_valued("value", name="wanted").render_derived()
    return func.json_each(literal(json.dumps(found))).table_valued("value", name="wanted")


def _scores_of(
    connection: Connection, project: str, experiment_id: str, found: Sequence[str], changed: Ownership
) -> Mapping[str, list[tuple[Any, bool]]]:
    """The scores that lead to each of these users after this step, and whether by a record or session."""
    given: dict[str, list[tuple[Any, bool]]] = defaultdict(list)
    named = (scores.c.sticky_value.is_not(None), scores.c.sticky_value.in_(found))
    for score in connection.execute(select(scores).where(scores.c.project == project, *named)):
        given[score.sticky_value].append((score, False))
    same = and_(owners.c.seq == scores.c.seq, owners.c.day == scores.c.day)
    owned = select(scores, owners.c.sticky_value.label("owner")).join(owners, same)
    owned = owned.where(owners.c.project == project, owners.c.experiment_id == experiment_id)
    for score in connection.execute(owned.where(owners.c.sticky_value.in_(found))):
        if score.seq not in changed.found:
            given[score.owner].append((score, True))
    for score in changed.scores:
        owner = changed.found[score.seq].get(experiment_id)
        if owner is not None and score.project == project:
            given[owner].append((score, True))
    return given


# -- written -------------------------------------------------------------------------------------------------


def _write(connection: Connection, step: _Step) -> bool:
    """Whether it is written; not where something was removed since it was read."""
    exclude(connection)
    removals = set(connection.execute(select(dirty.c.mark).where(dirty.c.seq.is_(None))).scalars())
    if not removals <= step.removals:
        return False
    connection.execute(delete(dirty).where(dirty.c.mark.in_(step.marks)))
    step.ownership.store(connection)
    for (project, experiment_id), found in _by_experiment(step.users).items():
        for table in (users, values):
            same = (table.c.project == project, table.c.experiment_id == experiment_id)
            connection.execute(delete(table).where(*same, table.c.sticky_value.in_(found)))
    insert_rows(connection, users, step.rows)
    insert_rows(connection, values, step.values)
    return True
