"""The form of a new experiment, and beside it how many users it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import ValidationError

from ..analysis.metrics import BUILT_IN
from ..analysis.power import ALPHA, POWER, Design, proportions, users_needed
from ..api.experiments import NewExperiment, experiment_of
from ..api.state import Backend
from .experiments import address
from .prompts import versions_of
from .rendering import PageRoute, page, redirect
from .visitors import Changing, Looking

GUARDS = 3  # that the form has room for
_SHARE, _EXACT = "share.", "exact."  # how the fields of a version's traffic begin: the slider, the number
_HOUR = 3600
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/experiments-new")
def form(request: Request, visitor: Looking, backend: Backend, prompt: str | None = None) -> Response:
    """The form: first which prompt, then all the rest."""
    project = visitor.caller.project
    chosen = backend.prompts.get(project, prompt) if prompt else None
    return page(
        request,
        "experiment_new",
        visitor,
        prompts=[each[0] for each in backend.prompts.listed(project).items],
        chosen=chosen,
        versions=list(reversed(versions_of(chosen, backend))) if chosen is not None else [],
        metrics=list(BUILT_IN),
        guards=range(1, GUARDS + 1),
        given=dict(request.query_params),
        needed=_needed(request.query_params),
        alpha=ALPHA,
        power=POWER,
    )


@router.post("/experiments")
def create(post: Changing, backend: Backend) -> Response:
    """Make the experiment that the form describes."""
    try:
        body = NewExperiment.model_validate(_body(post.fields))
    except ValidationError as error:
        raise HTTPException(400, error.errors()[0]["msg"]) from None
    experiment = experiment_of(body, post.visitor.caller.project, backend)
    backend.experiments.add(experiment, post.visitor.caller.actor)
    return redirect(address(experiment.experiment_id))


# -- read from the form --------------------------------------------------------------------------------------


def _body(fields: Mapping[str, str]) -> dict[str, Any]:
    """What the API takes. Versions without traffic are left out, but for the control."""
    control, metric = fields.get("control") or None, fields.get("primary_metric", "").strip() or None
    shares = dict(_shares(fields))
    better = fields.get("better")
    hours = _number(fields, "window_hours")
    return {
        "prompt_name": fields.get("prompt_name", ""),
        "branch": fields.get("branch") or None,
        "experiment_id": fields.get("experiment_id", "").strip() or None,
        "sticky_type": fields.get("sticky_type", "").strip(),
        "status": fields.get("status") or None,
        "versions": [
            {"experiment_version_id": name, "version": name, "traffic_percentage": share}
            for name, share in shares.items()
            if share or name == control
        ],
        "control": control,
        "primary_metric": metric,
        "directions": {metric: better} if metric and better else None,
        "window_seconds": round(hours * _HOUR) if hours is not None else None,
        "guards": list(_guards(fields)) or None,
    }


def _shares(fields: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """By version; the number counts where there is one, else the slider."""
    for field in fields:
        if field.startswith(_SHARE):
            name = field.removeprefix(_SHARE)
            exact = _number(fields, _EXACT + name)
            yield name, exact if exact is not None else _number(fields, field) or 0.0


def _guards(fields: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for index in range(1, GUARDS + 1):
        metric = fields.get(f"guard.{index}", "").strip()
        if metric:
            worse = _number(fields, f"worse.{index}") or 0.0
            yield {"metric": metric, "worse_by": worse / 100}


def _number(fields: Mapping[str, str], name: str) -> float | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise HTTPException(400, f"{name} must be a number, was {text!r}.")
    return number


# -- how many users ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needed:
    """How many users it takes to see an effect: of each version; None: more than there are."""

    each: int | None
    versions: int
    effect: float


def _needed(fields: Mapping[str, str]) -> Needed | None:
    """What the form beside asks; None: nothing, or something that makes no sense yet."""
    baseline, effect = _number(fields, "baseline"), _number(fields, "effect")
    deviation, versions = _number(fields, "deviation"), max(2, round(_number(fields, "versions") or 2))
    if not baseline or not effect:
        return None
    if deviation is None:
        baseline /= 100
        other = baseline * (1 + effect / 100)
        if not (0 < baseline < 1 and 0 < other < 1):
            raise HTTPException(400, "The share must be between 0 and 100 %, before and after the change.")
        design = proportions(baseline, other)
    else:
        design = Design(deviation**2, deviation**2)
    both = users_needed(design, baseline * effect / 100, ALPHA / (versions - 1))
    return Needed(math.ceil(both / 2) if both is not None else None, versions, effect)
