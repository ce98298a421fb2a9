"""The queries for prompts and experiments: the HTTP request of each, and how the response is read.

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
from ..experiments import RUNNING, Experiment
from .data import PromptData, Source
from .reading import experiments_from_json, optional_text, prompt_from_json, require

PROMPT_PATH = "/api/logs/prompt/"
EXPERIMENT_PATH = "/api/experiments/"
ROUTE_PATH = EXPERIMENT_PATH + "route"


Sticky = tuple[tuple[str, str], ...]


class Implied(tuple[tuple[str, str], ...]):
    """Sticky values that the caller has not given: it is no news to it if they have no effect."""

    __slots__ = ()


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
    unrouted: bool = False  # sticky values were sent, and the backend has no routing

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
        configured, ignored = experiments_from_json(body.get("experiments"))
        unrouted = bool(self.sticky) and self.version is None and not _has_routing(body)
        return FetchedPrompt(prompt, configured, ignored, unrouted)

    def audience(self, body: Mapping[str, Any], /) -> Audience:
        if self.sticky and body.get("experiment_id") is not None:
            return Audience.ONE
        if not self.sticky or "experiment_id" not in body or _leaves_routing(body):
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
        require(body, "prompt_name", "status", "sticky_type")
        project = body.get("project_id", body.get("project"))
        return ExperimentDetails(
            prompt_name=body["prompt_name"],
            branch=optional_text(body.get("branch")) or "main",
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


def _leaves_routing(body: Mapping[str, Any]) -> bool:
    """Whether the backend leaves it to the client."""
    return isinstance(body.get("experiments"), list)


def _has_routing(body: Mapping[str, Any]) -> bool:
    """A backend with routing says something about experiments, be it that there are none."""
    return "experiment_id" in body or _leaves_routing(body)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
