"""Experiments on prompts. Each change is kept in the audit, with the whole configuration that it made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from ...experiments import Range, Slots, Split
from ..analysis.settings import Analysis
from .audit import Actor, note, now
from .calls import MAX_PAGE, MAX_PAGE_BYTES, microseconds
from .database import Database
from .marks import note_changed
from .parts import Made, Part
from .prompts import TakenError
from .rows import json_of, within_bytes
from .tables import audit, experiments, prompt_versions, prompts

RUNNING = "running"
STATUSES = ("draft", "scheduled", RUNNING, "paused", "finished")
ALLOCATIONS = (Split.allocation, Slots.allocation)
NEWEST_ALLOCATION = Slots.allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One version within an experiment (on the wire: an element of `versions`).

    Attributes:
        content: None: that of the prompt's stored version, whatever it is.
        config: as of a prompt's version.
        follows: content and configuration are those of the prompt's stored version, as they are now.
        slots: with allocation 2: those that the version has.
    """

    experiment_version_id: str
    version: str
    traffic_percentage: float
    content: Any = None
    config: Mapping[str, Any] | None = None
    follows: bool = False
    slots: Sequence[Range] = ()

    def as_stored(self) -> dict[str, Any]:
        """Without what it only follows."""
        stored = asdict(self)
        follows = stored.pop("follows")
        return {**stored, "content": None, "config": None} if follows else stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment on a prompt.

    Attributes:
        control: the `experiment_version_id` that the others are compared with.
        primary_metric: the name of the score, or of the measure, that decides.
        analysis: how its results are reckoned, and which metrics are guarded.
    """

    project: str
    experiment_id: str
    prompt_id: str
    status: str
    sticky_type: str
    salt: str
    variants: Sequence[Variant]
    allocation: int = NEWEST_ALLOCATION
    control: str | None = None
    primary_metric: str | None = None
    analysis: Analysis = field(default_factory=Analysis)

    @property
    def running(self) -> bool:
        """Whether it routes anybody now."""
        return self.status == RUNNING

    @property
    def has_slots(self) -> bool:
        """Whether it routes by slots, not by the percentages themselves."""
        return self.allocation == Slots.allocation

    def variant_for(self, sticky_value: str) -> Variant | None:
        """What the value gets, always the same; None: the prompt's default version."""
        if self.has_slots:
            index = Slots(self.salt, [each.slots for each in self.variants]).choose(sticky_value)
        else:
            shares = [each.traffic_percentage for each in self.variants]
            index = Split(self.salt, shares).choose(sticky_value)
        return None if index is None else self.variants[index]


class Listed(NamedTuple):
    """An experiment as it is listed: with the prompt that it is on."""

    experiment: Experiment
    prompt_name: str
    branch: str


class OutdatedError(Exception):
    """An experiment is not what a change of it started from: it was changed or removed meanwhile."""


class Experiments:
    """The experiments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, project: str, experiment_id: str) -> Experiment | None:
        """The experiment of this id, with the contents of its versions."""
        found = self._all(experiments.c.project == project, experiments.c.experiment_id == experiment_id)
        return found[0] if found else None

    def on(self, project: str, prompt_id: str) -> list[Experiment]:
        """All experiments on a prompt, whatever their status, in order of their making."""
        return self._all(experiments.c.project == project, experiments.c.prompt_id == prompt_id)

    def page(
        self,
        project: str,
        prompt_name: str | None = None,
        branch: str | None = None,
        status: str | None = None,
        *,
        limit: int = MAX_PAGE,
        after: str | None = None,
    ) -> Part[Listed]:
        """Those of a project, in order of their making; on such prompts and of that status, where given.

        Up to `limit`, and fewer where they are large, but always one.

        Raises:
            UnusableCursorError: `after` is the `next` of no part.
        """
        chosen = [experiments.c.project == project]
        chosen += [prompts.c.name == prompt_name] if prompt_name is not None else []
        chosen += [prompts.c.branch == branch] if branch is not None else []
        chosen += [experiments.c.status == status] if status is not None else []
        chosen += [tuple_(*_MADE) > tuple_(*map(literal, Made.parse(after)))] if after is not None else []
        size = func.length(experiments.c.versions) + func.length(experiments.c.analysis)
        query = select(*_MADE, size.label("bytes")).join(prompts, _is_on).where(*chosen).order_by(*_MADE)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
            ids = [row.experiment_id for row in within_bytes(rows[:limit])]
            found, end = _listed(connection, project, ids)
        return Part(found, str(end) if len(rows) > len(found) and end is not None else None)

    def newest(self, project: str, limit: int, skip: int) -> list[Experiment]:
        """Those of a project, the newest first, without so many of them."""
        order = (experiments.c.created_at.desc(), experiments.c.experiment_id.desc())
        query = select(experiments).where(experiments.c.project == project).order_by(*order)
        with self._database.read() as connection:
            found = [_experiment(row) for row in connection.execute(query.limit(limit).offset(skip))]
            return [_with_contents(connection, each) for each in found]

    def guarded(self) -> list[Experiment]:
        """The running ones of all projects that have guards."""
        return [each for each in self._all(experiments.c.status == RUNNING) if each.analysis.guards]

    def _all(self, *chosen: Any) -> list[Experiment]:
        query = select(experiments).join(prompts, _is_on).where(*chosen).order_by(*_MADE)
        with self._database.read() as connection:
            found = [_experiment(row) for row in connection.execute(query)]
            return [_with_contents(connection, each) for each in found]

    # -- changed -----------------------------------------------------------------------------------------

    def add(self, experiment: Experiment, actor: Actor) -> None:
        """Store a new experiment.

        Raises:
            TakenError: there is one of its id.
        """

        def store(connection: Connection) -> None:
            connection.execute(insert(experiments).values(**_row(experiment), created_at=now()))
            note_changed(connection, experiment.project, experiment.experiment_id)
            self._note(connection, actor, "experiment.create", experiment)

        try:
            self._database.write(store)
        except IntegrityError as error:
            raise TakenError(f"experiment {experiment.experiment_id!r} already exists") from error

    def put(
        self,
        experiment: Experiment,
        actor: Actor,
        *,
        instead_of: Experiment,
        action: str = "experiment.change",
        reason: Mapping[str, Any] | None = None,
    ) -> None:
        """Store an experiment in the place of the one with the same id.

        The `reason` goes into the audit, with the configuration.

        Raises:
            OutdatedError: that one is not `instead_of` any more.
        """

        def store(connection: Connection) -> None:
            query = select(experiments).where(*_of(experiment)).with_for_update()
            held = connection.execute(query).first()
            if held is None or _row(_experiment(held)) != _row(instead_of):
                raise OutdatedError
            connection.execute(update(experiments).where(*_of(experiment)).values(_row(experiment)))
            note_changed(connection, experiment.project, experiment.experiment_id)
            self._note(connection, actor, action, experiment, reason)

        self._database.write(store)

    def remove(self, experiment: Experiment, actor: Actor) -> None:
        """Remove an experiment. The calls that it routed stay."""

        def store(connection: Connection) -> None:
            connection.execute(delete(experiments).where(*_of(experiment)))
            self._note(connection, actor, "experiment.remove", experiment)

        self._database.write(store)

    def redate(self, project: str, experiment_id: str, times: Sequence[datetime]) -> None:
        """Have an experiment's changes been made at these times, one for each, oldest first.

        For data that are made up, as a demo's: no request leads here.
        """
        subject = (audit.c.project == project, audit.c.subject == f"experiment:{experiment_id}")

        def store(connection: Connection) -> None:
            made = connection.execute(select(audit.c.seq).where(*subject).order_by(audit.c.seq)).scalars()
            for seq, at in zip(made.all(), times, strict=True):
                connection.execute(update(audit).where(audit.c.seq == seq).values(at=microseconds(at)))
            one = (experiments.c.project == project, experiments.c.experiment_id == experiment_id)
            connection.execute(update(experiments).where(*one).values(created_at=microseconds(times[0])))

        self._database.write(store)

    def _note(
        self,
        connection: Connection,
        actor: Actor,
        action: str,
        experiment: Experiment,
        reason: Mapping[str, Any] | None = None,
    ) -> None:
        variants = [each.as_stored() for each in experiment.variants]
        whole = {name: getattr(experiment, name) for name in _PLAIN} | {"variants": variants}
        whole["analysis"] = experiment.analysis.as_json()
        detail = whole if reason is None else {**whole, "reason": reason}
        note(connection, actor, action, f"experiment:{experiment.experiment_id}", detail)


def _of(experiment: Experiment) -> tuple[Any, ...]:
    return (
        experiments.c.project == experiment.project,
        experiments.c.experiment_id == experiment.experiment_id,
    )


def _listed(connection: Connection, project: str, ids: Sequence[str]) -> tuple[list[Listed], Made | None]:
    """These experiments, as many as a page may be large with contents that they only follow, and its end."""
    mine = (experiments.c.project == project, experiments.c.experiment_id.in_(ids))
    query = select(experiments, prompts.c.name, prompts.c.branch).join(prompts, _is_on)
    found: list[Listed] = []
    end, size = None, 0
    for row in connection.execute(query.where(*mine).order_by(*_MADE)):
        experiment = _with_contents(connection, _experiment(row))
        size += sum(len(json_of([each.content, each.config])) for each in experiment.variants)
        if found and size > MAX_PAGE_BYTES:
            break
        found.append(Listed(experiment, row.name, row.branch))
        end = Made(row.created_at, row.experiment_id)
    return found, end


def _with_contents(connection: Connection, experiment: Experiment) -> Experiment:
    """Contents of the prompt's own versions, for those that follow them."""
    following = [each.version for each in experiment.variants if each.content is None]
    if not following:
        return experiment
    columns = prompt_versions.c
    query = select(columns.version, columns.content, columns.config).where(
        prompt_versions.c.project == experiment.project,
        prompt_versions.c.prompt_id == experiment.prompt_id,
        prompt_versions.c.version.in_(following),
    )
    found: dict[str, Any] = {row.version: row for row in connection.execute(query)}
    variants = [
        _following(each, found[each.version]) if each.content is None and each.version in found else each
        for each in experiment.variants
    ]
    return replace(experiment, variants=variants)


def _following(variant: Variant, row: Row[Any]) -> Variant:
    config = json.loads(row.config) if row.config is not None else None
    return replace(variant, content=json.loads(row.content), config=config, follows=True)


def _row(experiment: Experiment) -> dict[str, Any]:
    row = {name: getattr(experiment, name) for name in _PLAIN}
    versions = json.dumps([each.as_stored() for each in experiment.variants])
    return {**row, "versions": versions, "analysis": json.dumps(experiment.analysis.as_json())}


def _experiment(row: Row[Any]) -> Experiment:
    variants = tuple(_variant(each) for each in json.loads(row.versions))
    analysis = Analysis.of(json.loads(row.analysis))
    return Experiment(**{name: getattr(row, name) for name in _PLAIN}, variants=variants, analysis=analysis)


def _variant(stored: Mapping[str, Any]) -> Variant:
    slots = tuple((start, end) for start, end in stored["slots"])
    return Variant(**{**stored, "slots": slots})


_MADE = (experiments.c.created_at, experiments.c.experiment_id)
"""The order of making."""
_is_on = and_(prompts.c.project == experiments.c.project, prompts.c.prompt_id == experiments.c.prompt_id)
_PLAIN = (
    "project",
    "experiment_id",
    "prompt_id",
    "status",
    "sticky_type",
    "salt",
    "allocation",
    "control",
    "primary_metric",
)
