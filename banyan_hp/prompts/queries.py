"""What can be asked of the backend about prompts and experiments: the request, and how its answer is read.

Source of the calls: banyan-sdk 1.0.0 and 1.0.1; how sticky values travel with a prompt is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import quote, urlencode

from ..engine.http.transport import Request
from ..experiments import RUNNING, Experiment, experiment_from_config
from .data import PromptData, ReadOnlyDict, Source, read_only

PROMPT_PATH = "/api/logs/prompt/"
EXPERIMENT_PATH = "/api/experiments/"
ROUTE_PATH = EXPERIMENT_PATH + "route"

MAX_EXPERIMENTS = 100  # of a prompt that are read: the running ones, and those that make no sense

Sticky = tuple[tuple[str, str], ...]
EVERYONE: Sticky = (("", ""),)  # no sticky key is empty
Value = TypeVar("Value", bound="Meaning")
Value_co = TypeVar("Value_co", bound="Meaning", covariant=True)


class Asking(NamedTuple):
    """Where a question goes: what it is asked with."""

    base_url: str
    api_key: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        """Without the key, which the headers hold, too."""
        return f"<Asking {self.base_url}>"


class Audience(Enum):
    """For whom an answer is good."""

    ALL = "all"
    ONE = "one"  # the asking user's alone: an experiment chose
    ONE_BY_DEFAULT = "one by default"  # likewise, but what was chosen is what everybody else gets


class Meaning(Protocol):
    """What an answer means."""

    def seen(self, source: Source, fetched_at: float) -> Self:
        """The same, marked with where it came from."""


class Question(Protocol[Value_co]):
    """Something to ask: a tuple of texts, under which the answer is kept."""

    @property
    def subject(self) -> str:
        """The name of the prompt or experiment in question."""

    def pinned(self, value: Any, /) -> bool:
        """Whether an answer of this meaning is what was named, and so seldom changes."""

    @property
    def shared(self) -> Question[Value_co]:
        """The question that stands for everybody's, where an answer may be good for all users."""

    @property
    def default(self) -> Question[Value_co]:
        """The question whose answer will do where there is none for this one."""

    @property
    def whole(self) -> Question[Value_co]:
        """The question about the prompt itself, without which there is no version of it either."""

    def __hash__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def request(self, asking: Asking) -> Request: ...

    def read(self, answer: Mapping[str, Any]) -> Value_co:
        """The answer's meaning.

        Raises:
            ValueError: it has none.
        """

    def audience(self, answer: Mapping[str, Any], /) -> Audience: ...


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """A prompt, and the running experiments that the backend leaves to us."""

    prompt: PromptData
    experiments: tuple[Experiment, ...] = ()
    ignored: tuple[str, ...] = ()  # why experiments could not be used

    def seen(self, source: Source, fetched_at: float) -> PromptAnswer:
        return replace(self, prompt=replace(self.prompt, source=source, fetched_at=fetched_at))


class PromptQuestion(NamedTuple):
    """A prompt by name."""

    name: str
    version: str | None
    branch: str
    project: str | None
    sticky: Sticky

    @property
    def subject(self) -> str:
        return self.name

    def pinned(self, value: PromptAnswer, /) -> bool:
        """A version is, unlike a name like "latest", which the backend answers with another."""
        return self.version is not None and value.prompt.version in (None, self.version)

    @property
    def shared(self) -> PromptQuestion:
        if not self.sticky:
            return self
        return PromptQuestion(self.name, self.version, self.branch, self.project, EVERYONE)

    @property
    def default(self) -> PromptQuestion:
        return self._replace(sticky=())

    @property
    def whole(self) -> PromptQuestion:
        return self._replace(version=None, sticky=())

    def request(self, asking: Asking) -> Request:
        query = [("branch", self.branch)] + ([("version", self.version)] if self.version is not None else [])
        for key, value in self.sticky:
            query += [("sticky_key", key), ("sticky_value", value)]
        headers = dict(asking.headers)
        if self.project is not None:
            headers["X-Project-Id"] = self.project
        path = PROMPT_PATH + quote(self.name, safe="", errors="replace")
        return Request("GET", f"{asking.base_url}{path}?{urlencode(query, errors='replace')}", headers)

    def read(self, answer: Mapping[str, Any]) -> PromptAnswer:
        prompt = prompt_from_answer(answer)
        if prompt.experiment_id is not None:
            key = prompt.sticky_key or (self.sticky[0][0] if len(self.sticky) == 1 else None)
            value = prompt.sticky_value or dict(self.sticky).get(key or "")
            return PromptAnswer(replace(prompt, sticky_key=key, sticky_value=value, routed_by="server"))
        configured, ignored = _experiments(answer.get("experiments"))
        return PromptAnswer(prompt, configured, ignored)

    def audience(self, answer: Mapping[str, Any], /) -> Audience:
        if self.sticky and answer.get("experiment_id") is not None:
            return Audience.ONE
        if not self.sticky or "experiment_id" not in answer or isinstance(answer.get("experiments"), list):
            return Audience.ALL
        return Audience.ONE_BY_DEFAULT


@dataclass(frozen=True, slots=True)
class ExperimentDetails:
    """What an experiment is about."""

    prompt_name: str
    branch: str
    project: str | None
    running: bool
    sticky_type: str

    def seen(self, source: Source, fetched_at: float) -> ExperimentDetails:  # noqa: ARG002 - nobody asks
        return self


class ExperimentQuestion(NamedTuple):
    """An experiment's details."""

    experiment_id: str

    @property
    def subject(self) -> str:
        return self.experiment_id

    def pinned(self, _value: object, /) -> bool:
        return False

    @property
    def shared(self) -> ExperimentQuestion:
        return self

    @property
    def default(self) -> ExperimentQuestion:
        return self

    @property
    def whole(self) -> ExperimentQuestion:
        return self

    def request(self, asking: Asking) -> Request:
        return Request("GET", asking.base_url + EXPERIMENT_PATH + _quoted(self.experiment_id), asking.headers)

    def read(self, answer: Mapping[str, Any]) -> ExperimentDetails:
        _require(answer, "prompt_name", "status", "sticky_type")
        project = answer.get("project_id", answer.get("project"))
        return ExperimentDetails(
            prompt_name=answer["prompt_name"],
            branch=_text(answer.get("branch")) or "main",
            project=project if isinstance(project, str) and project else None,
            running=answer["status"] == RUNNING,
            sticky_type=answer["sticky_type"],
        )

    def audience(self, _answer: Mapping[str, Any], /) -> Audience:
        return Audience.ALL


class RouteQuestion(NamedTuple):
    """Which version of an experiment a user gets, by the server's routing."""

    experiment_id: str
    sticky_key: str
    sticky_value: str
    prompt_name: str  # the older of the published answers has neither name nor branch
    branch: str

    @property
    def subject(self) -> str:
        return self.experiment_id

    def pinned(self, _value: object, /) -> bool:
        return False

    @property
    def shared(self) -> RouteQuestion:
        return self

    @property
    def default(self) -> RouteQuestion:
        return self

    @property
    def whole(self) -> RouteQuestion:
        return self

    def request(self, asking: Asking) -> Request:
        body = {
            "experimentId": self.experiment_id,
            "stickyKey": self.sticky_key,
            "stickyValue": self.sticky_value,
            "apiKey": asking.api_key,
        }
        return Request("POST", asking.base_url + ROUTE_PATH, asking.headers, json.dumps(body).encode("ascii"))

    def read(self, answer: Mapping[str, Any]) -> PromptAnswer:
        """In either published form: `{prompt: {…}, selected_version_id}`, or flat with `version_number`."""
        nested = answer.get("prompt")
        version = answer.get("version_number", answer.get("version"))
        flat = {"name": self.prompt_name, "branch": self.branch, **answer, "version": version}
        prompt = prompt_from_answer(nested if isinstance(nested, dict) else flat)
        chosen = (
            answer.get("selected_version_id") if isinstance(nested, dict) else prompt.experiment_version_id
        )
        if chosen is None:
            return PromptAnswer(replace(prompt, experiment_id=None, experiment_version_id=None))
        return PromptAnswer(
            replace(
                prompt,
                experiment_id=self.experiment_id,
                experiment_version_id=str(chosen),
                sticky_key=self.sticky_key,
                sticky_value=self.sticky_value,
                routed_by="server",
            )
        )

    def audience(self, _answer: Mapping[str, Any], /) -> Audience:
        return Audience.ONE


def prompt_from_answer(answer: Mapping[str, Any]) -> PromptData:
    """A prompt from the backend's JSON.

    Raises:
        ValueError: it lacks an id, a name or a content.
    """
    _require(answer, "prompt_id", "name", "content")
    metadata = answer.get("metadata")
    return PromptData(
        prompt_id=answer["prompt_id"],
        name=answer["name"],
        content=answer["content"],
        version=_text(answer.get("version")),
        branch=_text(answer.get("branch")),
        project=_text(answer.get("project")),
        enable_logging=answer.get("enable_logging") is not False,
        metadata=read_only(metadata) if isinstance(metadata, dict) else ReadOnlyDict(),
        experiment_id=_text(answer.get("experiment_id")),
        experiment_version_id=_text(answer.get("experiment_version_id")),
        sticky_key=_text(answer.get("sticky_key")),
        sticky_value=_text(answer.get("sticky_value")),
        source="backend",
    )


def _require(answer: Mapping[str, Any], *names: str) -> None:
    missing = [name for name in names if not isinstance(answer.get(name), str)]
    if missing:
        raise ValueError(f"the answer has no {' and no '.join(missing)}")


def _experiments(configured: object) -> tuple[tuple[Experiment, ...], tuple[str, ...]]:
    """The running experiments, and for each that can't be used why not, in one short line."""
    usable: list[Experiment] = []
    ignored: list[str] = []
    configs = [each for each in configured if _may_run(each)] if isinstance(configured, list) else []
    for config in configs[:MAX_EXPERIMENTS]:
        try:
            usable.append(experiment_from_config(config if isinstance(config, dict) else {}))
        except ValueError as error:
            ignored.append(str(error))
    if len(configs) > MAX_EXPERIMENTS:
        more = len(configs) - MAX_EXPERIMENTS
        ignored.append(
            f"{more} more experiments are ignored: a prompt may have {MAX_EXPERIMENTS} running ones"
        )
    return tuple(usable), tuple(ignored)


def _may_run(config: object) -> bool:
    """False for one that says that it does not: the rest of it need not be read."""
    status = config.get("status") if isinstance(config, dict) else None
    return status == RUNNING or not (isinstance(status, str) and status)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
