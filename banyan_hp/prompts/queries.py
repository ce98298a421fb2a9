"""The queries for prompts and experiments: the HTTP request of each, and how the response is read.

Source of the calls: banyan-sdk 1.0.0 and 1.0.1; how sticky values travel with a prompt is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast
from urllib.parse import quote, urlencode

from ..engine.http.transport import Request
from ..experiments import RUNNING, Experiment, Version, experiment_from_config
from .data import PromptData, ReadOnlyDict, Source, read_only

PROMPT_PATH = "/api/logs/prompt/"
EXPERIMENT_PATH = "/api/experiments/"
ROUTE_PATH = EXPERIMENT_PATH + "route"

MAX_EXPERIMENTS = 100  # of a prompt that are read: the running ones, and those that make no sense

Sticky = tuple[tuple[str, str], ...]
EVERYONE: Sticky = (("", ""),)  # no sticky key is empty
Value = TypeVar("Value", bound="Fetchable")
Value_co = TypeVar("Value_co", bound="Fetchable", covariant=True)


class Endpoint(NamedTuple):
    """Where queries go, and what authenticates them."""

    base_url: str
    api_key: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        """Without the key, which the headers hold, too."""
        return f"<Endpoint {self.base_url}>"


class Audience(Enum):
    """For which users a response is valid."""

    ALL = "all"
    ONE = "one"  # the querying user only: an experiment chose
    ONE_BY_DEFAULT = "one by default"  # likewise, but what was chosen is what everybody else gets


class Fetchable(Protocol):
    """The value that a response is read to."""

    def marked(self, source: Source, fetched_at: float) -> Self:
        """The same, marked with where it came from."""


class Query(Protocol[Value_co]):
    """A tuple of texts, under which the cache keeps the value."""

    @property
    def subject(self) -> str:
        """The name of the prompt or experiment."""

    def pinned(self, value: Any, /) -> bool:
        """Whether the value is the version that was named, and so seldom changes."""

    @property
    def shared(self) -> Query[Value_co]:
        """The query that stands for all users' where a response may be valid for all."""

    @property
    def default(self) -> Query[Value_co]:
        """The query whose value will do where there is none for this one."""

    @property
    def whole(self) -> Query[Value_co]:
        """The query for the prompt itself: where there is none, there is no version of it either."""

    def __hash__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def request(self, endpoint: Endpoint) -> Request: ...

    def read(self, body: Mapping[str, Any]) -> Value_co:
        """The value of a response's JSON.

        Raises:
            ValueError: it has none.
        """

    def audience(self, body: Mapping[str, Any], /) -> Audience: ...

    def is_answered_by(self, body: Mapping[str, Any], /) -> bool:
        """Whether a response's JSON is about what was asked for."""


@dataclass(frozen=True, slots=True)
class FetchedPrompt:
    """A prompt, and the running experiments that the backend leaves the client to route."""

    prompt: PromptData
    experiments: tuple[Experiment, ...] = ()
    ignored: tuple[str, ...] = ()  # why experiments could not be used

    def marked(self, source: Source, fetched_at: float) -> FetchedPrompt:
        return replace(self, prompt=replace(self.prompt, source=source, fetched_at=fetched_at))


class PromptQuery(NamedTuple):
    """A prompt by name; the released version of it, unless there is a version or a label."""

    name: str
    version: str | None
    branch: str
    project: str | None
    sticky: Sticky
    label: str | None = None

    @property
    def subject(self) -> str:
        return self.name

    @property
    def is_fixed(self) -> bool:
        """Whether the caller says which version, so that no experiment does."""
        return self.version is not None or self.label is not None

    def pinned(self, value: FetchedPrompt, /) -> bool:
        """A version is, unlike a name like "latest", which the backend answers with another."""
        return self.version is not None and value.prompt.version in (None, self.version)

    @property
    def shared(self) -> PromptQuery:
        if not self.sticky:
            return self
        return PromptQuery(self.name, self.version, self.branch, self.project, EVERYONE, self.label)

    @property
    def default(self) -> PromptQuery:
        return self._replace(sticky=())

    @property
    def whole(self) -> PromptQuery:
        return self._replace(version=None, sticky=(), label=None)

    def request(self, endpoint: Endpoint) -> Request:
        query = [("branch", self.branch)] + ([("version", self.version)] if self.version is not None else [])
        query += [("label", self.label)] if self.label is not None else []
        for key, value in self.sticky:
            query += [("sticky_key", key), ("sticky_value", value)]
        headers = dict(endpoint.headers)
        if self.project is not None:
            headers["X-Project-Id"] = self.project
        path = PROMPT_PATH + quote(self.name, safe="", errors="replace")
        return Request("GET", f"{endpoint.base_url}{path}?{urlencode(query, errors='replace')}", headers)

    def read(self, body: Mapping[str, Any]) -> FetchedPrompt:
        prompt = prompt_from_json(body)
        if prompt.experiment_id is not None:
            key = prompt.sticky_key or (self.sticky[0][0] if len(self.sticky) == 1 else None)
            value = prompt.sticky_value or dict(self.sticky).get(key or "")
            return FetchedPrompt(replace(prompt, sticky_key=key, sticky_value=value, routed_by="server"))
        configured, ignored = _experiments(body.get("experiments"))
        return FetchedPrompt(prompt, configured, ignored)

    def audience(self, body: Mapping[str, Any], /) -> Audience:
        if self.sticky and body.get("experiment_id") is not None:
            return Audience.ONE
        if not self.sticky or "experiment_id" not in body or isinstance(body.get("experiments"), list):
            return Audience.ALL
        return Audience.ONE_BY_DEFAULT

    def is_answered_by(self, body: Mapping[str, Any], /) -> bool:
        """A backend that knows no labels ignores them, and gives what everybody gets."""
        return self.label is None or body.get("label") == self.label


@dataclass(frozen=True, slots=True)
class ExperimentDetails:
    """The prompt of an experiment, and how it is routed."""

    prompt_name: str
    branch: str
    project: str | None
    running: bool
    sticky_type: str

    def marked(self, source: Source, fetched_at: float) -> ExperimentDetails:  # noqa: ARG002 - nothing shows it
        return self


class ExperimentQuery(NamedTuple):
    """An experiment's details."""

    experiment_id: str

    @property
    def subject(self) -> str:
        return self.experiment_id

    def pinned(self, _value: object, /) -> bool:
        return False

    @property
    def shared(self) -> ExperimentQuery:
        return self

    @property
    def default(self) -> ExperimentQuery:
        return self

    @property
    def whole(self) -> ExperimentQuery:
        return self

    def request(self, endpoint: Endpoint) -> Request:
        return Request(
            "GET", endpoint.base_url + EXPERIMENT_PATH + _quoted(self.experiment_id), endpoint.headers
        )

    def read(self, body: Mapping[str, Any]) -> ExperimentDetails:
        _require(body, "prompt_name", "status", "sticky_type")
        project = body.get("project_id", body.get("project"))
        return ExperimentDetails(
            prompt_name=body["prompt_name"],
            branch=_text(body.get("branch")) or "main",
            project=project if isinstance(project, str) and project else None,
            running=body["status"] == RUNNING,
            sticky_type=body["sticky_type"],
        )

    def audience(self, _body: Mapping[str, Any], /) -> Audience:
        return Audience.ALL

    def is_answered_by(self, _body: Mapping[str, Any], /) -> bool:
        return True


class RouteQuery(NamedTuple):
    """Which version of an experiment a user gets, by the server's routing."""

    experiment_id: str
    sticky_key: str
    sticky_value: str
    prompt_name: str  # the older of the published responses has neither name nor branch
    branch: str

    @property
    def subject(self) -> str:
        return self.experiment_id

    def pinned(self, _value: object, /) -> bool:
        return False

    @property
    def shared(self) -> RouteQuery:
        return self

    @property
    def default(self) -> RouteQuery:
        return self

    @property
    def whole(self) -> RouteQuery:
        return self

    def request(self, endpoint: Endpoint) -> Request:
        body = {
            "experimentId": self.experiment_id,
            "stickyKey": self.sticky_key,
            "stickyValue": self.sticky_value,
            "apiKey": endpoint.api_key,
        }
        return Request(
            "POST", endpoint.base_url + ROUTE_PATH, endpoint.headers, json.dumps(body).encode("ascii")
        )

    def read(self, body: Mapping[str, Any]) -> FetchedPrompt:
        """In either published form: `{prompt: {…}, selected_version_id}`, or flat with `version_number`."""
        nested = body.get("prompt")
        version = body.get("version_number", body.get("version"))
        flat = {"name": self.prompt_name, "branch": self.branch, **body, "version": version}
        prompt = prompt_from_json(nested if isinstance(nested, dict) else flat)
        chosen = body.get("selected_version_id") if isinstance(nested, dict) else prompt.experiment_version_id
        if chosen is None:
            return FetchedPrompt(replace(prompt, experiment_id=None, experiment_version_id=None))
        return FetchedPrompt(
            replace(
                prompt,
                experiment_id=self.experiment_id,
                experiment_version_id=str(chosen),
                sticky_key=self.sticky_key,
                sticky_value=self.sticky_value,
                routed_by="server",
            )
        )

    def audience(self, _body: Mapping[str, Any], /) -> Audience:
        return Audience.ONE

    def is_answered_by(self, _body: Mapping[str, Any], /) -> bool:
        return True


def prompt_from_json(body: Mapping[str, Any]) -> PromptData:
    """A prompt from the backend's JSON.

    Raises:
        ValueError: it lacks an id, a name or a content.
    """
    _require(body, "prompt_id", "name", "content")
    metadata = body.get("metadata")
    return PromptData(
        prompt_id=body["prompt_id"],
        name=body["name"],
        content=body["content"],
        version=_text(body.get("version")),
        branch=_text(body.get("branch")),
        project=_text(body.get("project")),
        enable_logging=body.get("enable_logging") is not False,
        metadata=read_only(metadata) if isinstance(metadata, dict) else ReadOnlyDict(),
        experiment_id=_text(body.get("experiment_id")),
        experiment_version_id=_text(body.get("experiment_version_id")),
        sticky_key=_text(body.get("sticky_key")),
        sticky_value=_text(body.get("sticky_value")),
        source="backend",
        config=_config(body.get("config")),
        messages=_messages(body.get("messages")),
        label=_text(body.get("label")),
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


def _require(body: Mapping[str, Any], *names: str) -> None:
    missing = [name for name in names if not isinstance(body.get(name), str)]
    if missing:
        raise ValueError(f"the answer has no {' and no '.join(missing)}")


def _experiments(configured: object) -> tuple[tuple[Experiment, ...], tuple[str, ...]]:
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


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
