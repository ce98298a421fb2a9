"""Experiments: what is running, what came of it, and the buttons that start, pause, finish and release."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery

from ..analysis.guarding import Trip
from ..api.experiments import ExperimentChange, change
from ..api.results import Wanted, reckoned
from ..api.state import Backend, Stores
from ..guards import said
from ..results import GUARDED, control_of
from ..store.experiments import RUNNING, Experiment, Variant
from ..store.prompts import Prompt, Version
from . import forest
from .rendering import PageRoute, page, redirect
from .visitors import Changing, Looking, Post, Visitor

FINISHED = "finished"
_SETTABLE = (RUNNING, "paused", FINISHED)
_SHOWN_CHANGES = 20
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/experiments")
def listed(request: Request, visitor: Looking, backend: Backend) -> Response:
    """The experiments of the project, newest first."""
    project = visitor.caller.project
    found = list(reversed(backend.experiments.listed(project)))
    ids = {each.prompt_id for each in found}
    names = {each: backend.prompts.get(project, each) for each in ids}
    prompts = backend.prompts.listed(project, limit=1).items
    return page(request, "experiments", visitor, experiments=found, prompts=names, none=not prompts)


@router.get("/experiments/{experiment_id:path}")
def one(
    request: Request,
    experiment_id: str,
    query: Annotated[Wanted, FromQuery()],
    visitor: Looking,
    backend: Backend,
) -> Response:
    """One experiment and its results, those of the results API."""
    experiment, prompt = _found(experiment_id, visitor, backend)
    results = reckoned(experiment, query, backend)
    names = {each["experiment_version_id"]: each["version"] for each in results["versions"]}
    measured = [each for each in results["metrics"] if any(one["users"] for one in each["versions"])]
    subject = f"experiment:{experiment_id}"
    return page(
        request,
        "experiment",
        visitor,
        experiment=experiment,
        prompt=prompt,
        control=control_of(experiment),
        results=results,
        names=names,
        measured=[(each, forest.forest(each["versions"], names)) for each in measured],
        unmeasured=[each["name"] for each in results["metrics"] if each not in measured],
        winner=_releasable(experiment, results) if not request.query_params else None,
        tripped=_tripped(experiment, backend),
        changes=backend.audit.of(prompt.project, subject, _SHOWN_CHANGES).items,
        width=forest.WIDTH,
        say=forest,
    )


@router.post("/experiments/{experiment_id:path}/status")
def set_status(experiment_id: str, post: Changing, backend: Backend) -> Response:
    """Start, pause or finish an experiment."""
    status = post.fields.get("status", "")
    if status not in _SETTABLE:
        raise HTTPException(400, f"status must be one of {', '.join(_SETTABLE)}, was {status!r}")
    change(experiment_id, ExperimentChange(status=status), post.visitor.caller, backend)
    return redirect(address(experiment_id))


@router.post("/experiments/{experiment_id:path}/release")
def release(experiment_id: str, post: Changing, backend: Backend) -> Response:
    """Serve the winning version to everybody, then finish the experiment.

    In this order nobody gets the old version in between; repeated, it does what is still to be done.
    """
    experiment, prompt = _found(experiment_id, post.visitor, backend)
    won = _releasable(experiment, reckoned(experiment, Wanted(), backend))
    if won is None or won.experiment_version_id != post.fields.get("winner"):
        raise HTTPException(409, "The results name another winner now, or none; look at them again.")
    _store_own(won, experiment, prompt, post, backend)
    backend.prompts.release(prompt, won.version, post.visitor.caller.actor)
    if experiment.status != FINISHED:
        change(experiment_id, ExperimentChange(status=FINISHED), post.visitor.caller, backend)
    return redirect(address(experiment_id))


def _store_own(won: Variant, experiment: Experiment, prompt: Prompt, post: Post, backend: Stores) -> None:
    """Content that only the experiment has becomes a version of the prompt, so that it can be released."""
    stored = backend.prompts.version(prompt, won.version)
    if stored is None:
        message = f"won experiment {experiment.experiment_id}"
        own = Version(version=won.version, content=won.content, config=won.config, change_message=message)
        backend.prompts.add_version(prompt, own, post.visitor.caller.actor, release=False)
    elif (stored.content, stored.config) != (won.content, won.config):
        raise HTTPException(
            409,
            f"Prompt {prompt.name!r} has a version {won.version!r} whose content is not that which won. Save "
            "the winning content as a draft of another name on the prompt's page, release it there, and "
            "finish the experiment.",
        )


def address(experiment_id: str) -> str:
    """The page of an experiment."""
    return f"/experiments/{quote(experiment_id)}"


def _found(experiment_id: str, visitor: Visitor, backend: Stores) -> tuple[Experiment, Prompt]:
    project = visitor.caller.project
    experiment = backend.experiments.get(project, experiment_id)
    prompt = backend.prompts.get(project, experiment.prompt_id) if experiment is not None else None
    if experiment is None or prompt is None:
        raise HTTPException(404, f"There is no experiment {experiment_id!r} in project {project!r}.")
    return experiment, prompt


def _releasable(experiment: Experiment, results: dict[str, Any]) -> Variant | None:
    """The version that has won, if it still is one of the experiment's."""
    won = results["decision"]["winner"]
    return next((each for each in experiment.variants if each.experiment_version_id == won), None)


def _tripped(experiment: Experiment, backend: Stores) -> list[tuple[Any, str]]:
    """What guards did, newest first: when, and in words."""
    subject = f"experiment:{experiment.experiment_id}"
    entries = reversed(backend.audit.all_of(experiment.project, subject, GUARDED))
    return [
        (each.at, said(experiment, name, Trip(**trip)))
        for each in entries
        for name, trip in each.detail["reason"]["paused"].items()
    ]
