"""Changing who gets which version of an experiment: sliders, what they would move, and the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from ..api.experiment_bodies import ExperimentChange
from ..api.experiments import change, changed_by
from ..api.state import Backend, Stores
from ..moves import moves
from ..store.experiments import Experiment, Variant
from ..store.prompts import Prompt
from .experiments import Entered, Looked, address, found_by, shown
from .refusals import EXACT, SHARES, FieldOf, RefusedError, refusing, shares
from .rendering import PageRoute, redirect
from .visitors import Changing

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/experiments/{experiment_id:path}/shares")
def change_shares(request: Request, experiment_id: str, post: Changing, backend: Backend) -> Response:
    """Change them, or only say what that would move; what is refused stays in the form."""
    experiment, prompt = found_by(experiment_id, post.visitor, backend)
    entered, status = Entered(post.fields), 200
    try:
        with refusing(_field_of(experiment)):
            body = _change(experiment, shares(post.fields))
            if not post.fields.get("preview"):
                change(experiment_id, body, post.visitor.caller, backend)
                return redirect(f"{address(experiment_id)}#traffic")
            entered = Entered(post.fields, moved=_moved(body, experiment, prompt, backend))
    except RefusedError as error:
        entered, status = Entered(post.fields, refusal=error.refusal), error.status
    return shown(request, experiment, prompt, Looked(), post.visitor, backend, entered, status)


def _change(experiment: Experiment, given: Mapping[str, float]) -> ExperimentChange:
    """All versions as they are, but for the traffic of those that the form names."""
    versions = [_version(each, given) for each in experiment.variants]
    if experiment.running and not any(each["traffic_percentage"] for each in versions):
        raise RefusedError(SHARES, "No version would have traffic. To route nobody, pause the experiment.")
    return ExperimentChange.model_validate({"versions": versions})


def _version(variant: Variant, given: Mapping[str, float]) -> dict[str, Any]:
    share = given.get(variant.experiment_version_id, variant.traffic_percentage)
    own = {"experiment_version_id": variant.experiment_version_id, "version": variant.version}
    content = {} if variant.content is None or variant.follows else {"content": variant.content}
    config = {"config": variant.config} if content and variant.config is not None else {}
    return {**own, "traffic_percentage": share, **content, **config}


def _field_of(experiment: Experiment) -> FieldOf:
    names = [each.experiment_version_id for each in experiment.variants]

    def field_of(name: str, index: int | None) -> str | None:
        return EXACT + names[index] if name == "versions" and index is not None else None

    return field_of


def _moved(body: ExperimentChange, experiment: Experiment, prompt: Prompt, backend: Stores) -> dict[str, Any]:
    """In percent of all users."""
    return moves(experiment, changed_by(body, experiment, prompt, backend)).as_json()
