"""Prompts, their versions, and the projects they belong to.

Experiments, which may put another content in a prompt's place, are in `experiments.py`.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .database import Database
from .records import now

DEFAULT_BRANCH = "main"
FIRST_VERSION = "1.0"

_PROMPT = """
SELECT prompts.*, prompt_versions.content FROM prompts
JOIN prompt_versions USING (prompt_id, version)
"""
_CHANGE = "UPDATE prompts SET branch = ?, version = ?, enable_logging = ?, metadata = ? WHERE prompt_id = ?"


class TakenError(Exception):
    """What is to be added is already there; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt at one of its versions: the current one, unless it was asked for by version."""

    prompt_id: str
    name: str
    content: str
    version: str = FIRST_VERSION
    branch: str = DEFAULT_BRANCH
    project: str | None = None
    enable_logging: bool = True
    metadata: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """What a client that fetches prompts reads."""
        return {
            "prompt_id": self.prompt_id,
            "name": self.name,
            "content": self.content,
            "version": self.version,
            "branch": self.branch,
            "project": self.project,
            "enable_logging": self.enable_logging,
            "metadata": dict(self.metadata),
        }

    def as_managed_json(self) -> dict[str, object]:
        """The JSON of management calls, with the names `id` and `project_id`."""
        shown = self.as_json()
        return {"id": shown.pop("prompt_id"), **shown, "project_id": shown.pop("project")}


def new_prompt_id() -> str:
    """A fresh id for a prompt."""
    return str(uuid.uuid4())


class Prompts:
    """The prompts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str, branch: str, project: str | None = None) -> Prompt | None:
        """The prompt as `project` sees it: its own before one of no project.

        Without a project: the one of no project before any other.
        """
        sql = _PROMPT + "WHERE name = ? AND branch = ? AND (? IS NULL OR project IN (?, '')) "
        preferred = project or ""
        row = self._database.one(
            sql + "ORDER BY project = ? DESC, prompts.rowid", (name, branch, project, project, preferred)
        )
        return _prompt(row) if row is not None else None

    def exact(self, name: str, branch: str, project: str | None) -> Prompt | None:
        """The prompt of exactly this project (None: of no project)."""
        sql = _PROMPT + "WHERE name = ? AND branch = ? AND project = ?"
        row = self._database.one(sql, (name, branch, project or ""))
        return _prompt(row) if row is not None else None

    def get(self, prompt_id: str) -> Prompt | None:
        """The prompt of this id."""
        row = self._database.one(_PROMPT + "WHERE prompts.prompt_id = ?", (prompt_id,))
        return _prompt(row) if row is not None else None

    def content_of(self, prompt: Prompt, version: str) -> str | None:
        """The content of one version of a prompt."""
        sql = "SELECT content FROM prompt_versions WHERE prompt_id = ? AND version = ?"
        row = self._database.one(sql, (prompt.prompt_id, version))
        return str(row["content"]) if row is not None else None

    def versions_of(self, prompt: Prompt) -> list[dict[str, object]]:
        """All versions of a prompt, in order of their making, and which of them is the current one."""
        sql = (
            "SELECT version, content, change_message, created_at "
            "FROM prompt_versions WHERE prompt_id = ? ORDER BY rowid"
        )
        rows = self._database.execute(sql, (prompt.prompt_id,))
        return [{**dict(row), "current": row["version"] == prompt.version} for row in rows]

    def listed(
        self, project: str | None = None, branch: str | None = None, name: str | None = None
    ) -> list[Prompt]:
        """The prompts, in order of their making.

        Where given: those that `project` sees, those on `branch`, those of that name.
        """
        sql = _PROMPT + (
            "WHERE (? IS NULL OR project IN (?, '')) AND (? IS NULL OR branch = ?) "
            "AND (? IS NULL OR name = ?) ORDER BY prompts.rowid"
        )
        filters = (project, project, branch, branch, name, name)
        return [_prompt(row) for row in self._database.execute(sql, filters)]

    def add(self, prompt: Prompt) -> None:
        """Store a new prompt with its one version; `TakenError` if its project has it on that branch."""
        with self._database.transaction():
            self._refuse_taken(prompt.name, prompt.branch, prompt.project)
            self._know_project(prompt.project)
            self._database.execute(
                "INSERT INTO prompts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    prompt.prompt_id,
                    prompt.name,
                    prompt.branch,
                    prompt.project or "",
                    prompt.version,
                    prompt.enable_logging,
                    json.dumps(dict(prompt.metadata)),
                ),
            )
            self._put_version(prompt.prompt_id, prompt.version, prompt.content, None)

    def add_version(self, prompt: Prompt, change_message: str | None = None) -> None:
        """Store a new version, `prompt` being what it makes of the prompt; `TakenError` if it is there."""
        with self._database.transaction():
            if self.content_of(prompt, prompt.version) is not None:
                where = f"prompt {prompt.name!r} on branch {prompt.branch!r}"
                raise TakenError(f"{where} already has version {prompt.version!r}")
            self._put_version(prompt.prompt_id, prompt.version, prompt.content, change_message)
            self.replace(prompt)

    def replace(self, prompt: Prompt, versions: Mapping[str, str] = MappingProxyType({})) -> None:
        """Make the stored prompt of this id what `prompt` says, with these versions besides its current one.

        `TakenError` when another prompt of that name is on the branch it moves to.
        """
        with self._database.transaction():
            stored = self.get(prompt.prompt_id)
            if stored is not None and stored.branch != prompt.branch:
                self._refuse_taken(prompt.name, prompt.branch, prompt.project)
            self._database.execute(
                _CHANGE,
                (
                    prompt.branch,
                    prompt.version,
                    prompt.enable_logging,
                    json.dumps(dict(prompt.metadata)),
                    prompt.prompt_id,
                ),
            )
            for version, content in {**versions, prompt.version: prompt.content}.items():
                self._put_version(prompt.prompt_id, version, content, None)

    def remove(self, prompt_id: str) -> bool:
        """Remove a prompt with its versions and experiments; False when no prompt has this id."""
        return self._database.execute("DELETE FROM prompts WHERE prompt_id = ?", (prompt_id,)).rowcount == 1

    def projects(self) -> list[dict[str, object]]:
        """The projects known, by id."""
        return [dict(row) for row in self._database.execute("SELECT id, name FROM projects ORDER BY id")]

    def project(self, project_id: str) -> dict[str, object] | None:
        """One project."""
        row = self._database.one("SELECT id, name FROM projects WHERE id = ?", (project_id,))
        return dict(row) if row is not None else None

    def name_project(self, project_id: str, name: str) -> None:
        """Make a project known under `name`."""
        sql = "INSERT INTO projects VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
        self._database.execute(sql, (project_id, name))

    def _know_project(self, project_id: str | None) -> None:
        if project_id is not None:
            self._database.execute("INSERT OR IGNORE INTO projects VALUES (?, ?)", (project_id, project_id))

    def _refuse_taken(self, name: str, branch: str, project: str | None) -> None:
        if self.exact(name, branch, project) is not None:
            within = f" of project {project!r}" if project is not None else ""
            raise TakenError(f"prompt {name!r} already exists on branch {branch!r}{within}")

    def _put_version(self, prompt_id: str, version: str, content: str, change_message: str | None) -> None:
        self._database.execute(
            "INSERT INTO prompt_versions VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (prompt_id, version) DO UPDATE SET content = excluded.content",
            (prompt_id, version, content, change_message, now()),
        )


def _prompt(row: sqlite3.Row) -> Prompt:
    return Prompt(
        prompt_id=row["prompt_id"],
        name=row["name"],
        content=row["content"],
        version=row["version"],
        branch=row["branch"],
        project=row["project"] or None,
        enable_logging=bool(row["enable_logging"]),
        metadata=json.loads(row["metadata"]),
    )
