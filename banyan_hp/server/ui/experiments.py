"""Experiments: what is running, what came of it, and the buttons that start, pause, finish and release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..analysis.guarding import Trip
from ..api.experiment_bodies import ExperimentChange
from ..api.experiments import change
from ..api.models import Limit, Query, Words
from ..api.results import Wanted, moved, reckoned
from ..api.state import Backend, Stores
from ..guards import said
from ..results import GUARDED, ResultsOf, control_of
from ..store.experiments import RUNNING, Experiment, Variant
from ..store.prompts import Prompt, Version
from . import courses, forest
from .filters import address_with
from .refusals import Refusal
from .rendering import PageRoute, page, redirect
from .visitors import Changing, Looking, Post, Visitor

FINISHED = "finished"
_SETTABLE = (RUNNING, "paused", FINISHED)
_SHOWN_CHANGES = 20
_DAY = timedelta(days=1)
PAGE_EXPERIMENTS = 25
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Listed(Query):
    """Which page of the list."""

    page: Annotated[int, Field(description="a number from 1", ge=1, le=10**6)] = 1
    limit: Limit = PAGE_EXPERIMENTS

    def address(self, number: int) -> str:
        """Of another page."""
        limit = {"limit": str(self.limit)} if self.limit != PAGE_EXPERIMENTS else {}
        return address_with("/experiments", {**({"page": str(number)} if number > 1 else {}), **limit})


class Looked(Wanted):
    """Which results, and of which metric the course is drawn."""

    over_time: Annotated[Words | None, Field(description="a metric")] = None

    @property
    def is_usual(self) -> bool:
        """Whether the results are those that decide about a release."""
        return not self.model_fields_set - {"over_time"}


@dataclass(frozen=True, slots=True)
class Entered:
    """What was entered into a form of the page.

    Attributes:
        refusal: why it was refused.
        moved: what it would move, where that was asked.
        form: which: `shares` of the traffic, or `aims`.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None
    moved: Mapping[str, Any] | None = None
    form: str = "shares"


@router.get("/experiments")
def listed(
    request: Request, query: Annotated[Listed, FromQuery()], visitor: Looking, backend: Backend
) -> Response:
    """The experiments of the project, newest first."""
    project, skip = visitor.caller.project, (query.page - 1) * query.limit
    there = backend.experiments.newest(project, query.limit + 1, skip)
    found = there[: query.limit]
    now, results_of = datetime.now(UTC), ResultsOf(backend.outcomes, backend.audit)
    return page(
        request,
        "experiments",
        visitor,
        experiments=found,
        prompts={each.prompt_id: backend.prompts.get(project, each.prompt_id) for each in found},
        users=backend.outcomes.users_of(project, [each.experiment_id for each in found]),
        days={each.experiment_id: results_of.running_for(each, now) / _DAY for each in found},
        none=not backend.prompts.listed(project, limit=1).items,
        before=query.address(query.page - 1) if query.page > 1 else None,
        after=query.address(query.page + 1) if len(there) > query.limit else None,
    )


@router.get("/experiments/{experiment_id:path}")
def one(
    request: Request,
    experiment_id: str,
    query: Annotated[Looked, FromQuery()],
    visitor: Looking,
    backend: Backend,
) -> Response:
    """One experiment and its results, those of the results API."""
    experiment, prompt = found_by(experiment_id, visitor, backend)
    return shown(request, experiment, prompt, query, visitor, backend)


def shown(
    request: Request,
    experiment: Experiment,
    prompt: Prompt,
    query: Looked,
    visitor: Visitor,
    backend: Stores,
    entered: Entered | None = None,
    status: int = 200,
) -> Response:
    """Its page, with what was entered."""
    results = reckoned(experiment, query, backend)
    names = {each["experiment_version_id"]: each["version"] for each in results["versions"]}
    measured = [each for each in results["metrics"] if any(one["users"] for one in each["versions"])]
    subject = f"experiment:{experiment.experiment_id}"
    course_of = query.over_time or (measured[0]["name"] if measured else None)
    return page(
        request,
        "experiment",
        visitor,
        status,
        entered=entered or Entered(),
        blank=Entered(),
        kept=query.model_dump(include=query.model_fields_set - {"over_time", "metric"}),
        course=courses.drawn(moved(experiment, query, course_of, backend), names),
        drawing=courses,
        analysed=sum(each["analysed"] for each in results["versions"]),
        experiment=experiment,
        prompt=prompt,
        control=control_of(experiment),
        results=results,
        names=names,
        measured_in={each["name"]: each for each in results["metrics"]},
        measured=[(each, forest.forest(each["versions"], names)) for each in measured],
        unmeasured=[each["name"] for each in results["metrics"] if each not in measured],
        winner=_releasable(experiment, results) if query.is_usual else None,
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
    experiment, prompt = found_by(experiment_id, post.visitor, backend)
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


def found_by(experiment_id: str, visitor: Visitor, backend: Stores) -> tuple[Experiment, Prompt]:
    """An experiment and its prompt.

    Raises:
        HTTPException: 404, there is none of this id.
    """
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
