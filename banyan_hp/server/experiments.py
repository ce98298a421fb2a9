"""Experiments on a prompt: what is stored of them, and which version a sticky value gets.

The arithmetic of the choice is in `routing.py`, how people write an experiment in `experiment_bodies.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..experiments import MAX_DECIMALS, Range, Slots, Split
from .allocation import Ranges, allocated
from .database import Database
from .prompts import Prompt, Prompts, TakenError

RUNNING = "running"
STATUSES = ("draft", "scheduled", RUNNING, "paused", "finished")
ALLOCATIONS = (Split.allocation, Slots.allocation)
NEWEST_ALLOCATION = Slots.allocation


@dataclass(frozen=True, slots=True)
class Variant:
    """One version within an experiment (on the wire: an element of `versions`)."""

    experiment_version_id: str
    version: str
    content: str
    traffic_percentage: float
    follows_prompt: bool = False
    """Whether the content is that of the prompt's stored version, and changes with it."""
    slots: Ranges = ()
    """With allocation 2: those that the version has."""

    def as_json(self) -> dict[str, object]:
        """What clients read."""
        return {
            "experiment_version_id": self.experiment_version_id,
            "version": self.version,
            "content": self.content,
            "traffic_percentage": self.traffic_percentage,
        }


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment on the prompt `prompt_id`."""

    experiment_id: str
    prompt_id: str
    status: str
    sticky_type: str
    salt: str
    variants: tuple[Variant, ...]
    allocation: int = NEWEST_ALLOCATION

    @property
    def running(self) -> bool:
        """Whether it routes anybody now."""
        return self.status == RUNNING

    @property
    def has_slots(self) -> bool:
        """Whether it routes by slots, not by the percentages themselves."""
        return self.allocation == Slots.allocation

    def allocated(self, before: Experiment | None) -> Experiment:
        """The same with slots for its percentages, as near as can be to those that it had before."""
        if not self.has_slots:
            return self
        slots = allocated(
            {each.experiment_version_id: each.traffic_percentage for each in self.variants},
            {each.experiment_version_id: each.slots for each in before.variants}
            if before is not None
            else {},
        )
        variants = [replace(each, slots=slots[each.experiment_version_id]) for each in self.variants]
        return replace(self, variants=tuple(variants))

    def variant_for(self, sticky_value: str) -> Variant | None:
        """What the value gets, always the same; None: the prompt's default version."""
        if self.has_slots:
            index = choose_by_slot(self.salt, sticky_value, [each.slots for each in self.variants])
        else:
            index = choose(self.salt, sticky_value, [each.traffic_percentage for each in self.variants])
        return None if index is None else self.variants[index]

    def as_configuration(self) -> dict[str, object]:
        """What a client needs to route by itself."""
        return {
            "experiment_id": self.experiment_id,
            "status": self.status,
            "sticky_type": self.sticky_type,
            "salt": self.salt,
            "allocation": self.allocation,
            "versions": [each.as_json() for each in self.variants],
            **self._slots_as_json(),
        }

    def _slots_as_json(self) -> dict[str, object]:
        if not self.has_slots:
            return {}
        return {"slots": {each.experiment_version_id: each.slots for each in self.variants}}

    def as_json(self, prompt: Prompt) -> dict[str, object]:
        """The JSON of a single experiment."""
        where = {"prompt_name": prompt.name, "branch": prompt.branch, "project_id": prompt.project}
        return {**where, **self.as_configuration()}


_PUT = """
INSERT INTO experiments (experiment_id, prompt_id, status, sticky_type, salt, allocation)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (experiment_id) DO UPDATE
SET prompt_id = excluded.prompt_id, status = excluded.status,
    sticky_type = excluded.sticky_type, salt = excluded.salt, allocation = excluded.allocation
"""
_PUT_VARIANT = """
INSERT INTO experiment_versions
(experiment_id, position, experiment_version_id, version, content, traffic_percentage, slots)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_VARIANTS = """
SELECT experiment_version_id, variants.version, coalesce(variants.content, stored.content) AS content,
       traffic_percentage, slots, variants.content IS NULL AS follows_prompt
FROM experiment_versions AS variants
LEFT JOIN prompt_versions AS stored ON stored.prompt_id = ? AND stored.version = variants.version
WHERE experiment_id = ? ORDER BY position
"""
_LISTED = """
SELECT experiments.* FROM experiments JOIN prompts USING (prompt_id)
WHERE (? IS NULL OR name = ?) AND (? IS NULL OR branch = ?)
  AND (? IS NULL OR project IN (?, '')) AND (? IS NULL OR status = ?)
ORDER BY experiments.rowid
"""


class Experiments:
    """The experiments."""

    def __init__(self, database: Database, prompts: Prompts) -> None:
        self._database = database
        self._prompts = prompts

    def get(self, experiment_id: str) -> tuple[Experiment, Prompt] | None:
        """An experiment and the prompt it is on."""
        row = self._database.one("SELECT * FROM experiments WHERE experiment_id = ?", (experiment_id,))
        return self._with_prompt(row) if row is not None else None

    def listed(
        self,
        prompt_name: str | None = None,
        branch: str | None = None,
        project: str | None = None,
        status: str | None = None,
    ) -> list[tuple[Experiment, Prompt]]:
        """The experiments, in order of their making, each with its prompt.

        Where given: on prompts of that name, on that branch, that `project` sees; of that status.
        """
        filters = [each for value in (prompt_name, branch, project, status) for each in (value, value)]
        rows = self._database.execute(_LISTED, filters).fetchall()
        return [found for row in rows if (found := self._with_prompt(row)) is not None]

    def on(self, prompt: Prompt) -> list[Experiment]:
        """All experiments on a prompt, whatever their status, in order of their making."""
        sql = "SELECT * FROM experiments WHERE prompt_id = ? ORDER BY rowid"
        return [self._experiment(row) for row in self._database.execute(sql, (prompt.prompt_id,)).fetchall()]

    def running_on(self, prompt: Prompt, sticky: Sequence[tuple[str, str]]) -> tuple[Experiment, str] | None:
        """The running experiment that goes by the first sticky key that any goes by, and the key's value."""
        running = [each for each in self.on(prompt) if each.running]
        for key, value in sticky:
            for experiment in running:
                if experiment.sticky_type == key:
                    return experiment, value
        return None

    def add(self, experiment: Experiment) -> None:
        """Store a new experiment; `TakenError` if there is one of its id."""
        with self._database.transaction():
            if self.get(experiment.experiment_id) is not None:
                raise TakenError(f"experiment {experiment.experiment_id!r} already exists")
            self.put(experiment)

    def put(self, experiment: Experiment) -> None:
        """Store an experiment in the place of one with the same id."""
        with self._database.transaction():
            self._database.execute(
                _PUT,
                (
                    experiment.experiment_id,
                    experiment.prompt_id,
                    experiment.status,
                    experiment.sticky_type,
                    experiment.salt,
                    experiment.allocation,
                ),
            )
            self._database.execute(
                "DELETE FROM experiment_versions WHERE experiment_id = ?", (experiment.experiment_id,)
            )
            self._database.executemany(_PUT_VARIANT, _variant_rows(experiment))

    def remove(self, experiment_id: str) -> bool:
        """Remove an experiment; False when no experiment has this id. Its usage records stay."""
        sql = "DELETE FROM experiments WHERE experiment_id = ?"
        return self._database.execute(sql, (experiment_id,)).rowcount == 1

    def _with_prompt(self, row: sqlite3.Row) -> tuple[Experiment, Prompt] | None:
        prompt = self._prompts.get(row["prompt_id"])
        return (self._experiment(row), prompt) if prompt is not None else None

    def _experiment(self, row: sqlite3.Row) -> Experiment:
        variants = self._database.execute(_VARIANTS, (row["prompt_id"], row["experiment_id"]))
        return Experiment(
            row["experiment_id"],
            row["prompt_id"],
            row["status"],
            row["sticky_type"],
            row["salt"],
            tuple(_variant(each) for each in variants),
            row["allocation"],
        )


def _variant(row: sqlite3.Row) -> Variant:
    # Databases of earlier programs may hold percentages too fine for the formula.
    percentage = round(row["traffic_percentage"], MAX_DECIMALS)
    slots = tuple((start, end) for start, end in json.loads(row["slots"]))
    follows_prompt = bool(row["follows_prompt"])
    changes = {"traffic_percentage": percentage, "follows_prompt": follows_prompt, "slots": slots}
    return Variant(**{**dict(row), **changes})


def _variant_rows(experiment: Experiment) -> list[tuple[object, ...]]:
    return [
        (
            experiment.experiment_id,
            position,
            each.experiment_version_id,
            each.version,
            None if each.follows_prompt else each.content,
            each.traffic_percentage,
            json.dumps(each.slots),
        )
        for position, each in enumerate(experiment.variants)
    ]


# -- which version a sticky value gets: by the rules that clients route by themselves with -------------------


def choose(salt: str, sticky_value: str, percentages: Sequence[float]) -> int | None:
    """The index of the version that the value gets, or None where the percentages leave it out."""
    return Split(salt, percentages).choose(sticky_value)


def choose_by_slot(salt: str, sticky_value: str, slots: Sequence[Sequence[Range]]) -> int | None:
    """The same by the slots that each version has."""
    return Slots(salt, slots).choose(sticky_value)
