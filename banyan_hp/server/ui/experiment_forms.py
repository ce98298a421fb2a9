"""The form of a new experiment, and beside it how many users it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from ..analysis.metrics import BUILT_IN
from ..analysis.power import ALPHA, POWER, Design, proportions, users_needed
from ..api.experiment_bodies import NewExperiment
from ..api.experiments import experiment_of
from ..api.state import Backend, Stores
from ..store.experiments import RUNNING
from ..store.prompts import DEFAULT_BRANCH, Prompt, Version
from .experiments import address
from .refusals import EXACT, SHARES, RefusedError, number, refusing, shares
from .rendering import PageRoute, fragment, page, redirect
from .visitors import Changing, Looking, Visitor

GUARDS = 3  # that the form has room for
PROMPTS = 100  # that are listed to be chosen from
VERSIONS = 20  # of the chosen prompt
_HOUR = 3600
# Of parts of the body the fields; what is about all shares together is said above the form.
_FIELDS = {
    "experiment_id": "experiment_id",
    "sticky_type": "sticky_type",
    "primary_metric": "primary_metric",
    "directions": "better",
    "window_seconds": "window_hours",
}
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/experiments-new")
def form(
    request: Request,
    visitor: Looking,
    backend: Backend,
    prompt: str | None = None,
    name: str | None = None,
    branch: str | None = None,
) -> Response:
    """The form: first which prompt, by its id, or its name where too many are there; then the rest."""
    project = visitor.caller.project
    if name and name.strip():
        chosen = backend.prompts.find(project, name.strip(), branch or DEFAULT_BRANCH)
        lacking = None if chosen is not None else _no_prompt(name.strip(), branch or DEFAULT_BRANCH)
        return _page(request, visitor, backend, chosen, {}, lacking)
    chosen = backend.prompts.get(project, prompt) if prompt else None
    return _page(request, visitor, backend, chosen, {}, None)


def _no_prompt(name: str, branch: str) -> RefusedError:
    return RefusedError("name", f"There is no prompt {name!r} on branch {branch!r}.", 404)


def _choosable(prompt: Prompt, backend: Stores) -> list[Version]:
    """The newest versions, and the live one."""
    found = list(backend.prompts.versions(prompt, limit=VERSIONS, newest=True).items)
    if prompt.version is not None and prompt.version not in [each.version for each in found]:
        found += filter(None, (backend.prompts.version(prompt, prompt.version),))
    return found


def _page(
    request: Request,
    visitor: Visitor,
    backend: Stores,
    chosen: Prompt | None,
    entered: Mapping[str, str],
    refused: RefusedError | None,
) -> Response:
    """The form with what was entered, and what is wrong with it."""
    project, needed, unfit = visitor.caller.project, None, None
    try:
        needed = _needed(request.query_params)
    except RefusedError as error:
        unfit = error
    listed = backend.prompts.listed(project, limit=PROMPTS)
    there = [each.prompt for each in listed.items]
    wrong = refused or (unfit if not fragment(request) else None)  # htmx shows no part of a failure
    return page(
        request,
        "experiment_new",
        visitor,
        wrong.status if wrong is not None else 200,
        entered=entered,
        refusal=refused.refusal if refused is not None else None,
        unfit=unfit.refusal if unfit is not None else None,
        prompts=list({each.prompt_id: each for each in (*there, *filter(None, (chosen,)))}.values()),
        are_all=listed.next is None,
        chosen=chosen,
        versions=_choosable(chosen, backend) if chosen is not None else [],
        most_versions=VERSIONS,
        metrics=list(BUILT_IN),
        guards=range(1, GUARDS + 1),
        given=dict(request.query_params),
        needed=needed,
        alpha=ALPHA,
        power=POWER,
    )


@router.post("/experiments")
def create(request: Request, post: Changing, backend: Backend) -> Response:
    """Make the experiment that the form describes; what is refused stays in the form."""
    caller, fields = post.visitor.caller, post.fields
    try:
        with refusing(partial(_field_of, fields)):
            body = NewExperiment.model_validate(_body(fields))
            experiment = experiment_of(body, caller.project, backend)
            backend.experiments.add(experiment, caller.actor)
    except RefusedError as error:
        branch = fields.get("branch") or DEFAULT_BRANCH
        chosen = backend.prompts.find(caller.project, fields.get("prompt_name", ""), branch)
        return _page(request, post.visitor, backend, chosen, fields, error)
    return redirect(address(experiment.experiment_id))


# -- read from the form --------------------------------------------------------------------------------------


def _body(fields: Mapping[str, str]) -> dict[str, Any]:
    """What the API takes. Versions without traffic are left out, but for the control."""
    control, metric = fields.get("control") or None, fields.get("primary_metric", "").strip() or None
    taking_part = _taking_part(fields)
    if fields.get("status") == RUNNING and not any(taking_part.values()):
        raise RefusedError(SHARES, "No version has traffic: give some to one at least.")
    better = fields.get("better")
    hours = number(fields, "window_hours")
    return {
        "prompt_name": fields.get("prompt_name", ""),
        "branch": fields.get("branch") or None,
        "experiment_id": fields.get("experiment_id", "").strip() or None,
        "sticky_type": fields.get("sticky_type", "").strip(),
        "status": fields.get("status") or None,
        "versions": [
            {"experiment_version_id": name, "version": name, "traffic_percentage": share}
            for name, share in taking_part.items()
        ],
        "control": control,
        "primary_metric": metric,
        "directions": {metric: better} if metric and better else None,
        "window_seconds": round(hours * _HOUR) if hours is not None else None,
        "guards": list(guards_in(fields)) or None,
    }


def _taking_part(fields: Mapping[str, str]) -> dict[str, float]:
    return {name: share for name, share in shares(fields).items() if share or name == fields.get("control")}


def _field_of(fields: Mapping[str, str], name: str, index: int | None) -> str | None:
    """Where the form has a part of the body."""
    if name == "versions" and index is not None:
        return EXACT + list(_taking_part(fields))[index]
    if name == "guards" and index is not None:
        return guard_field(fields, index)
    return _FIELDS.get(name)


def guards_in(fields: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The guards of a form, as the API takes them; rows without a metric are none."""
    for row in _rows(fields):
        worse = number(fields, f"worse.{row}") or 0.0
        yield {"metric": fields[f"guard.{row}"].strip(), "worse_by": worse / 100}


def guard_field(fields: Mapping[str, str], index: int) -> str:
    """The field beside which is said what is wrong with a guard."""
    return f"worse.{_rows(fields)[index]}"


def _rows(fields: Mapping[str, str]) -> list[str]:
    return [
        name.removeprefix("guard.")
        for name, value in fields.items()
        if name.startswith("guard.") and value.strip()
    ]


# -- how many users ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needed:
    """How many users it takes to see an effect: of each version; None: more than there are."""

    each: int | None
    versions: int
    effect: float


def _needed(fields: Mapping[str, str]) -> Needed | None:
    """What the form beside asks; None: nothing, or something that makes no sense yet."""
    baseline, effect = number(fields, "baseline"), number(fields, "effect")
    deviation, versions = number(fields, "deviation"), max(2, round(number(fields, "versions") or 2))
    if not baseline or not effect:
        return None
    if deviation is None:
        baseline /= 100
        other = baseline * (1 + effect / 100)
        if not (0 < baseline < 1 and 0 < other < 1):
            raise RefusedError(
                "baseline", "The share must be between 0 and 100 %, before and after the change."
            )
        design = proportions(baseline, other)
    else:
        design = Design(deviation**2, deviation**2)
    both = users_needed(design, baseline * effect / 100, ALPHA / (versions - 1))
    return Needed(math.ceil(both / 2) if both is not None else None, versions, effect)
