"""HTTP for experiments: their details, and routing one sticky value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from banyan_hp.server.answers import Json, refuse
from banyan_hp.server.auth import ApiKeys
from banyan_hp.server.bodies import read_json
from banyan_hp.server.experiments import Experiment, Experiments
from banyan_hp.server.prompts import Prompt
from banyan_hp.server.validation import ROUTE, object_refusal, shown


def experiment_routes(experiments: Experiments, keys: ApiKeys) -> list[Route]:
    """The routes under `/api/experiments`."""
    api = _ExperimentApi(experiments, keys)
    return [
        Route("/api/experiments/route", keys.guard(api.route), methods=["POST"]),
        Route("/api/experiments/{experiment_id:path}", keys.guard(api.details), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _ExperimentApi:
    experiments: Experiments
    keys: ApiKeys

    async def details(self, request: Request) -> Response:
        experiment, prompt = self._get(request.path_params["experiment_id"])
        return Json(experiment.as_json(prompt))

    async def route(self, request: Request) -> Response:
        body: Any = await read_json(request)
        refuse(object_refusal(body, ROUTE))
        if not self.keys.accepts(body["apiKey"].encode("utf-8", "surrogatepass")):
            raise HTTPException(401, "apiKey is not one of this backend's")
        experiment, prompt = self._get(body["experimentId"])
        refuse(_sticky_key_refusal(experiment, body["stickyKey"]))
        variant = experiment.variant_for(body["stickyValue"]) if experiment.running else None
        if variant is None:
            return _routed(prompt, None)
        chosen = replace(prompt, version=variant.version, content=variant.content)
        return _routed(chosen, variant.experiment_version_id)

    def _get(self, experiment_id: str) -> tuple[Experiment, Prompt]:
        found = self.experiments.get(experiment_id)
        if found is None:
            raise HTTPException(404, f"experiment {experiment_id!r} not found")
        return found


def _sticky_key_refusal(experiment: Experiment, key: str) -> str | None:
    if key == experiment.sticky_type:
        return None
    return f"stickyKey must be {experiment.sticky_type!r}, the experiment's sticky_type, was {shown(key)}"


def _routed(prompt: Prompt, selected: str | None) -> Response:
    return Json({"prompt": prompt.as_json(), "selected_version_id": selected})
