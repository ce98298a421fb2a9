"""The fake backend's prompts and experiments: set like a dict's items, read by clients as JSON."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from decimal import Decimal
from typing import Any

from ..experiments import RUNNING, SLOTS, Slots, Version, experiment_from_config
from .fake_server import RefusedError

_PROMPT_DEFAULTS: dict[str, Any] = {
    "version": "1.0", "enable_logging": True, "metadata": {}, "versions": {},
    "config": None, "labels": {},
}  # fmt: skip
_OWN = ("prompt_id", "enable_logging", "metadata")  # of a prompt, whatever its version
_PRODUCTION = "production"


class Prompts(MutableMapping[Any, Any]):
    """Prompts by name, or by `(name, branch)`; a name alone is on the branch "main"."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._prompts: dict[tuple[str, str], dict[str, Any]] = {}

    def __setitem__(self, key: str | tuple[str, str], value: str | Mapping[str, Any]) -> None:
        name, branch = _place(key)
        given = {"content": value} if isinstance(value, (str, list)) else dict(value)
        unknown = sorted(set(given) - {"content", *_PROMPT_DEFAULTS})
        if unknown or not _is_content(given.get("content")):
            wrong = (
                f"{unknown[0]!r} is no field"
                if unknown
                else "the content must be a string, or a list of messages with role and content"
            )
            allowed = ", ".join(["content", *_PROMPT_DEFAULTS])
            raise ValueError(f"prompt {name!r}: {wrong}; the fields are {allowed}")
        before = self._prompts.get((name, branch))
        prompt_id = before["prompt_id"] if before is not None else str(uuid.uuid4())
        self._prompts[name, branch] = {**_PROMPT_DEFAULTS, **given, "prompt_id": prompt_id}

    def __getitem__(self, key: str | tuple[str, str]) -> dict[str, Any]:
        return self._prompts[_place(key)]

    def __delitem__(self, key: str | tuple[str, str]) -> None:
        del self._prompts[_place(key)]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._prompts))

    def __len__(self) -> int:
        return len(self._prompts)

    def find(self, name: str, branch: str) -> dict[str, Any]:
        """The prompt's fields as a client reads them."""
        prompt = self._prompts.get((name, branch))
        if prompt is None:
            raise RefusedError(404, f"prompt {name!r} not found on branch {branch!r}")
        return self._served(prompt, name, branch, prompt["version"])

    def at_version(self, prompt: dict[str, Any], version: str) -> dict[str, Any]:
        """The same prompt at one of its versions."""
        name, branch = prompt["name"], prompt["branch"]
        if version not in _versions(self._prompts[name, branch]):
            raise RefusedError(404, f"prompt {name!r} has no version {version!r} on branch {branch!r}")
        return self._served(self._prompts[name, branch], name, branch, version)

    def at_label(self, prompt: dict[str, Any], label: str) -> dict[str, Any]:
        """The same prompt at the version that a label points to."""
        stored = self._prompts[prompt["name"], prompt["branch"]]
        version = {**stored["labels"], _PRODUCTION: stored["version"]}.get(label)
        if version is None:
            where = f"prompt {prompt['name']!r} on branch {prompt['branch']!r}"
            raise RefusedError(404, f"{where} has no label {label!r}")
        return {**self.at_version(prompt, version), "label": label}

    def _served(self, stored: dict[str, Any], name: str, branch: str, version: str) -> dict[str, Any]:
        own = {**{field: stored[field] for field in _OWN}, "project": self._project}
        return {**own, "name": name, "branch": branch, "version": version, **_versions(stored)[version]}


def _versions(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each version of a prompt says."""
    others = {
        version: said(each["content"], each.get("config")) if isinstance(each, dict) else said(each)
        for version, each in stored["versions"].items()
    }
    return {**others, stored["version"]: said(stored["content"], stored["config"])}


def said(content: str | list[dict[str, Any]], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a version says, on the wire: `content` is a text in any case."""
    configured = {"config": config} if config is not None else {}
    if isinstance(content, str):
        return {"content": content, **configured}
    text = "\n\n".join(f"{message['role']}: {message['content']}" for message in content)
    return {"content": text, "messages": content, **configured}


def _is_content(content: object) -> bool:
    if isinstance(content, str):
        return True
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(each, dict) and {"role", "content"} <= set(each) for each in content)
    )


def _place(key: str | tuple[str, str]) -> tuple[str, str]:
    return (key, "main") if isinstance(key, str) else key


class Experiments(MutableMapping[str, Any]):
    """Experiments by id. A version without `content` has that of the prompt's version of that name."""

    def __init__(self, prompts: Prompts, project: str) -> None:
        self._prompts = prompts
        self._project = project
        self._experiments: dict[str, dict[str, Any]] = {}

    def __setitem__(self, experiment_id: str, value: Mapping[str, Any]) -> None:
        given = dict(value)
        versions = [self._version(experiment_id, given, each) for each in given.pop("versions", ())]
        config = {
            "experiment_id": experiment_id, "branch": "main", "project_id": self._project, "status": RUNNING,
            "control": None, "primary_metric": None, "window_seconds": 86_400, "guards": [], "directions": {},
            "salt": experiment_id, "allocation": Slots.allocation, **given,
            "versions": versions, "slots": _slots(versions),
        }  # fmt: skip
        if not isinstance(config.get("prompt_name"), str):
            raise ValueError(f"experiment {experiment_id!r} needs prompt_name")
        experiment_from_config(config)
        self._experiments[experiment_id] = config

    def _version(
        self, experiment_id: str, given: Mapping[str, Any], each: Mapping[str, Any]
    ) -> dict[str, Any]:
        version = {"experiment_version_id": f"{experiment_id}-{each['version']}", **each}
        if "content" in version:
            return {**version, **said(version["content"], version.get("config"))}
        prompt = self._prompts[given["prompt_name"], given.get("branch", "main")]
        return {**version, **_versions(prompt)[each["version"]]}

    def __getitem__(self, experiment_id: str) -> dict[str, Any]:
        return self._experiments[experiment_id]

    def __delitem__(self, experiment_id: str) -> None:
        del self._experiments[experiment_id]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._experiments))

    def __len__(self) -> int:
        return len(self._experiments)

    def assigned(self, prompt: Mapping[str, Any], sticky: list[tuple[str, str]]) -> dict[str, Any]:
        """The prompt at the version of the running experiment by the first sticky key that has one."""
        for key, value in sticky:
            for config in list(self._experiments.values()):
                on_it = (config["prompt_name"], config["branch"]) == (prompt["name"], prompt["branch"])
                if not on_it or config["status"] != RUNNING or config["sticky_type"] != key:
                    continue
                chosen = experiment_from_config(config).version_for(value)
                if chosen is None:
                    return {**prompt, "experiment_id": None}
                return {
                    **at(prompt, chosen), "sticky_key": key, "sticky_value": value,
                    "experiment_id": config["experiment_id"],
                    "experiment_version_id": chosen.experiment_version_id,
                }  # fmt: skip
        return {**prompt, "experiment_id": None}


def at(prompt: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """The prompt at an experiment's version: nothing of its own version is left."""
    own = {field: value for field, value in prompt.items() if field not in ("messages", "config")}
    more = {"messages": version.messages, "config": version.config}
    given = {field: value for field, value in more.items() if value is not None}
    return {**own, "version": version.version, "content": version.content, **given}


def _slots(versions: list[dict[str, Any]]) -> dict[str, list[list[int]]]:
    """By version, as the local backend gives them to a new experiment: one range after the other."""
    slots: dict[str, list[list[int]]] = {}
    start = 0
    for each in versions:
        wanted = round(Decimal(str(each["traffic_percentage"])) * (SLOTS // 100))
        end = min(SLOTS, start + wanted)
        slots[each["experiment_version_id"]] = [[start, end]] if end > start else []
        start = end
    return slots
