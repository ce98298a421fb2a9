"""Seed files: projects, prompts and experiments that a database starts out with.

An entry is applied once and its digest kept, so that loading a file again changes nothing, not even
what was changed through the API in between; an entry that was edited since is applied again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .database import Database
from .experiment_bodies import SEED_EXPERIMENT, UnfitError, experiment_refusal, new_experiment
from .experiments import Experiments
from .prompts import DEFAULT_BRANCH, FIRST_VERSION, Prompt, Prompts, new_prompt_id
from .starting import ROUTING_MODES, RoutingMode, StartError
from .validation import (
    BOOLEAN,
    METADATA,
    NAME,
    STRING,
    Field,
    object_refusal,
    one_of,
    parse_json,
    required,
    shown,
)

_LIST = Field("a list", lambda value: isinstance(value, list))

_SEED: Mapping[str, Field] = {
    "routing": one_of(*ROUTING_MODES),
    "projects": _LIST,
    "prompts": _LIST,
    "experiments": _LIST,
}
_PROJECT: Mapping[str, Field] = {"id": required(NAME), "name": NAME}
_VERSION: Mapping[str, Field] = {"version": required(NAME), "content": required(STRING)}
_PROMPT: Mapping[str, Field] = {
    "name": required(NAME),
    "content": required(STRING),
    "version": NAME,
    "branch": NAME,
    "project": NAME,
    "enable_logging": BOOLEAN,
    "metadata": METADATA,
    "versions": _LIST,
}


def load_seed(path: Path, database: Database) -> RoutingMode | None:
    """Apply the file to the database, all of it or, with a `StartError`, nothing.

    Returns the routing mode that the file asks for, if it does.
    """
    try:
        seed: Any = parse_json(path.read_bytes())
    except OSError as error:
        raise StartError(f"can't read the seed {path}: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"the seed {path} isn't valid JSON: {error}") from error
    prompts = Prompts(database)
    try:
        with database.transaction():
            _Loader(database, prompts, Experiments(database, prompts)).load(seed)
    except _SeedError as flaw:
        raise StartError(f"the seed {path} can't be used: {flaw}") from flaw
    return RoutingMode(seed["routing"]) if "routing" in seed else None


class _SeedError(Exception):
    """What is wrong with a seed, in words."""


class _Loader:
    def __init__(self, database: Database, prompts: Prompts, experiments: Experiments) -> None:
        self._database = database
        self._prompts = prompts
        self._experiments = experiments
        self._seen: set[str] = set()

    def load(self, seed: Any) -> None:
        _check(seed, _SEED, "seed", at="")
        for place, entry in _entries(seed, "projects"):
            self._project({"id": entry} if isinstance(entry, str) else entry, place)
        for place, entry in _entries(seed, "prompts"):
            self._prompt(entry, place)
        for place, entry in _entries(seed, "experiments"):
            self._experiment(entry, place)

    def _project(self, entry: Any, place: str) -> None:
        _check(entry, _PROJECT, place)
        if self._is_due(["project", entry["id"]], entry, place):
            self._prompts.name_project(entry["id"], entry.get("name", entry["id"]))

    def _prompt(self, entry: Any, place: str) -> None:
        _check(entry, _PROMPT, place)
        prompt = _as_prompt(entry)
        versions = _prompt_versions(entry, prompt, place)
        if self._is_due(["prompt", prompt.name, prompt.branch, prompt.project], entry, place):
            self._put_prompt(prompt, versions)

    def _put_prompt(self, prompt: Prompt, versions: Mapping[str, str]) -> None:
        stored = self._prompts.exact(prompt.name, prompt.branch, prompt.project)
        if stored is None:
            self._prompts.add(prompt)
        self._prompts.replace(replace(prompt, prompt_id=stored.prompt_id) if stored else prompt, versions)

    def _experiment(self, entry: Any, place: str) -> None:
        _refuse(experiment_refusal(entry, SEED_EXPERIMENT, place, at=f"{place}."))
        if not self._is_due(["experiment", entry["experiment_id"]], entry, place):
            return
        try:
            stored = self._experiments.get(entry["experiment_id"])
            before = stored[0] if stored is not None else None
            experiment = new_experiment(entry, entry.get("project"), self._prompts, f"{place}.", before)
        except UnfitError as flaw:
            raise _SeedError(str(flaw)) from flaw
        self._experiments.put(experiment)

    def _is_due(self, identity: list[str | None], entry: object, place: str) -> bool:
        """Whether the entry is new or was edited since it was last applied; notes that it now is."""
        key = json.dumps(identity)
        if key in self._seen:
            raise _SeedError(f"{place} is there twice: {' '.join(filter(None, identity))}")
        self._seen.add(key)
        digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode("ascii")).hexdigest()
        row = self._database.one("SELECT digest FROM seeded WHERE entry = ?", (key,))
        if row is not None and row["digest"] == digest:
            return False
        self._database.execute("INSERT OR REPLACE INTO seeded VALUES (?, ?)", (key, digest))
        return True


def _check(entry: object, fields: Mapping[str, Field], place: str, at: str | None = None) -> None:
    _refuse(object_refusal(entry, fields, place, at=f"{place}." if at is None else at))


def _refuse(flaw: str | None) -> None:
    if flaw is not None:
        raise _SeedError(flaw)


def _entries(parent: Mapping[str, Sequence[Any]], name: str, at: str = "") -> Iterator[tuple[str, Any]]:
    """The elements of a list, each with its place in words."""
    for index, entry in enumerate(parent.get(name, ())):
        yield f"{at}{name}[{index}]", entry


def _as_prompt(entry: Mapping[str, Any]) -> Prompt:
    return Prompt(
        new_prompt_id(),
        entry["name"],
        entry["content"],
        version=entry.get("version", FIRST_VERSION),
        branch=entry.get("branch", DEFAULT_BRANCH),
        project=entry.get("project"),
        enable_logging=entry.get("enable_logging", True),
        metadata=entry.get("metadata", {}),
    )


def _prompt_versions(entry: Mapping[str, Any], prompt: Prompt, place: str) -> dict[str, str]:
    versions = {prompt.version: prompt.content}
    for spot, each in _entries(entry, "versions", at=f"{place}."):
        _check(each, _VERSION, spot)
        if versions.setdefault(each["version"], each["content"]) != each["content"]:
            raise _SeedError(
                f"{spot}.content must be that of the same version elsewhere, was {shown(each['content'])}"
            )
    return versions
