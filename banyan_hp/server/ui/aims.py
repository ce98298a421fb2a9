"""Changing what an experiment goes by: its primary metric and its guards. Users keep their versions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from ..api.experiment_bodies import ExperimentChange
from ..api.experiments import change
from ..api.state import Backend
from .experiment_forms import guard_field, guards_in
from .experiments import Entered, Looked, address, found_by, shown
from .refusals import RefusedError, refusing
from .rendering import PageRoute, redirect
from .visitors import Changing

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/experiments/{experiment_id:path}/aims")
def change_aims(request: Request, experiment_id: str, post: Changing, backend: Backend) -> Response:
    """Change them; what is refused stays in the form."""
    experiment, prompt = found_by(experiment_id, post.visitor, backend)
    try:
        with refusing(partial(_field_of, post.fields)):
            body = ExperimentChange.model_validate(_body(post.fields, experiment.analysis.directions))
            change(experiment_id, body, post.visitor.caller, backend)
    except RefusedError as error:
        entered = Entered(post.fields, refusal=error.refusal, form="aims")
        return shown(request, experiment, prompt, Looked(), post.visitor, backend, entered, error.status)
    return redirect(f"{address(experiment_id)}#aims")


def _body(fields: Mapping[str, str], directions: Mapping[str, str]) -> dict[str, Any]:
    """Without a metric the experiment keeps the one that it has."""
    metric, better = fields.get("primary_metric", "").strip(), fields.get("better")
    said = {**directions, metric: better} if metric and better else None
    return {"primary_metric": metric or None, "directions": said, "guards": list(guards_in(fields))}


def _field_of(fields: Mapping[str, str], name: str, index: int | None) -> str | None:
    if name == "guards" and index is not None:
        return guard_field(fields, index)
    return {"primary_metric": "primary_metric", "directions": "better"}.get(name)
