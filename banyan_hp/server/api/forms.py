"""What a prompt, a version and an experiment look like in responses: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..store.experiments import Experiment
from ..store.prompts import Content, Prompt, Version


def prompt_as_json(prompt: Prompt, version: Version) -> dict[str, Any]:
    """What a client that fetches prompts reads."""
    return {
        "prompt_id": prompt.prompt_id,
        "name": prompt.name,
        **said(version.content, version.config),
        "version": version.version,
        "branch": prompt.branch,
        "project": prompt.project,
        "enable_logging": prompt.enable_logging,
        "metadata": dict(prompt.metadata),
    }


def said(content: Content, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a version says. `content` is always a text on the wire; a chat's messages are there besides.

    Only chats have `messages`, and only versions with a configuration have `config`.
    """
    configured = {"config": dict(config)} if config is not None else {}
    if isinstance(content, str):
        return {"content": content, **configured}
    text = "\n\n".join(f"{message['role']}: {message['content']}" for message in content)
    return {"content": text, "messages": list(content), **configured}


def version_as_json(version: Version, prompt: Prompt) -> dict[str, Any]:
    """One of all versions of a prompt."""
    return {
        "version": version.version,
        **said(version.content, version.config),
        "config": version.config,
        "revision": version.revision,
        "change_message": version.change_message,
        "author": version.author,
        "created_at": version.created_at.isoformat() if version.created_at else None,
        "released_at": version.released_at.isoformat() if version.released_at else None,
        "current": version.version == prompt.version,
        "labels": [label for label, pointed in prompt.labels.items() if pointed == version.version],
    }


def configuration(experiment: Experiment) -> dict[str, Any]:
    """What a client needs to route by itself."""
    shown = {
        "experiment_id": experiment.experiment_id,
        "status": experiment.status,
        "sticky_type": experiment.sticky_type,
        "salt": experiment.salt,
        "allocation": experiment.allocation,
        "versions": [
            {
                "experiment_version_id": each.experiment_version_id,
                "version": each.version,
                **said(each.content, each.config),
                "traffic_percentage": each.traffic_percentage,
            }
            for each in experiment.variants
        ],
    }
    if experiment.has_slots:
        shown["slots"] = {each.experiment_version_id: each.slots for each in experiment.variants}
    return shown
