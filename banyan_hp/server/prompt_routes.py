"""HTTP for prompts: fetching one (with an experiment's choice, if one applies), and managing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .auth import ApiKeys
from .experiments import Experiments
from .prompts import DEFAULT_BRANCH, Prompt, Prompts, new_prompt_id
from .requests import project, read_json
from .responses import BAD, Json, refuse, tagged
from .starting import RoutingMode
from .validation import NEW_PROMPT, NEW_VERSION, PROMPT_CHANGE, given, object_refusal, shown


def prompt_routes(prompts: Prompts, routing: PromptRouting, keys: ApiKeys) -> list[Route]:
    """The routes that fetch and manage prompts and projects."""
    fetching = _Fetching(prompts, routing)
    managing = _Managing(prompts)
    managed = "/api/logs/cli/prompts"
    return [
        Route("/api/logs/prompt/{name:path}", keys.guard(fetching.fetch, query=_ASKED), methods=["GET"]),
        Route(managed, keys.guard(managing.listed, query=_FILTERS), methods=["GET"]),
        Route(managed, keys.guard(managing.create), methods=["POST"]),
        Route(f"{managed}/version", keys.guard(managing.create_version), methods=["POST"]),
        Route(f"{managed}/{{prompt_id}}", keys.guard(managing.change), methods=["PUT"]),
        Route(f"{managed}/{{prompt_id}}", keys.guard(managing.remove), methods=["DELETE"]),
        Route(f"{managed}/{{prompt_id}}/versions", keys.guard(managing.versions), methods=["GET"]),
        Route("/api/projects", keys.guard(managing.projects), methods=["GET"]),
        Route("/api/projects/{project_id:path}", keys.guard(managing.project), methods=["GET"]),
    ]


_ASKED = ("branch", "version", "sticky_key", "sticky_value")
_FILTERS = ("name", "branch", "project_id")


@dataclass(frozen=True, slots=True)
class _Fetching:
    prompts: Prompts
    routing: PromptRouting

    async def fetch(self, request: Request) -> Response:
        sticky = _sticky_pairs(request)
        prompt = self._find(request)
        version = request.query_params.get("version")
        if version is not None:
            prompt = self._at_version(prompt, version)
        routed = self.routing.fields(prompt, sticky, pinned=version is not None)
        return tagged(request, prompt.as_json() | routed)

    def _find(self, request: Request) -> Prompt:
        name = request.path_params["name"]
        branch = request.query_params.get("branch", DEFAULT_BRANCH)
        prompt = self.prompts.find(name, branch, project(request))
        if prompt is None:
            raise HTTPException(404, f"prompt {name!r} not found on branch {branch!r}")
        return prompt

    def _at_version(self, prompt: Prompt, version: str) -> Prompt:
        content = self.prompts.content_of(prompt, version)
        if content is None:
            raise HTTPException(
                404, f"prompt {prompt.name!r} has no version {version!r} on branch {prompt.branch!r}"
            )
        return replace(prompt, version=version, content=content)


@dataclass(frozen=True, slots=True)
class _Managing:
    prompts: Prompts

    async def listed(self, request: Request) -> Response:
        query = request.query_params
        found = self.prompts.listed(
            query.get("project_id") or project(request),
            query.get("branch") or None,
            query.get("name") or None,
        )
        return Json({"prompts": [prompt.as_managed_json() for prompt in found]})

    async def create(self, request: Request) -> Response:
        body = given(await read_json(request), NEW_PROMPT)
        refuse(object_refusal(body, NEW_PROMPT))
        prompt = Prompt(
            new_prompt_id(),
            body["name"],
            body["content"],
            branch=body.get("branch", DEFAULT_BRANCH),
            project=body.get("project_id", project(request)),
            metadata=body.get("metadata", {}),
        )
        self.prompts.add(prompt)
        return Json(prompt.as_managed_json(), 201)

    async def create_version(self, request: Request) -> Response:
        body = given(await read_json(request), NEW_VERSION)
        refuse(object_refusal(body, NEW_VERSION))
        branch = body.get("branch", DEFAULT_BRANCH)
        prompt = self.prompts.find(body["name"], branch, body.get("project_id", project(request)))
        if prompt is None:
            raise HTTPException(404, f"prompt {body['name']!r} not found on branch {branch!r}")
        newer = replace(
            prompt,
            version=body["version"],
            content=body["content"],
            metadata=body.get("metadata", prompt.metadata),
        )
        self.prompts.add_version(newer, body.get("change_message"))
        return Json(newer.as_managed_json(), 201)

    async def change(self, request: Request) -> Response:
        body = given(await read_json(request), PROMPT_CHANGE)
        refuse(object_refusal(body, PROMPT_CHANGE))
        prompt = self._get(request)
        if "version" in body:
            prompt = self._made_current(prompt, body["version"])
        changed = replace(prompt, **body)
        self.prompts.replace(changed)
        return Json(changed.as_managed_json())

    def _made_current(self, prompt: Prompt, version: str) -> Prompt:
        content = self.prompts.content_of(prompt, version)
        if content is None:
            expected = f"a stored version of prompt {prompt.name!r}"
            raise HTTPException(BAD, f"version must be {expected}, was {shown(version)}")
        return replace(prompt, version=version, content=content)

    async def versions(self, request: Request) -> Response:
        prompt = self._get(request)
        return Json({"id": prompt.prompt_id, "versions": self.prompts.versions_of(prompt)})

    async def remove(self, request: Request) -> Response:
        prompt = self._get(request)
        self.prompts.remove(prompt.prompt_id)
        return Json({"id": prompt.prompt_id, "deleted": True})

    async def projects(self, _request: Request) -> Response:
        return Json({"projects": self.prompts.projects()})

    async def project(self, request: Request) -> Response:
        project_id = request.path_params["project_id"]
        found = self.prompts.project(project_id)
        if found is None:
            raise HTTPException(404, f"project {project_id!r} not found")
        return Json(found)

    def _get(self, request: Request) -> Prompt:
        prompt_id = request.path_params["prompt_id"]
        prompt = self.prompts.get(prompt_id)
        if prompt is None:
            raise HTTPException(404, f"prompt with id {prompt_id!r} not found")
        return prompt


def _sticky_pairs(request: Request) -> list[tuple[str, str]]:
    keys = request.query_params.getlist("sticky_key")
    values = request.query_params.getlist("sticky_value")
    if len(keys) != len(values):
        refuse(f"sticky_key must be as many as sticky_value, was {len(keys)} to {len(values)}")
    return list(zip(keys, values, strict=True))


# -- what experiments say of a fetched prompt ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PromptRouting:
    """The fields that experiments add to a prompt's own, or put in their place."""

    experiments: Experiments
    mode: RoutingMode

    def fields(self, prompt: Prompt, sticky: Sequence[tuple[str, str]], *, pinned: bool) -> dict[str, object]:
        """For a request with these sticky pairs; `pinned`: it asks for a version by name."""
        if not sticky or self.mode is RoutingMode.NONE:
            return {}
        if pinned:  # whatever experiment runs, the caller gets the version that it named
            return {"experiment_id": None}
        if self.mode is RoutingMode.CLIENT:
            return {"experiments": [each.as_configuration() for each in self.experiments.on(prompt)]}
        return self._assignment(prompt, sticky)

    def _assignment(self, prompt: Prompt, sticky: Sequence[tuple[str, str]]) -> dict[str, object]:
        running = self.experiments.running_on(prompt, sticky)
        variant = running[0].variant_for(running[1]) if running is not None else None
        if running is None or variant is None:
            return {"experiment_id": None}
        experiment, sticky_value = running
        return {
            "version": variant.version,
            "content": variant.content,
            "experiment_id": experiment.experiment_id,
            "experiment_version_id": variant.experiment_version_id,
            "sticky_key": experiment.sticky_type,
            "sticky_value": sticky_value,
        }
