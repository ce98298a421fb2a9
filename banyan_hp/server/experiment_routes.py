"""HTTP for experiments: managing them, routing one sticky value, and the usage that came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .auth import ApiKeys
from .experiment_bodies import (
    DRY_RUN,
    EXPERIMENT_CHANGE,
    NEW_EXPERIMENT,
    STATUS,
    changed_experiment,
    experiment_refusal,
    new_experiment,
)
from .experiments import Experiment, Experiments
from .moves import moves
from .prompts import Prompt, Prompts
from .records import Records
from .requests import project, read_json
from .responses import Json, refuse, tagged
from .validation import ROUTE, given, object_refusal, shown


def experiment_routes(
    experiments: Experiments, prompts: Prompts, logs: Records, keys: ApiKeys
) -> list[Route]:
    """The routes under `/api/experiments`."""
    managing = _Managing(experiments, prompts)
    routing = _Routing(experiments, keys)
    usage = _Usage(experiments, logs)
    every = "/api/experiments"
    one = f"{every}/{{experiment_id:path}}"
    return [
        Route(every, keys.guard(managing.listed, query=_FILTERS), methods=["GET"]),
        Route(every, keys.guard(managing.create), methods=["POST"]),
        Route(f"{every}/route", keys.guard(routing.route), methods=["POST"]),
        Route(f"{one}/usage", keys.guard(usage.summary), methods=["GET"]),
        Route(one, keys.guard(managing.details), methods=["GET"]),
        Route(one, keys.guard(managing.change), methods=["PUT"]),
        Route(one, keys.guard(managing.remove), methods=["DELETE"]),
    ]


_FILTERS = ("prompt_name", "branch", "project_id", "status")


@dataclass(frozen=True, slots=True)
class _Managing:
    experiments: Experiments
    prompts: Prompts

    async def listed(self, request: Request) -> Response:
        query = request.query_params
        status = query.get("status") or None
        if status is not None:
            refuse(STATUS.refusal("status", status))
        found = self.experiments.listed(
            query.get("prompt_name") or None,
            query.get("branch") or None,
            query.get("project_id") or project(request),
            status,
        )
        return Json({"experiments": [experiment.as_json(prompt) for experiment, prompt in found]})

    async def details(self, request: Request) -> Response:
        experiment, prompt = _requested(self.experiments, request)
        return tagged(request, experiment.as_json(prompt))

    async def create(self, request: Request) -> Response:
        body = given(await read_json(request), NEW_EXPERIMENT)
        refuse(experiment_refusal(body, NEW_EXPERIMENT))
        experiment = new_experiment(body, body.get("project_id", project(request)), self.prompts)
        self.experiments.add(experiment)
        return self._stored(experiment.experiment_id, 201)

    async def change(self, request: Request) -> Response:
        body = given(await read_json(request), EXPERIMENT_CHANGE)
        refuse(experiment_refusal(body, EXPERIMENT_CHANGE))
        experiment, prompt = _requested(self.experiments, request)
        changed = changed_experiment(experiment, prompt, body, self.prompts)
        if body.get(DRY_RUN):
            report = {"dry_run": True, "moves": moves(experiment, changed).as_json()}
            return Json({**report, "experiment": changed.as_json(prompt)})
        self.experiments.put(changed)
        return self._stored(experiment.experiment_id, 200)

    async def remove(self, request: Request) -> Response:
        experiment, _ = _requested(self.experiments, request)
        self.experiments.remove(experiment.experiment_id)
        return Json({"experiment_id": experiment.experiment_id, "deleted": True})

    def _stored(self, experiment_id: str, status: int) -> Response:
        experiment, prompt = _found(self.experiments, experiment_id)
        return Json(experiment.as_json(prompt), status)


@dataclass(frozen=True, slots=True)
class _Routing:
    experiments: Experiments
    keys: ApiKeys

    async def route(self, request: Request) -> Response:
        body: Any = await read_json(request)
        refuse(object_refusal(body, ROUTE))
        if not self.keys.accepts(body["apiKey"].encode("utf-8", "surrogatepass")):
            raise HTTPException(401, "apiKey is not one of this backend's")
        experiment, prompt = _found(self.experiments, body["experimentId"])
        refuse(_sticky_key_refusal(experiment, body["stickyKey"]))
        variant = experiment.variant_for(body["stickyValue"]) if experiment.running else None
        if variant is None:
            return _routed(prompt, None)
        chosen = replace(prompt, version=variant.version, content=variant.content)
        return _routed(chosen, variant.experiment_version_id)


@dataclass(frozen=True, slots=True)
class _Usage:
    experiments: Experiments
    logs: Records

    async def summary(self, request: Request) -> Response:
        """How many records came of each version: of those the experiment has, and of any it had."""
        experiment, _ = _requested(self.experiments, request)
        experiment_id = experiment.experiment_id
        counts = {each.experiment_version_id: 0 for each in experiment.variants}
        counts |= self.logs.count_by("experiment_version_id", {"experiment_id": experiment_id})
        return Json({"experiment_id": experiment_id, "versions": counts})


def _requested(experiments: Experiments, request: Request) -> tuple[Experiment, Prompt]:
    return _found(experiments, request.path_params["experiment_id"])


def _found(experiments: Experiments, experiment_id: str) -> tuple[Experiment, Prompt]:
    found = experiments.get(experiment_id)
    if found is None:
        raise HTTPException(404, f"experiment {experiment_id!r} not found")
    return found


def _sticky_key_refusal(experiment: Experiment, key: str) -> str | None:
    if key == experiment.sticky_type:
        return None
    return f"stickyKey must be {experiment.sticky_type!r}, the experiment's sticky_type, was {shown(key)}"


def _routed(prompt: Prompt, selected: str | None) -> Response:
    return Json({"prompt": prompt.as_json(), "selected_version_id": selected})
