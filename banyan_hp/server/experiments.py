"""Experiments on a prompt: what runs, and which version a sticky value gets.

The arithmetic of the choice is in `routing.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from banyan_hp.server.database import Database
from banyan_hp.server.prompts import Prompt, Prompts
from banyan_hp.server.routing import choose

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Variant:
    """One version within an experiment (on the wire: an element of `versions`)."""

    experiment_version_id: str
    version: str
    content: str
    traffic_percentage: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment on the prompt `prompt_id`."""

    experiment_id: str
    prompt_id: str
    status: str
    sticky_type: str
    variants: tuple[Variant, ...]

    @property
    def running(self) -> bool:
        """Whether it routes anybody now."""
        return self.status == RUNNING

    def variant_for(self, sticky_value: str) -> Variant | None:
        """What the value gets, always the same; None: the prompt's default version."""
        index = choose(self.experiment_id, sticky_value, [each.traffic_percentage for each in self.variants])
        return None if index is None else self.variants[index]

    def as_json(self, prompt: Prompt) -> dict[str, object]:
        """What the experiment's own page answers."""
        return {
            "experiment_id": self.experiment_id,
            "status": self.status,
            "sticky_type": self.sticky_type,
            "prompt_name": prompt.name,
            "branch": prompt.branch,
            "project_id": prompt.project,
            "versions": [asdict(each) for each in self.variants],
        }


_PUT = """
INSERT INTO experiments VALUES (?, ?, ?, ?)
ON CONFLICT (experiment_id) DO UPDATE
SET prompt_id = excluded.prompt_id, status = excluded.status, sticky_type = excluded.sticky_type
"""


class Experiments:
    """The experiments."""

    def __init__(self, database: Database, prompts: Prompts) -> None:
        self._database = database
        self._prompts = prompts

    def get(self, experiment_id: str) -> tuple[Experiment, Prompt] | None:
        """An experiment and the prompt it is on."""
        row = self._database.one("SELECT * FROM experiments WHERE experiment_id = ?", (experiment_id,))
        prompt = self._prompts.get(row["prompt_id"]) if row is not None else None
        return (self._experiment(row), prompt) if row is not None and prompt is not None else None

    def running_on(self, prompt: Prompt, sticky: Sequence[tuple[str, str]]) -> tuple[Experiment, str] | None:
        """The running experiment that goes by the first sticky key that any goes by, and the key's value."""
        sql = "SELECT * FROM experiments WHERE prompt_id = ? AND status = ? ORDER BY rowid"
        rows = self._database.execute(sql, (prompt.prompt_id, RUNNING)).fetchall()
        for key, value in sticky:
            for row in rows:
                if row["sticky_type"] == key:
                    return self._experiment(row), value
        return None

    def put(self, experiment: Experiment) -> None:
        """Store an experiment in the place of one with the same id."""
        with self._database.transaction():
            self._database.execute(
                _PUT,
                (experiment.experiment_id, experiment.prompt_id, experiment.status, experiment.sticky_type),
            )
            self._database.execute(
                "DELETE FROM experiment_versions WHERE experiment_id = ?", (experiment.experiment_id,)
            )
            self._database.executemany(
                "INSERT INTO experiment_versions VALUES (?, ?, ?, ?, ?, ?)", _variant_rows(experiment)
            )

    def _experiment(self, row: sqlite3.Row) -> Experiment:
        sql = (
            "SELECT experiment_version_id, version, content, traffic_percentage "
            "FROM experiment_versions WHERE experiment_id = ? ORDER BY position"
        )
        variants = tuple(Variant(*each) for each in self._database.execute(sql, (row["experiment_id"],)))
        return Experiment(row["experiment_id"], row["prompt_id"], row["status"], row["sticky_type"], variants)


def _variant_rows(experiment: Experiment) -> list[tuple[object, ...]]:
    return [
        (
            experiment.experiment_id,
            position,
            each.experiment_version_id,
            each.version,
            each.content,
            each.traffic_percentage,
        )
        for position, each in enumerate(experiment.variants)
    ]
