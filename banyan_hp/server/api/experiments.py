"""Experiments: managing them, routing one sticky value, and the usage that came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery

from ..allocation import allocated
from ..analysis.settings import Analysis
from ..moves import moves
from ..store.calls import CallFilter
from ..store.experiments import NEWEST_ALLOCATION, Experiment, OutdatedError, Variant
from ..store.prompts import Prompt, Version
from . import prompt_response_models
from .auth import Administering, Caller, Callers, Ingesting, Reading, refuse_other_project
from .experiment_bodies import ExperimentChange, ExperimentVersion, Listed, NewExperiment, RouteRequest
from .experiment_checks import checked, warnings_about
from .forms import configuration, prompt_as_json
from .models import shown
from .prompts import stored_content, version_of
from .requests import JsonRoute
from .responses import Json, UnfitError, tagged
from .state import Backend, Stores

_EVERY = "/api/experiments"
_ONE = f"{_EVERY}/{{experiment_id:path}}"
_TRIES = 10  # of a change that others get in the way of

router = APIRouter(route_class=JsonRoute, tags=["experiments"])


@router.get(_EVERY, response_model=prompt_response_models.ExperimentsPage)
def listed(query: Annotated[Listed, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """The experiments of the project, in order of their making. `next` is `after` of the following page."""
    refuse_other_project("project_id", query.project_id, caller)
    found = backend.experiments.page(
        caller.project,
        query.prompt_name or None,
        query.branch or None,
        query.status or None,
        limit=query.limit,
        after=query.after,
    )
    shown_all = [_on(each.prompt_name, each.branch, each.experiment) for each in found.items]
    return Json({"experiments": shown_all, "next": found.next})


@router.post(_EVERY, status_code=201, response_model=prompt_response_models.StoredExperiment)
def create(body: NewExperiment, caller: Administering, backend: Backend) -> Response:
    """Make an experiment on a prompt."""
    refuse_other_project("project_id", body.project_id, caller)
    experiment = experiment_of(body, caller.project, backend)
    backend.experiments.add(experiment, caller.actor)
    return _stored(caller, experiment.experiment_id, body, backend, 201)


def experiment_of(
    body: NewExperiment, project: str, backend: Stores, before: Experiment | None = None
) -> Experiment:
    """The experiment that a good body makes. It keeps the users of one that was there before.

    Raises:
        UnfitError: there is no such prompt, or it lacks a version that is to be taken from it.
    """
    prompt = backend.prompts.find(project, body.prompt_name, body.branch)
    if prompt is None:
        named = shown(body.prompt_name)
        raise UnfitError(f"prompt_name must be a stored prompt on branch {body.branch!r}, was {named}")
    experiment_id = body.experiment_id or str(uuid.uuid4())
    usual = before.allocation if before is not None else NEWEST_ALLOCATION
    experiment = Experiment(
        project=project,
        experiment_id=experiment_id,
        prompt_id=prompt.prompt_id,
        status=body.status,
        sticky_type=body.sticky_type,
        salt=body.salt or experiment_id,
        variants=_variants(body.versions, prompt, backend),
        allocation=body.allocation or usual,
        control=body.control,
        primary_metric=body.primary_metric,
        analysis=_analysis(body, Analysis()),
    )
    return with_slots(checked(experiment, before, backend), before)


@router.post(f"{_EVERY}/route", response_model=prompt_response_models.RoutedPrompt)
def route(body: RouteRequest, request: Request, caller: Ingesting, backend: Backend) -> Response:
    """The version that a sticky value gets."""
    callers: Callers = request.app.state.callers
    named = callers.of(body.apiKey)
    if named is None:
        raise HTTPException(401, "apiKey is not one of this backend's")
    if named.project != caller.project:
        mine = f"the caller's is for {caller.project!r}"
        raise HTTPException(403, f"apiKey is for project {named.project!r}, {mine}")
    experiment, prompt = _found(caller, body.experimentId, backend)
    if body.stickyKey != experiment.sticky_type:
        wanted = f"{experiment.sticky_type!r}, the experiment's sticky_type"
        raise UnfitError(f"stickyKey must be {wanted}, was {shown(body.stickyKey)}")
    variant = experiment.variant_for(body.stickyValue) if experiment.running else None
    if variant is None:
        return _routed(prompt, _released(prompt, backend), None)
    return _routed(prompt, version_of(variant), variant.experiment_version_id)


@router.get(f"{_ONE}/usage", response_model=prompt_response_models.UsageOfVersions)
def usage(experiment_id: str, caller: Reading, backend: Backend) -> Response:
    """How many calls came of each version: of those the experiment has, and of any it had."""
    experiment, _ = _found(caller, experiment_id, backend)
    chosen = CallFilter(project=caller.project, equal={"experiment_id": experiment_id})
    counts = {each.experiment_version_id: 0 for each in experiment.variants}
    for group in backend.calls.aggregate(chosen, ["experiment_version_id"]):
        if group.by[0] is not None:
            counts[group.by[0]] = group.calls
    return Json({"experiment_id": experiment_id, "versions": counts})


@router.get(_ONE, response_model=prompt_response_models.ShownExperiment)
def details(experiment_id: str, request: Request, caller: Ingesting, backend: Backend) -> Response:
    """One experiment."""
    return tagged(request, _as_json(*_found(caller, experiment_id, backend)))


@router.put(_ONE, response_model=prompt_response_models.StoredExperiment | prompt_response_models.DryRun)
def change(experiment_id: str, body: ExperimentChange, caller: Administering, backend: Backend) -> Response:
    """Change an experiment; users keep their versions as far as the new percentages let them.

    Two changes at once are made one after the other: what one of them leaves out stays as the other made it.
    """
    for _ in range(_TRIES):
        experiment, prompt = _found(caller, experiment_id, backend)
        changed = changed_by(body, experiment, prompt, backend)
        if body.dry_run:
            report = {"dry_run": True, "moves": moves(experiment, changed).as_json()}
            return Json({**report, "experiment": _as_json(changed, prompt)})
        with suppress(OutdatedError):
            backend.experiments.put(changed, caller.actor, instead_of=experiment)
            return _stored(caller, experiment_id, body, backend, 200)
    raise HTTPException(409, f"experiment {experiment_id!r} is being changed by others; try again")


def changed_by(body: ExperimentChange, old: Experiment, prompt: Prompt, backend: Backend) -> Experiment:
    """What a change makes of an experiment; `UnfitError` where it does not fit."""
    given: dict[str, Any] = {
        name: value
        for name in ("status", "sticky_type", "salt", "control", "primary_metric")
        if (value := getattr(body, name)) is not None
    }
    given["analysis"] = _analysis(body, old.analysis)
    if body.versions is not None:
        given["variants"] = _variants(body.versions, prompt, backend)
    return with_slots(checked(replace(old, **given), old, backend), old)


@router.delete(_ONE, response_model=prompt_response_models.RemovedExperiment)
def remove(experiment_id: str, caller: Administering, backend: Backend) -> Response:
    """Remove an experiment. The calls that it routed stay."""
    experiment, _ = _found(caller, experiment_id, backend)
    backend.experiments.remove(experiment, caller.actor)
    return Json({"experiment_id": experiment_id, "deleted": True})


def _found(caller: Caller, experiment_id: str, backend: Backend) -> tuple[Experiment, Prompt]:
    experiment = backend.experiments.get(caller.project, experiment_id)
    if experiment is None:
        raise HTTPException(404, f"experiment {experiment_id!r} not found")
    return experiment, _prompt_of(experiment, backend)


def _prompt_of(experiment: Experiment, backend: Backend) -> Prompt:
    prompt = backend.prompts.get(experiment.project, experiment.prompt_id)
    if prompt is None:  # removed this moment
        raise HTTPException(404, f"experiment {experiment.experiment_id!r} not found")
    return prompt


def _variants(versions: Sequence[ExperimentVersion], prompt: Prompt, backend: Backend) -> tuple[Variant, ...]:
    return tuple(_variant(index, each, prompt, backend) for index, each in enumerate(versions))


def _variant(index: int, given: ExperimentVersion, prompt: Prompt, backend: Backend) -> Variant:
    own = Variant(
        experiment_version_id=given.experiment_version_id,
        version=given.version,
        traffic_percentage=given.traffic_percentage,
    )
    if given.content is not None:
        return replace(own, content=stored_content(given.content), config=given.config)
    if given.config is not None:
        raise UnfitError(
            f"versions[{index}].config must come with content, or be that of the prompt's version"
        )
    found = backend.prompts.version(prompt, given.version)
    if found is None:
        wanted = f"a stored version of prompt {prompt.name!r}, or come with content"
        raise UnfitError(f"versions[{index}].version must be {wanted}, was {shown(given.version)}")
    return replace(own, content=found.content, config=found.config, follows=True)


def _analysis(body: NewExperiment | ExperimentChange, before: Analysis) -> Analysis:
    """As it was before, but for what is given."""
    names = ("window_seconds", "guards", "directions")
    given = body.model_dump(include=set(names), exclude_none=True)
    return Analysis.of({**before.as_json(), **given})


def with_slots(experiment: Experiment, before: Experiment | None) -> Experiment:
    """The same with slots for its percentages, as near as can be to those that it had before."""
    if not experiment.has_slots:
        return experiment
    held = (
        {each.experiment_version_id: tuple(each.slots) for each in before.variants}
        if before is not None
        else {}
    )
    wanted = {each.experiment_version_id: each.traffic_percentage for each in experiment.variants}
    slots = allocated(wanted, held)
    variants = [replace(each, slots=slots[each.experiment_version_id]) for each in experiment.variants]
    return replace(experiment, variants=tuple(variants))


def _stored(
    caller: Caller, name: str, body: NewExperiment | ExperimentChange, backend: Backend, status: int
) -> Response:
    """The experiment as it is now, with what may be wrong about the metrics that the body names."""
    experiment, prompt = _found(caller, name, backend)
    warnings = warnings_about(experiment, backend) if body.guards or body.primary_metric else {}
    return Json({**_as_json(experiment, prompt), **warnings}, status)


def _as_json(experiment: Experiment, prompt: Prompt) -> dict[str, Any]:
    return _on(prompt.name, prompt.branch, experiment)


def _on(prompt_name: str, branch: str, experiment: Experiment) -> dict[str, Any]:
    """The JSON of an experiment on this prompt."""
    where = {"prompt_name": prompt_name, "branch": branch, "project_id": experiment.project}
    aims = {"control": experiment.control, "primary_metric": experiment.primary_metric}
    return {**where, **configuration(experiment), **aims, **experiment.analysis.as_json()}


def _released(prompt: Prompt, backend: Backend) -> Version:
    version = backend.prompts.version(prompt, prompt.version) if prompt.version is not None else None
    return version or Version(version="", content="")


def _routed(prompt: Prompt, version: Version, selected: str | None) -> Response:
    return Json({"prompt": prompt_as_json(prompt, version), "selected_version_id": selected})
