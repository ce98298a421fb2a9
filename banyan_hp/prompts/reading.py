"""What the backend's JSON says of prompts and experiments. What callers share of it can't be changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ..experiments import RUNNING, Experiment, Version, experiment_from_config
from .data import PromptData, ReadOnlyDict, read_only

MAX_EXPERIMENTS = 100  # of a prompt that are read: the running ones, and those that make no sense


def prompt_from_json(body: Mapping[str, Any]) -> PromptData:
    """A prompt from the backend's JSON.

    Raises:
        ValueError: it lacks an id, a name or a content.
    """
    require(body, "prompt_id", "name", "content")
    metadata, label = body.get("metadata"), body.get("label")
    return PromptData(
        prompt_id=body["prompt_id"],
        name=body["name"],
        content=body["content"],
        version=optional_text(body.get("version")),
        branch=optional_text(body.get("branch")),
        project=optional_text(body.get("project")),
        enable_logging=body.get("enable_logging") is not False,
        metadata=read_only(metadata) if isinstance(metadata, dict) else ReadOnlyDict(),
        experiment_id=optional_text(body.get("experiment_id")),
        experiment_version_id=optional_text(body.get("experiment_version_id")),
        sticky_key=optional_text(body.get("sticky_key")),
        sticky_value=optional_text(body.get("sticky_value")),
        source="backend",
        config=_config(body.get("config")),
        messages=_messages(body.get("messages")),
        label=label if isinstance(label, str) else None,
    )


def _config(config: object) -> Mapping[str, Any] | None:
    return cast("ReadOnlyDict", read_only(config)) if isinstance(config, dict) else None


def _messages(messages: object) -> tuple[Mapping[str, Any], ...] | None:
    """A chat; anything else in its place is none, and the prompt its text."""
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        return None
    return cast("tuple[ReadOnlyDict, ...]", read_only(messages))


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and isinstance(message.get("role"), str)


def require(body: Mapping[str, Any], *names: str) -> None:
    """Make sure that these are texts.

    Raises:
        ValueError: some are not; the message names them.
    """
    missing = [name for name in names if not isinstance(body.get(name), str)]
    if missing:
        raise ValueError(f"the answer has no {' and no '.join(missing)}")


def experiments_from_json(configured: object) -> tuple[tuple[Experiment, ...], tuple[str, ...]]:
    """The running experiments, and for each that can't be used why not, in one short line."""
    usable: list[Experiment] = []
    ignored: list[str] = []
    configs = [each for each in configured if _may_run(each)] if isinstance(configured, list) else []
    for config in configs[:MAX_EXPERIMENTS]:
        try:
            experiment = experiment_from_config(config if isinstance(config, dict) else {})
            usable.append(replace(experiment, versions=tuple(map(_shared, experiment.versions))))
        except ValueError as error:
            ignored.append(str(error))
    if len(configs) > MAX_EXPERIMENTS:
        more = len(configs) - MAX_EXPERIMENTS
        ignored.append(
            f"{more} more experiments are ignored: a prompt may have {MAX_EXPERIMENTS} running ones"
        )
    return tuple(usable), tuple(ignored)


def _shared(version: Version) -> Version:
    """The same with what can't be changed: the callers share it."""
    if version.config is None and version.messages is None:
        return version
    return replace(version, config=_config(version.config), messages=_messages(version.messages))


def _may_run(config: object) -> bool:
    """False for one that says that it does not: the rest of it need not be read."""
    status = config.get("status") if isinstance(config, dict) else None
    return status == RUNNING or not (isinstance(status, str) and status)


def optional_text(value: object) -> str | None:
    """The text of a value, be it a number; None stays None."""
    return None if value is None else str(value)
