"""Seed files: projects, prompts and experiments that a database starts out with.

An entry is applied once and its digest kept, so that loading a file again changes nothing, not even
what was changed through the API in between; an entry that was edited since is applied again. A file is
checked as a whole before anything of it is applied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from .api.experiment_bodies import NewExperiment
from .api.experiments import experiment_of
from .api.models import Json, Name, Strict, shown
from .api.prompts import ContentField, stored_content
from .api.requests import parse_json
from .api.responses import UnfitError
from .api.state import Stores
from .starting import ROUTING_MODES, RoutingMode, StartError
from .store.audit import Actor
from .store.keys import DEFAULT_PROJECT, Project
from .store.prompts import DEFAULT_BRANCH, FIRST_VERSION, Prompt, Version
from .store.seeded import Seeded

_BY = "seed"


class SeedProject(Strict):
    """A project."""

    id: Name
    name: Name | None = None


_Project = Annotated[
    SeedProject, BeforeValidator(lambda entry: {"id": entry} if isinstance(entry, str) else entry)
]


class SeedVersion(Strict):
    """A version of a prompt."""

    version: Name
    content: ContentField
    config: Json | None = None


class SeedPrompt(Strict):
    """A prompt, its released version, and others."""

    name: Name
    content: ContentField
    version: Name = FIRST_VERSION
    branch: Name = DEFAULT_BRANCH
    project: Name = DEFAULT_PROJECT
    enable_logging: Annotated[bool, Field(description="true or false")] = True
    metadata: Json | None = None
    config: Json | None = None
    versions: Annotated[Sequence[SeedVersion], Field(description="a list")] = ()


class SeedExperiment(NewExperiment):
    """An experiment, which must have an id, and may name its project."""

    experiment_id: Name
    project: Name = DEFAULT_PROJECT


class Seed(Strict):
    """A seed file."""

    called: ClassVar[str] = "seed"
    routing: Annotated[
        str | None,
        Field(description=f"one of {', '.join(ROUTING_MODES)}", pattern=f"^({'|'.join(ROUTING_MODES)})$"),
    ] = None
    projects: Annotated[list[_Project], Field(description="a list", default_factory=list)]
    prompts: Annotated[list[SeedPrompt], Field(description="a list", default_factory=list)]
    experiments: Annotated[list[SeedExperiment], Field(description="a list", default_factory=list)]


def load_seed(path: Path, stores: Stores, seeded: Seeded) -> RoutingMode | None:
    """Apply the file to the database.

    Returns:
        the routing mode that the file asks for, if it does.

    Raises:
        StartError: the file can't be read or used; then nothing of it is applied.
    """
    seed = _read(path)
    try:
        _Loader(stores, seeded).load(seed)
    except UnfitError as flaw:
        raise StartError(f"the seed {path} can't be used: {flaw}") from flaw
    return RoutingMode(seed.routing) if seed.routing is not None else None


def _read(path: Path) -> Seed:
    try:
        return Seed.model_validate(parse_json(path.read_bytes()))
    except OSError as error:
        raise StartError(f"can't read the seed {path}: {error.strerror}") from error
    except ValidationError as error:
        raise StartError(f"the seed {path} can't be used: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise StartError(f"the seed {path} isn't valid JSON: {error}") from error


class _Loader:
    def __init__(self, stores: Stores, seeded: Seeded) -> None:
        self._stores = stores
        self._seeded = seeded
        self._seen: set[str] = set()

    def load(self, seed: Seed) -> None:
        due: list[Callable[[], None]] = []
        for index, project in enumerate(seed.projects):
            due += self._due(f"projects[{index}]", ("project", project.id), project, self._put_project)
        for index, prompt in enumerate(seed.prompts):
            identity = ("prompt", prompt.name, prompt.branch, prompt.project)
            _check_versions(prompt, f"prompts[{index}]")
            due += self._due(f"prompts[{index}]", identity, prompt, self._put_prompt)
        for index, experiment in enumerate(seed.experiments):
            place, name = f"experiments[{index}]", experiment.experiment_id
            self._check_experiment(experiment, seed, place)
            due += self._due(place, ("experiment", name), experiment, self._put_experiment)
        for apply in due:
            apply()

    def _due(
        self, place: str, identity: Sequence[str], entry: BaseModel, put: Callable[[Any], None]
    ) -> list[Callable[[], None]]:
        """What applies the entry, if it is new or was edited since it was last applied."""
        key = json.dumps(identity)
        if key in self._seen:
            raise UnfitError(f"{place} is there twice: {' '.join(identity)}")
        self._seen.add(key)
        digest = hashlib.sha256(entry.model_dump_json().encode("utf-8")).hexdigest()
        if self._seeded.digest(key) == digest:
            return []

        def apply() -> None:
            put(entry)
            self._seeded.note(key, digest)

        return [apply]

    def _put_project(self, entry: SeedProject) -> None:
        self._stores.projects.put(Project(entry.id, entry.name or entry.id))

    def _put_prompt(self, entry: SeedPrompt) -> None:
        prompts, actor = self._stores.prompts, Actor(entry.project, _BY)
        others = {each.version: _version_of(each) for each in entry.versions}
        versions = {**others, entry.version: _version_of(entry)}
        found = prompts.find(entry.project, entry.name, entry.branch)
        if found is None:
            found = Prompt(project=entry.project, name=entry.name, branch=entry.branch)
            prompts.create(found, next(iter(versions.values())), actor, release=False)
        changed = replace(found, enable_logging=entry.enable_logging, metadata=entry.metadata or {})
        prompts.change(changed, actor)
        for version in versions.values():
            if prompts.version(found, version.version) is None:
                prompts.add_version(found, version, actor, release=False)
            else:
                prompts.rewrite(found, version, actor)
        prompts.release(found, entry.version, actor)

    def _put_experiment(self, entry: SeedExperiment) -> None:
        actor = Actor(entry.project, _BY)
        before = self._stores.experiments.get(entry.project, entry.experiment_id)
        experiment = experiment_of(entry, entry.project, self._stores, before)
        if before is None:
            self._stores.experiments.add(experiment, actor)
        else:
            self._stores.experiments.put(experiment, actor, instead_of=before)

    def _check_experiment(self, entry: SeedExperiment, seed: Seed, place: str) -> None:
        """Its prompt and the versions it takes from there must be in the seed, or in the database."""
        own = [p for p in seed.prompts if (p.name, p.branch, p.project) == _prompt_of(entry)]
        stored = self._stores.prompts.find(entry.project, entry.prompt_name, entry.branch)
        if not own and stored is None:
            where = f"a prompt on branch {entry.branch!r}"
            raise UnfitError(f"{place}.prompt_name must be {where}, was {shown(entry.prompt_name)}")
        known = {prompt.version for prompt in own}
        known |= {each.version for prompt in own for each in prompt.versions}
        for index, version in enumerate(entry.versions):
            there = version.version in known or (
                stored is not None and self._stores.prompts.version(stored, version.version) is not None
            )
            if version.content is None and not there:
                wanted = f"a stored version of prompt {entry.prompt_name!r}, or come with content"
                named = shown(version.version)
                raise UnfitError(f"{place}.versions[{index}].version must be {wanted}, was {named}")


def _version_of(entry: SeedPrompt | SeedVersion) -> Version:
    return Version(version=entry.version, content=stored_content(entry.content), config=entry.config)


def _prompt_of(entry: SeedExperiment) -> tuple[str, str, str]:
    return entry.prompt_name, entry.branch, entry.project


def _check_versions(prompt: SeedPrompt, place: str) -> None:
    contents: dict[str, object] = {prompt.version: prompt.content}
    for index, each in enumerate(prompt.versions):
        if contents.setdefault(each.version, each.content) != each.content:
            wanted = "that of the same version elsewhere"
            where = f"{place}.versions[{index}].content"
            raise UnfitError(f"{where} must be {wanted}, was {shown(each.content)}")
