"""Prompts: fetching one (with an experiment's choice, if one applies), and managing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..starting import RoutingMode
from ..store.experiments import Experiment, Variant
from ..store.prompts import DEFAULT_BRANCH, FIRST_VERSION, PRODUCTION, Content, Prompt, Version
from . import prompt_response_models
from .auth import Administering, Caller, Ingesting, Reading, refuse_other_project
from .forms import configuration, prompt_as_json, version_as_json
from .models import MAX_NAME, Name, Paged, Query, Strict, Words, shown
from .models import Json as JsonObject
from .requests import JsonRoute
from .responses import BAD_QUERY, Json, UnfitError, tagged
from .state import Backend

MANAGED = "/api/logs/cli/prompts"
router = APIRouter(route_class=JsonRoute, tags=["prompts"])


class Message(Strict):
    """A message of a chat prompt."""

    called: ClassVar[str] = "message"

    role: Name
    content: Words
    name: Words | None = None


ContentField = Annotated[
    str | Annotated[list[Message], Field(min_length=1)],
    Field(description="a string, or a list of messages with role and content"),
]


class NewPrompt(Strict):
    """A prompt with its first version."""

    name: Name
    content: ContentField
    branch: Name = DEFAULT_BRANCH
    metadata: JsonObject | None = None
    project_id: Name | None = None
    version: Name = FIRST_VERSION
    change_message: Words | None = None
    config: JsonObject | None = None
    release: Annotated[bool, Field(description="true or false")] = True


class NewVersion(Strict):
    """A further version of a prompt."""

    name: Name
    version: Name
    content: ContentField
    branch: Name = DEFAULT_BRANCH
    metadata: JsonObject | None = None
    project_id: Name | None = None
    change_message: Words | None = None
    config: JsonObject | None = None
    after: Annotated[
        Name | None, Field(description="the `revision` of the newest version, which the new one is to follow")
    ] = None
    release: Annotated[bool, Field(description="true or false")] = True


class PromptChange(Strict):
    """What to change about a prompt."""

    version: Name | None = None
    content: ContentField | None = None
    metadata: JsonObject | None = None
    branch: Name | None = None
    enable_logging: Annotated[bool | None, Field(description="true or false")] = None


_VersionOrNone = Annotated[
    Name | None, Field(description=f"a string of 1 to {MAX_NAME} characters, or null for none")
]


class Release(Strict):
    """A version to be served from now on; null: none. It has to be said: an empty body takes nothing away."""

    version: _VersionOrNone


class Label(Strict):
    """Where a label points; a version of null: nowhere any more."""

    version: _VersionOrNone


class Fetched(Query):
    """Which prompt."""

    branch: Words = DEFAULT_BRANCH
    version: Words | None = None
    label: Words | None = None
    sticky_key: Annotated[list[str], Field(description="texts", default_factory=list)]
    sticky_value: Annotated[list[str], Field(description="texts", default_factory=list)]


class Listed(Paged):
    """Which prompts, and which page of them."""

    branch: Words | None = None
    name: Words | None = None
    project_id: Words | None = None


# -- fetched -------------------------------------------------------------------------------------------------


@router.get("/api/logs/prompt/{name:path}", response_model=prompt_response_models.FetchedPrompt)
def fetch(
    name: str, request: Request, query: Annotated[Fetched, FromQuery()], caller: Ingesting, backend: Backend
) -> Response:
    """A prompt: the released version, that of a label, or one by name; or an experiment's choice."""
    sticky = _sticky_pairs(query)
    if query.version is not None and query.label is not None:
        raise HTTPException(BAD_QUERY, "version and label exclude each other; give one of them")
    prompt = backend.prompts.find(caller.project, name, query.branch)
    if prompt is None:
        raise HTTPException(404, f"prompt {name!r} not found on branch {query.branch!r}")
    version = _wanted(prompt, query, backend)
    labelled = {"label": query.label} if query.label is not None else {}
    pinned = query.version is not None or query.label is not None
    served, routed = _routed(prompt, version, sticky, backend, pinned=pinned)
    return tagged(request, {**prompt_as_json(prompt, served), **labelled, **routed})


def _wanted(prompt: Prompt, query: Fetched, backend: Backend) -> Version:
    named = query.version or prompt.version_of(query.label)
    found = backend.prompts.version(prompt, named) if named is not None else None
    if found is not None:
        return found
    where = f"prompt {prompt.name!r} on branch {prompt.branch!r}"
    if query.version is not None:
        raise HTTPException(
            404, f"prompt {prompt.name!r} has no version {named!r} on branch {prompt.branch!r}"
        )
    if query.label is not None:
        raise HTTPException(404, f"{where} has no label {query.label!r}")
    raise HTTPException(404, f"{where} has no released version")


def _sticky_pairs(query: Fetched) -> list[tuple[str, str]]:
    keys, values = query.sticky_key, query.sticky_value
    if len(keys) != len(values):
        counts = f"{len(keys)} to {len(values)}"
        raise HTTPException(BAD_QUERY, f"sticky_key must be as many as sticky_value, was {counts}")
    return list(zip(keys, values, strict=True))


def _routed(
    prompt: Prompt,
    version: Version,
    sticky: Sequence[tuple[str, str]],
    backend: Backend,
    *,
    pinned: bool,
) -> tuple[Version, dict[str, Any]]:
    """What is served, and the fields that experiments add to it."""
    if not sticky or backend.routing is RoutingMode.NONE:
        return version, {}
    if pinned:  # whatever experiment runs, the caller gets the version that it named
        return version, {"experiment_id": None}
    on_prompt = backend.experiments.on(prompt.project, prompt.prompt_id)
    if backend.routing is RoutingMode.CLIENT:
        return version, {"experiments": [configuration(each) for each in on_prompt]}
    return _assignment(version, on_prompt, sticky)


def _assignment(
    version: Version, on_prompt: Sequence[Experiment], sticky: Sequence[tuple[str, str]]
) -> tuple[Version, dict[str, Any]]:
    running = [each for each in on_prompt if each.running]
    applied = next(
        ((each, value) for key, value in sticky for each in running if each.sticky_type == key), None
    )
    variant = applied[0].variant_for(applied[1]) if applied is not None else None
    if applied is None or variant is None:
        return version, {"experiment_id": None}
    experiment, value = applied
    return version_of(variant), {
        "experiment_id": experiment.experiment_id,
        "experiment_version_id": variant.experiment_version_id,
        "sticky_key": experiment.sticky_type,
        "sticky_value": value,
    }


def version_of(variant: Variant) -> Version:
    """What an experiment serves as a version."""
    return Version(version=variant.version, content=variant.content, config=variant.config)


# -- managed -------------------------------------------------------------------------------------------------


@router.get(MANAGED, response_model=prompt_response_models.PromptsPage)
def listed(query: Annotated[Listed, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """The prompts of the project, in order of their making. `next` is `after` of the following page."""
    refuse_other_project("project_id", query.project_id, caller)
    found = backend.prompts.listed(
        caller.project, query.branch or None, query.name or None, limit=query.limit, after=query.after
    )
    shown_all = [{**_as_json(each.prompt, each.served), "newest": each.newest} for each in found.items]
    return Json({"prompts": shown_all, "next": found.next})


@router.post(MANAGED, status_code=201, response_model=prompt_response_models.ManagedPrompt)
def create(body: NewPrompt, caller: Administering, backend: Backend) -> Response:
    """Make a prompt with its first version, which is released unless `release` is false."""
    refuse_other_project("project_id", body.project_id, caller)
    prompt = Prompt(project=caller.project, name=body.name, branch=body.branch, metadata=body.metadata or {})
    first = Version(
        version=body.version,
        content=stored_content(body.content),
        config=body.config,
        change_message=body.change_message,
    )
    backend.prompts.create(prompt, first, caller.actor, release=body.release)
    return Json(_managed(_get(caller, prompt.prompt_id, backend), backend), 201)


@router.post(f"{MANAGED}/version", status_code=201, response_model=prompt_response_models.ManagedPrompt)
def create_version(body: NewVersion, caller: Administering, backend: Backend) -> Response:
    """Make a further version, which is released unless `release` is false.

    With `after` only if nobody has changed the prompt since; else 409.
    """
    refuse_other_project("project_id", body.project_id, caller)
    prompt = backend.prompts.find(caller.project, body.name, body.branch)
    if prompt is None:
        raise HTTPException(404, f"prompt {body.name!r} not found on branch {body.branch!r}")
    version = Version(
        version=body.version,
        content=stored_content(body.content),
        config=body.config,
        change_message=body.change_message,
    )
    backend.prompts.add_version(prompt, version, caller.actor, release=body.release, after=body.after)
    if body.metadata is not None:
        backend.prompts.change(replace(prompt, metadata=body.metadata), caller.actor)
    return Json(_managed(_get(caller, prompt.prompt_id, backend), backend, body.version), 201)


@router.put(f"{MANAGED}/{{prompt_id}}", response_model=prompt_response_models.ManagedPrompt)
def change(prompt_id: str, body: PromptChange, caller: Administering, backend: Backend) -> Response:
    """Change a prompt, or the content of the version that is served."""
    prompt = _get(caller, prompt_id, backend)
    if body.version is not None:
        _require_version(prompt, body.version, backend)
    given = {
        name: value
        for name in ("metadata", "branch", "enable_logging")
        if (value := getattr(body, name)) is not None
    }
    if given:
        prompt = replace(prompt, **given)
        backend.prompts.change(prompt, caller.actor)
    if body.version is not None:
        backend.prompts.release(prompt, body.version, caller.actor)
    named = body.version or prompt.version
    served = backend.prompts.version(prompt, named) if named is not None else None
    if body.content is not None and served is not None:
        rewritten = replace(served, content=stored_content(body.content))
        backend.prompts.rewrite(prompt, rewritten, caller.actor)
    return Json(_managed(_get(caller, prompt_id, backend), backend))


@router.put(f"{MANAGED}/{{prompt_id}}/release", response_model=prompt_response_models.ManagedPrompt)
def release(prompt_id: str, body: Release, caller: Administering, backend: Backend) -> Response:
    """Serve a version from now on; an earlier one again undoes a release, and null serves none."""
    prompt = _get(caller, prompt_id, backend)
    if body.version is not None:
        _require_version(prompt, body.version, backend)
    backend.prompts.release(prompt, body.version, caller.actor)
    return Json(_managed(_get(caller, prompt_id, backend), backend))


@router.put(f"{MANAGED}/{{prompt_id}}/labels/{{label}}", response_model=prompt_response_models.ManagedPrompt)
def label(
    prompt_id: str,
    label: Annotated[Name, Path()],
    body: Label,
    caller: Administering,
    backend: Backend,
) -> Response:
    """Have a label point to a version; `production` is the released one, and points where a release does."""
    prompt = _get(caller, prompt_id, backend)
    if label == PRODUCTION:
        raise UnfitError("label 'production' points to the released version: release one instead")
    if body.version is not None:
        _require_version(prompt, body.version, backend)
    backend.prompts.label(prompt, label, body.version, caller.actor)
    return Json(_managed(_get(caller, prompt_id, backend), backend))


@router.get(f"{MANAGED}/{{prompt_id}}/versions", response_model=prompt_response_models.VersionsPage)
def versions(
    prompt_id: str, query: Annotated[Paged, FromQuery()], caller: Reading, backend: Backend
) -> Response:
    """All versions of a prompt, in order of their making. `next` is `after` of the following page."""
    prompt = _get(caller, prompt_id, backend)
    found = backend.prompts.versions(prompt, limit=query.limit, after=query.after)
    shown_all = [version_as_json(each, prompt) for each in found.items]
    return Json({"id": prompt_id, "versions": shown_all, "next": found.next})


@router.delete(f"{MANAGED}/{{prompt_id}}", response_model=prompt_response_models.RemovedPrompt)
def remove(prompt_id: str, caller: Administering, backend: Backend) -> Response:
    """Remove a prompt with its versions and experiments. What was logged with it stays."""
    prompt = _get(caller, prompt_id, backend)
    backend.prompts.remove(prompt, caller.actor)
    return Json({"id": prompt_id, "deleted": True})


def _get(caller: Caller, prompt_id: str, backend: Backend) -> Prompt:
    prompt = backend.prompts.get(caller.project, prompt_id)
    if prompt is None:
        raise HTTPException(404, f"prompt with id {prompt_id!r} not found")
    return prompt


def _require_version(prompt: Prompt, version: str, backend: Backend) -> None:
    if backend.prompts.version(prompt, version) is None:
        raise UnfitError(f"version must be a stored version of prompt {prompt.name!r}, was {shown(version)}")


def stored_content(content: str | list[Message]) -> Content:
    """A body's content as it is stored."""
    if isinstance(content, str):
        return content
    return [message.model_dump(exclude_none=True) for message in content]


def _managed(prompt: Prompt, backend: Backend, version: str | None = None) -> dict[str, Any]:
    named = version or prompt.version
    return _as_json(prompt, backend.prompts.version(prompt, named) if named is not None else None)


def _as_json(prompt: Prompt, version: Version | None) -> dict[str, Any]:
    """The JSON of management calls, with the names `id` and `project_id`."""
    as_fetched = prompt_as_json(prompt, version or Version(version="", content=""))
    own = {"id": as_fetched.pop("prompt_id"), "project_id": as_fetched.pop("project")}
    return {**own, **as_fetched, "released": prompt.version, "labels": dict(prompt.labels)}
